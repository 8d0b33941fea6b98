//! A server on a filled database: what a benchmark runs against.

use std::io::Read;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use countersign_client::PublicKeys;
use serde_json::{Value, json};

use crate::client::{self, Load, Outcome};
use crate::database::Database;
use crate::keys::{Kind, write_text};
use crate::noise::Moment;
use crate::server::{Memory, Server, Setup};
use crate::workload::{Call, Calls, Stage, sku};

/// Connections that prepare things; not measured.
const PREPARING: usize = 32;
/// Longer than any preparation.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// The server, its database, and what calls are made with.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) database: Database,
    pub(crate) server: Server,
    pub(crate) stage: Stage,
    public_keys: PublicKeys,
    http: ureq::Agent,
}

impl Site {
    /// Starts a server on an empty database.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn open(program: &Path, database: Database, folder: &Path) -> anyhow::Result<Self> {
        let server = Server::start(Setup {
            program: program.to_owned(),
            database_url: database.url(),
            folder: folder.to_owned(),
        })?;
        let http = ureq::Agent::new_with_config(
            ureq::Agent::config_builder()
                .proxy(None)
                .http_status_as_error(false)
                .build(),
        );
        let jwks = http
            .get(format!("http://{}/.well-known/jwks.json", server.address))
            .call()?
            .body_mut()
            .read_to_string()?;
        let stage = Stage {
            keys: 0,
            tokens: Rc::default(),
            api_token: server.make_token("admin")?.into(),
            shop_token: server.make_token("shop")?.into(),
            run: 0,
        };
        Ok(Self {
            database,
            stage,
            public_keys: PublicKeys::from_jwks(&jwks)?,
            http,
            server,
        })
    }

    /// Sells `keys` keys, some of which any number of installations may use, and activates the first `hot` of
    /// them.
    ///
    /// # Errors
    /// Whatever the server refuses.
    pub(crate) fn fill(&mut self, keys: u64, hot: u64, unlimited: u64) -> anyhow::Result<()> {
        self.make_product(Kind::Sold)?;
        let sold = "product=bench&status=delivered";
        self.import(Kind::Sold, keys, &format!("{sold}&max_activations=1000"))?;
        self.import(Kind::Unlimited, unlimited, sold)?;
        self.stage.keys = keys;
        let hot = hot.min(keys);
        let mut calls = self.calls(Call::Prepare, Some(hot));
        self.drive(&mut calls, PREPARING)?;
        self.stage.tokens = Rc::new(calls.into_tokens());
        self.settle()
    }

    /// Puts `keys` keys in stock.
    ///
    /// # Errors
    /// Whatever the server refuses.
    pub(crate) fn stock(&self, kind: Kind, keys: u64) -> anyhow::Result<Duration> {
        self.make_product(kind)?;
        let began = Instant::now();
        self.import(kind, keys, "")?;
        Ok(began.elapsed())
    }

    /// Makes `count` calls of one kind, not measured.
    ///
    /// # Errors
    /// When an answer is wrong.
    pub(crate) fn make(&mut self, call: Call, count: u64) -> anyhow::Result<()> {
        let connections = match call {
            // Each holds a thousand keys: more at once would wait for each other until it is too long.
            Call::IssueThousand => 4,
            _ => PREPARING,
        };
        let mut calls = self.calls(call, Some(count));
        self.drive(&mut calls, connections)
    }

    /// Measures calls of one kind, and how much of a processor was somebody else's meanwhile.
    ///
    /// # Errors
    /// When the server hangs up, or a signature of the sample is wrong.
    pub(crate) fn measure(&mut self, call: Call, load: Load) -> anyhow::Result<(Outcome, f64)> {
        let processes = self.processes();
        let mut begin = None;
        let mut calls = self.calls(call, None);
        let outcome = client::run(self.server.address, load, &mut calls, || {
            begin = Some(Moment::now(&processes));
        })?;
        let foreign = begin.map_or(0.0, |begin| Moment::now(&processes).foreign_since(&begin));
        // Seen, so that the most is known.
        self.memory();
        calls
            .samples
            .check(&self.public_keys)
            .map_err(|wrong| anyhow::anyhow!("{call:?} was answered wrongly: {wrong}"))?;
        Ok((outcome, foreign))
    }

    /// Whether the server has the ceilings, which only one with the feature `bench` has.
    pub(crate) fn has_ceilings(&self) -> bool {
        let answer = self.http.get(self.url("/bench/hello")).call();
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    pub(crate) fn memory(&self) -> Memory {
        self.server.memory()
    }

    /// Processes that work for it.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut processes = self.database.processes();
        processes.push(self.server.id());
        processes
    }

    /// Leaves nothing to do from what came before: statistics, dead rows, what is not written yet.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        if let Database::Postgres(postgres) = &self.database {
            postgres.sql("VACUUM ANALYZE")?;
            postgres.sql("CHECKPOINT")?;
        }
        Ok(())
    }

    /// Stops the server and takes its database away.
    ///
    /// # Errors
    /// When either does not go.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        self.server.stop()?;
        self.database.drop_it()
    }

    fn calls(&mut self, call: Call, limit: Option<u64>) -> Calls {
        self.stage.run += 1;
        Calls::new(call, &self.stage, limit)
    }

    fn drive(&self, calls: &mut Calls, connections: usize) -> anyhow::Result<()> {
        let load = Load {
            connections,
            warm_up: Duration::ZERO,
            measured: AN_HOUR,
        };
        let outcome = client::run(self.server.address, load, calls, || ())?;
        match outcome.first_wrong {
            Some(wrong) => bail!("{} answers were wrong, the first: {wrong}", outcome.wrong),
            None => Ok(()),
        }
    }

    fn make_product(&self, kind: Kind) -> anyhow::Result<()> {
        let name = sku(kind);
        self.post("/v1/sequences", &json!({ "name": name }))?;
        // Its keys are handed over at once, and the order is complete, as with most software.
        let product = json!({ "sku": name, "sequence": name, "virtual": true });
        self.post("/v1/products", &product)
    }

    fn post(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        let request = self
            .http
            .post(self.url(path))
            .header("Authorization", self.bearer());
        let mut answer = request.send_json(body)?;
        if !answer.status().is_success() {
            bail!(
                "{path}: {} {}",
                answer.status(),
                answer.body_mut().read_to_string()?
            );
        }
        Ok(())
    }

    fn import(&self, kind: Kind, keys: u64, query: &str) -> anyhow::Result<()> {
        let path = format!("/v1/sequences/{}/import?wait=true&{query}", sku(kind));
        let mut answer = self
            .http
            .post(self.url(path.trim_end_matches('&')))
            .header("Authorization", self.bearer())
            .header("Content-Type", "text/plain")
            .send(ureq::SendBody::from_owned_reader(Lines::new(kind, keys)))?;
        let text = answer.body_mut().read_to_string()?;
        let report: Value = serde_json::from_str(&text).context("the import's report")?;
        if report["added"] != keys {
            bail!("an import of {keys} keys came to {text}");
        }
        Ok(())
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.stage.api_token)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }
}

/// The texts of keys, one a line, made while they are read.
#[derive(Debug)]
struct Lines {
    kind: Kind,
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl Lines {
    fn new(kind: Kind, keys: u64) -> Self {
        Self {
            kind,
            next: 0,
            end: keys,
            buffer: Vec::with_capacity(1 << 16),
            used: 0,
        }
    }
}

impl Read for Lines {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.used == self.buffer.len() {
            self.buffer.clear();
            self.used = 0;
            let end = self.end.min(self.next + 2000);
            for number in self.next..end {
                write_text(self.kind, number, &mut self.buffer);
                self.buffer.push(b'\n');
            }
            self.next = end;
        }
        let mut rest = &self.buffer[self.used..];
        let read = rest.read(into)?;
        self.used += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_import_has_a_line_for_every_key() {
        let mut text = String::new();
        Lines::new(Kind::Sold, 4321)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text.lines().count(), 4321);
        assert_eq!(
            text.lines().last().unwrap(),
            crate::keys::text(Kind::Sold, 4320)
        );
    }
}
