//! A server inside the test's own process, with a clock that the test can set.

use std::sync::Arc;

use countersign::app::App;
use countersign::clock::{Clock, Timestamp};
use countersign::config::{Config, Overrides};
use countersign::control::{Command, Reply};
use countersign::server::{Server, Stopper};
use serde_json::json;
use tokio::task::JoinHandle;

use super::database::TestDatabase;
use super::persona::Persona;

/// Where the test's clock stands at first.
pub(crate) const START: &str = "2026-11-22T10:00:00Z";

/// Leaves the settings of tests alone.
pub(crate) fn as_they_are(_: &mut Config) {}

/// A running server.
pub(crate) struct TestApp {
    pub(crate) app: Arc<App>,
    pub(crate) base: String,
    pub(crate) clock: Clock,
    pub(crate) database: TestDatabase,
    pub(crate) admin: Persona,
    stopper: Stopper,
    serving: JoinHandle<std::io::Result<()>>,
}

impl TestApp {
    /// Starts with other settings than the defaults.
    pub(crate) async fn start_with(
        database: TestDatabase,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let clock = Clock::fixed(Timestamp::parse(START).unwrap());
        let overrides = Overrides {
            listen: Some("127.0.0.1:0".into()),
            database_url: Some(database.url.clone()),
            keys_dir: Some(database.keys_dir()),
            ..Overrides::default()
        };
        let mut config = Config::load(&overrides, std::iter::empty()).unwrap();
        // Tests call as often as they like; those of the limits switch them on.
        config.rate_limit.enabled = false;
        change(&mut config);
        let app = App::open(config, clock.clone()).unwrap();
        let server = Server::bind(Arc::clone(&app)).unwrap();
        let base = format!("http://{}", server.address());
        let stopper = server.stopper();
        let serving = tokio::spawn(server.run());
        let command = Command::CreateToken {
            account: "admin".into(),
            role: "admin".parse().unwrap(),
            label: "tests".into(),
            expires_at: None,
        };
        let Reply::Token { token } = app.obey(command).await.unwrap() else {
            panic!("no token")
        };
        let admin = Persona::new(&base, Some(token));
        Self {
            app,
            base,
            clock,
            database,
            admin,
            stopper,
            serving,
        }
    }

    /// Someone without an account: shipped software.
    pub(crate) fn software(&self) -> Persona {
        Persona::new(&self.base, None)
    }

    /// Someone with an API token of their own account.
    pub(crate) async fn persona(&self, name: &str, role: &str) -> Persona {
        self.admin
            .post("/v1/accounts", json!({ "name": name, "role": role }))
            .await
            .ok();
        self.persona_of(name).await
    }

    /// Someone with an API token of an account that is there.
    pub(crate) async fn persona_of(&self, name: &str) -> Persona {
        let token = self
            .admin
            .post("/v1/tokens", json!({ "account": name }))
            .await
            .ok();
        Persona::new(
            &self.base,
            Some(token["token"].as_str().unwrap().to_owned()),
        )
    }

    pub(crate) async fn shop(&self) -> Persona {
        self.persona("shop", "shop").await
    }

    /// Moves the clock.
    pub(crate) fn pass_seconds(&self, seconds: i64) {
        self.clock.set(self.clock.now().plus_seconds(seconds));
    }

    pub(crate) fn pass_days(&self, days: i64) {
        self.pass_seconds(days * 86_400);
    }

    /// Waits until no job is left to do.
    pub(crate) async fn finish_jobs(&self) {
        while self.app.run_due_jobs().await.unwrap() > 0 {}
    }

    /// Stops the server and checks the database.
    pub(crate) async fn finish(self) {
        self.stopper.stop().await;
        self.serving.await.unwrap().unwrap();
        drop(self.app);
        self.database.check_integrity();
    }
}
