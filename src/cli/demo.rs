//! `countersign demo`: the main job, played over HTTP against a server on a temporary database.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::Args;
use countersign_client::{ActivateRequest, Client, ClientError, PublicKeys, Verifier};
use serde_json::{Value, json};

use super::print_line;
use super::serve::{Signals, runtime};
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{Command, Reply};
use crate::db::models::account::Role;
use crate::server::Server;

const SAMPLE_KEYS: &str = include_str!("../../examples/keys.txt");

/// The main job on a temporary database.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Leave the server running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(super) fn run(self, config: Config) -> anyhow::Result<()> {
        let folder = tempfile::Builder::new()
            .prefix("countersign-demo-")
            .tempdir()?;
        let config = Config {
            listen: "127.0.0.1:0".parse()?,
            database_url: String::new(),
            data_dir: folder.path().join("data"),
            keys_dir: folder.path().join("keys"),
            ..config
        };
        runtime()?.block_on(async move {
            let app = App::open(config, Clock::system())?;
            let server = Server::bind(Arc::clone(&app))?;
            let base = format!("http://{}", server.address());
            let stopper = server.stopper();
            let serving = tokio::spawn(server.run());
            let mut signals = Signals::listen()?;
            let token = admin_token(&app).await?;

            // The client blocks, as shipped software does.
            let story = Story { base: base.clone(), token: token.clone() };
            let played = tokio::task::spawn_blocking(move || story.play()).await?;
            if played.is_ok() && self.keep {
                print_line(format_args!(
                    "\nThe server is still running.\n  address      {base}\n  admin token  {token}\n  \
                     API page     {base}/docs/\nCtrl-C ends it and removes its folder {}.",
                    folder.path().display()
                ));
                signals.wait().await;
            }
            stopper.stop().await;
            serving.await??;
            played
        })
    }
}

async fn admin_token(app: &App) -> anyhow::Result<String> {
    let command = Command::CreateToken {
        account: "demo".into(),
        role: Role::Admin,
        label: "demo".into(),
        expires_at: None,
    };
    match app.obey(command).await? {
        Reply::Token { token } => Ok(token),
        other => bail!("no token came back but {other:?}"),
    }
}

struct Story {
    base: String,
    token: String,
}

impl Story {
    fn play(&self) -> anyhow::Result<()> {
        step(1, "Start the server");
        say(format_args!(
            "it listens on {} with a new database and new signing keys",
            self.base
        ));

        step(2, "Make a product");
        self.post("/v1/sequences", &json!({ "name": "editor-pro" }))?;
        self.post(
            "/v1/products",
            &json!({ "sku": "editor-pro", "name": "Editor Pro", "sequence": "editor-pro" }),
        )?;
        say("Editor Pro (editor-pro), whose keys come from the sequence editor-pro");

        step(3, "Import a pool of keys from examples/keys.txt");
        let report = self.import(SAMPLE_KEYS)?;
        say(format_args!(
            "{} keys added; each admits 1 installation",
            report["added"]
        ));

        step(4, "The shop reports a paid order");
        let order = self.put(
            "/v1/orders/1001",
            &json!({
                "status": "payment_received",
                "customer": { "email": "ada@example.com" },
                "lines": [{ "sku": "editor-pro", "quantity": 1 }],
            }),
        )?;
        let issued = &order["lines"][0]["keys"][0];
        let key = issued["key"].as_str().context("the order has no key")?;
        say(format_args!(
            "order 1001 is now {}, and its key is\n",
            text(&order["status"])
        ));
        print_line(format_args!(
            "        {key}        (number {})\n",
            text(&issued["number"])
        ));

        self.software(key, issued["id"].as_i64().context("the key has no id")?)
    }

    /// What shipped software does with the key, and what staff do to it.
    fn software(&self, key: &str, id: i64) -> anyhow::Result<()> {
        let public_keys = Client::new(&self.base, PublicKeys::new())?
            .without_proxy()
            .fetch_jwks()?;
        let client = Client::new(&self.base, public_keys.clone())?.without_proxy();

        step(5, "The software activates machine-1");
        let activation = client.activate(&ActivateRequest::new(key, "machine-1"))?;
        say(format_args!(
            "{} of {} activations in use; renew by {}",
            activation.key.activations,
            limit(activation.key.max_activations),
            activation.renew_by
        ));

        step(
            6,
            "It verifies its token offline, with the public key alone",
        );
        let verifier = Verifier::new(public_keys)
            .product("editor-pro")
            .installation_id("machine-1");
        let claims = verifier.verify(&activation.token)?;
        say(format_args!(
            "signed by {} for {} on {}",
            claims.iss, claims.aud, claims.installation_id
        ));

        step(7, "machine-2 is refused: the limit is reached");
        refused(
            client
                .activate(&ActivateRequest::new(key, "machine-2"))
                .map(drop),
            "activation_limit_reached",
        )?;

        step(8, "machine-1 is released, and machine-2 gets its place");
        client.release(&activation.token)?;
        let second = client.activate(&ActivateRequest::new(key, "machine-2"))?;
        say(format_args!(
            "machine-2 is activated; {} of {} in use",
            second.key.activations,
            limit(second.key.max_activations)
        ));

        step(9, "Staff revoke the key");
        let revoked = self.post(
            &format!("/v1/keys/{id}/revoke"),
            &json!({ "reason": "a chargeback" }),
        )?;
        say(format_args!("revoked at {}", text(&revoked["revoked_at"])));

        step(10, "machine-2 is refused when it renews");
        refused(client.renew(&second.token).map(drop), "key_revoked")?;
        print_line(
            "\nThat is the main job. docs/ has the rest; `countersign serve` starts a server to keep.",
        );
        Ok(())
    }

    fn import(&self, keys: &str) -> anyhow::Result<Value> {
        let url = format!(
            "{}/v1/sequences/editor-pro/import?max_activations=1",
            self.base
        );
        let request = agent()
            .post(url)
            .header("Authorization", self.bearer())
            .content_type("text/plain");
        read(request.send(keys)?)
    }

    fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = agent()
            .post(format!("{}{path}", self.base))
            .header("Authorization", self.bearer());
        read(request.send_json(body)?)
    }

    fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = agent()
            .put(format!("{}{path}", self.base))
            .header("Authorization", self.bearer());
        read(request.send_json(body)?)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .build()
        .into()
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> anyhow::Result<Value> {
    let body: Value = response.body_mut().read_json()?;
    ensure!(
        response.status().is_success(),
        "{}: {}",
        response.status(),
        text(&body["detail"])
    );
    Ok(body)
}

fn refused(result: Result<(), ClientError>, expected: &str) -> anyhow::Result<()> {
    match result {
        Err(ClientError::Refused {
            code,
            status,
            detail,
        }) if code == expected => {
            say(format_args!("{status} {code}: {detail}"));
            Ok(())
        }
        Ok(()) => bail!("this should have been refused with {expected}"),
        Err(other) => Err(other).context(format!("this should have been refused with {expected}")),
    }
}

fn step(number: u32, title: &str) {
    print_line(format_args!("{number:>2}. {title}"));
}

fn say(text: impl std::fmt::Display) {
    print_line(format_args!("    {text}"));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn limit(max: Option<i64>) -> String {
    max.map_or_else(|| "any number of".to_owned(), |max| max.to_string())
}
