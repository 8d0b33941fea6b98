//! Calls to the server.

mod activation;
mod answer;
mod error;
mod request;

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use ureq::Agent;
use ureq::http::Uri;

pub use activation::{Activation, KeySummary};
pub use error::ClientError;
pub use request::{ActivateRequest, ValidateRequest};

use crate::{PublicKeys, VerdictClaims, Verifier, verify_signature};
use answer::Answer;
use request::{Credential, ValidateBody};

const ACTIVATIONS: &str = "/v1/activations";
const RENEW: &str = "/v1/activations/renew";
const RELEASE: &str = "/v1/activations/release";
const VALIDATE: &str = "/v1/validate";
const JWKS: &str = "/.well-known/jwks.json";

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Activates, renews, releases and validates against one server. Blocking; may be shared between threads.
///
/// Every token the server returns is verified with the pinned keys, must name the installation (and
/// the product, if one was asked for), and must be valid by the system's clock. Otherwise the call
/// fails, so that whoever answers in the server's place unlocks nothing, unless with a token that
/// the server itself signed for this installation and that has not expired.
///
/// Calls that failed may be repeated: the same installation is the same activation, and counts
/// once. Redirects are not followed, because a key would go wherever they point. Proxies are
/// taken from the environment (`ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
///
/// This crate logs nothing. Its HTTP library does, and at the level `trace` of its target
/// `ureq_proto` that includes tokens.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    timeout: Duration,
    proxies: Proxies,
    base_url: String,
    keys: PublicKeys,
}

/// Which proxies calls go through.
#[derive(Clone, Copy)]
enum Proxies {
    FromEnvironment,
    None,
}

impl Client {
    /// A client of the server at `base_url`, which trusts `keys`.
    ///
    /// The URL is the server's address, with the folder it lives in, if any:
    /// `https://licenses.example.com`. Plain `http://` works, and shows product keys to everyone on
    /// the way; `https://` needs the feature `tls`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ClientError::BaseUrl`] when the URL cannot be used.
    pub fn new(base_url: &str, keys: PublicKeys) -> Result<Self, ClientError> {
        Ok(Self {
            agent: agent(DEFAULT_TIMEOUT, Proxies::FromEnvironment),
            timeout: DEFAULT_TIMEOUT,
            proxies: Proxies::FromEnvironment,
            base_url: checked_base_url(base_url)?,
            keys,
        })
    }

    /// Gives up a call after `timeout`, name resolution and the whole answer included. Ten seconds
    /// unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.agent = agent(timeout, self.proxies);
        self
    }

    /// Goes to the server directly, whatever the environment says of proxies.
    #[must_use]
    pub fn without_proxy(mut self) -> Self {
        self.proxies = Proxies::None;
        self.agent = agent(self.timeout, self.proxies);
        self
    }

    /// Activates an installation. Keep the token of the answer: it is all that [`Verifier`] and
    /// [`Client::renew`] need.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with the server's reason, for instance `key_not_found`,
    /// `key_revoked` or `activation_limit_reached`; the others as [`ClientError`] describes.
    pub fn activate(&self, request: &ActivateRequest) -> Result<Activation, ClientError> {
        let mut verifier = self.verifier(&request.installation_id);
        if let Some(product) = &request.product {
            verifier = verifier.product(product);
        }
        self.post(ACTIVATIONS, request, &request.key)?
            .into_activation(&verifier)
    }

    /// Fetches a fresh token for the activation that `token` stands for. It may have expired.
    ///
    /// # Errors
    ///
    /// [`ClientError::Token`] when `token` itself has no good signature, in which case nothing is
    /// sent; [`ClientError::Refused`] with the server's reason, for instance
    /// `activation_not_found` after a release or `token_invalid` when the token expired too long
    /// ago; the others as [`ClientError`] describes.
    pub fn renew(&self, token: &str) -> Result<Activation, ClientError> {
        let claims = verify_signature(token, &self.keys)?;
        self.renew_by(&Credential::Token { token }, &claims.installation_id)
    }

    /// Fetches a fresh token for an installation whose token was lost.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with the server's reason, for instance `activation_not_found`; the
    /// others as [`ClientError`] describes.
    pub fn renew_with_key(
        &self,
        key: &str,
        installation_id: &str,
    ) -> Result<Activation, ClientError> {
        let credential = Credential::Key {
            key,
            installation_id,
        };
        self.renew_by(&credential, installation_id)
    }

    /// Ends the activation that `token` stands for, so that its place is free again. Forget the
    /// token afterwards. Releasing what was released before is not an error.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with the server's reason; the others as [`ClientError`] describes.
    pub fn release(&self, token: &str) -> Result<(), ClientError> {
        self.release_by(&Credential::Token { token })
    }

    /// Ends the activation of an installation whose token was lost.
    ///
    /// # Errors
    ///
    /// As [`Client::release`].
    pub fn release_with_key(&self, key: &str, installation_id: &str) -> Result<(), ClientError> {
        self.release_by(&Credential::Key {
            key,
            installation_id,
        })
    }

    /// Asks what the server says of a key now, without changing anything there.
    ///
    /// The verdict is signed and carries a random text that this call makes, so that neither another
    /// server nor an old answer can stand in for it. Look at [`VerdictClaims::valid`]: a key that is
    /// not good, or unknown, is a verdict and no error.
    ///
    /// # Errors
    ///
    /// [`ClientError::Token`] when the verdict is not the server's, or not on what was asked; the
    /// others as [`ClientError`] describes.
    pub fn validate(&self, request: &ValidateRequest) -> Result<VerdictClaims, ClientError> {
        let nonce = random_nonce()?;
        let body = ValidateBody {
            request,
            nonce: &nonce,
        };
        self.post(VALIDATE, &body, &request.key)?
            .into_verdict(&self.keys, request, &nonce)
    }

    /// Asks the server for its public keys.
    ///
    /// This is trust on first use: whoever answers in the server's place decides what is trusted
    /// from then on. It is meant for tools and for setting up. Shipped software pins its keys
    /// ([`PublicKeys::pin_pem`]), or its users could run a server of their own.
    ///
    /// # Errors
    ///
    /// [`ClientError::Protocol`] when the answer has no usable key; the others as [`ClientError`]
    /// describes.
    pub fn fetch_jwks(&self) -> Result<PublicKeys, ClientError> {
        let response = self.agent.get(self.url(JWKS)).call()?;
        Answer::read(response, "")?.into_keys()
    }

    fn renew_by(
        &self,
        credential: &Credential<'_>,
        installation_id: &str,
    ) -> Result<Activation, ClientError> {
        self.post(RENEW, credential, credential.secret())?
            .into_activation(&self.verifier(installation_id))
    }

    fn release_by(&self, credential: &Credential<'_>) -> Result<(), ClientError> {
        self.post(RELEASE, credential, credential.secret())?
            .into_nothing()
    }

    /// Sends `body`, which contains `secret`, the text that no error may repeat.
    fn post(&self, path: &str, body: &impl Serialize, secret: &str) -> Result<Answer, ClientError> {
        let response = self.agent.post(self.url(path)).send_json(body)?;
        Answer::read(response, secret)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    fn verifier(&self, installation_id: &str) -> Verifier {
        Verifier::new(self.keys.clone()).installation_id(installation_id)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the agent: its configuration may hold the password of a proxy.
        f.debug_struct("Client")
            .field("base_url", &self.base_url)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// A text that nobody can have asked with before.
fn random_nonce() -> Result<String, ClientError> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)
        .map_err(|error| ClientError::Transport(format!("no random bytes for it: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn agent(timeout: Duration, proxies: Proxies) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        // The reasons are in the bodies of the answers that are errors.
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("countersign-client/", env!("CARGO_PKG_VERSION")));
    match proxies {
        Proxies::FromEnvironment => config.build().into(),
        Proxies::None => config.proxy(None).build().into(),
    }
}

/// The URL without a slash at its end, if it is one that paths can be put behind.
fn checked_base_url(base_url: &str) -> Result<String, ClientError> {
    let refused = |why: &str| Err(ClientError::BaseUrl(why.to_owned()));

    let Ok(uri) = base_url.parse::<Uri>() else {
        return refused("it is not a URL");
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return refused("it does not start with `https://` or `http://`");
    }
    // Error texts and `Debug` show the URL.
    if uri
        .authority()
        .is_none_or(|host| host.as_str().contains('@'))
    {
        return refused("it contains a user name or password");
    }
    if base_url.contains(['?', '#']) {
        return refused("it has a query or a fragment");
    }
    Ok(base_url.trim_end_matches('/').to_owned())
}
