//! What is sent.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

/// What an installation sends to be activated. `Debug` does not show the key.
#[derive(Clone, PartialEq, Serialize)]
pub struct ActivateRequest {
    /// The text of the product key, as the buyer typed it.
    pub key: String,
    /// The name of this installation: 1 to 255 bytes, chosen by the software.
    ///
    /// It should survive a restart and an update, and differ between machines.
    pub installation_id: String,
    /// The SKU of the product that is running, so that a key for another one is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// A name by which the buyer recognises the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The operating system or environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The version of the software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// Anything else the vendor wants to see with the activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
}

impl ActivateRequest {
    /// A request with nothing but what is required.
    pub fn new(key: impl Into<String>, installation_id: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            installation_id: installation_id.into(),
            product: None,
            label: None,
            platform: None,
            app_version: None,
            extra: None,
        }
    }
}

impl fmt::Debug for ActivateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivateRequest")
            .field("installation_id", &self.installation_id)
            .field("product", &self.product)
            .field("label", &self.label)
            .field("platform", &self.platform)
            .field("app_version", &self.app_version)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

/// What a verdict is asked on. `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct ValidateRequest {
    /// The text of the product key, as the buyer typed it.
    pub key: String,
    /// Whether this installation is activated with it. Without, the verdict says whether another
    /// one could be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installation_id: Option<String>,
    /// The SKU that the key should be for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
}

impl ValidateRequest {
    /// A request with nothing but the key.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            installation_id: None,
            product: None,
        }
    }
}

impl fmt::Debug for ValidateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidateRequest")
            .field("installation_id", &self.installation_id)
            .field("product", &self.product)
            .finish_non_exhaustive()
    }
}

/// A request for a verdict that is signed.
#[derive(Serialize)]
pub(super) struct ValidateBody<'a> {
    #[serde(flatten)]
    pub(super) request: &'a ValidateRequest,
    pub(super) nonce: &'a str,
}

/// What shows the right to renew or release an activation.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Credential<'a> {
    Token {
        token: &'a str,
    },
    Key {
        key: &'a str,
        installation_id: &'a str,
    },
}

impl Credential<'_> {
    /// The part that must not be shown.
    pub(super) fn secret(&self) -> &str {
        match self {
            Self::Token { token } => token,
            Self::Key { key, .. } => key,
        }
    }
}
