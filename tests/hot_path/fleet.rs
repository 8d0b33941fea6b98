//! Server processes on one database that die and come back while clients go on calling.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::RequestBuilder;
use tokio::sync::watch;

use crate::support::Persona;
use crate::support::database::{TestDatabase, number};
use crate::support::persona::Answer;
use crate::support::process::{ServerProcess, run_ok};

/// How long an answer may be on its way that a process gave before it died.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Where one running process is called.
#[derive(Clone)]
pub(super) struct Doors {
    process: u32,
    pub(super) base: String,
    pub(super) software: Persona,
    pub(super) admin: Persona,
}

pub(super) struct Fleet<'a> {
    database: &'a TestDatabase,
    token: String,
    processes: Vec<Option<ServerProcess>>,
    doors: watch::Sender<Vec<Option<Doors>>>,
}

/// The way in for clients, whichever processes are up.
#[derive(Clone)]
pub(super) struct Entrance(watch::Receiver<Vec<Option<Doors>>>);

impl<'a> Fleet<'a> {
    /// As many as can share the database: three on PostgreSQL; the embedded database has one.
    pub(super) fn of(database: &'a TestDatabase) -> Self {
        Self::start(database, if database.is_sqlite() { 1 } else { 3 })
    }

    pub(super) fn start(database: &'a TestDatabase, count: usize) -> Self {
        let processes: Vec<_> = (0..count)
            .map(|_| Some(ServerProcess::start(database)))
            .collect();
        let token = run_ok(
            database,
            &["token", "create", "--role", "admin", "--account", "ci"],
        );
        let fleet = Self {
            database,
            token: token.trim().to_owned(),
            processes,
            doors: watch::Sender::new(Vec::new()),
        };
        fleet.open_doors();
        fleet
    }

    /// Clients of other processes are let be: their connections stay.
    fn open_doors(&self) {
        let (processes, token) = (&self.processes, &self.token);
        self.doors.send_modify(|doors| {
            doors.resize(processes.len(), None);
            for (door, process) in doors.iter_mut().zip(processes) {
                let Some(process) = process else {
                    *door = None;
                    continue;
                };
                door.get_or_insert_with(|| Doors {
                    process: process.id(),
                    base: process.base.clone(),
                    software: process.software(),
                    admin: Persona::new(&process.base, Some(token.clone())),
                });
            }
        });
    }

    pub(super) fn entrance(&self) -> Entrance {
        Entrance(self.doors.subscribe())
    }

    /// The doors of the processes that are up.
    pub(super) fn doors(&self) -> Vec<Doors> {
        self.doors.borrow().iter().flatten().cloned().collect()
    }

    /// Ends a process as `kill -9` does.
    pub(super) fn kill(&mut self, slot: usize) {
        let process = self.processes[slot].take().unwrap();
        let log = tokio::task::block_in_place(|| process.kill());
        assert!(!log.contains("panicked"), "{log}");
        self.open_doors();
    }

    pub(super) fn start_again(&mut self, slot: usize) {
        let database = self.database;
        let process = tokio::task::block_in_place(|| ServerProcess::start(database));
        self.processes[slot] = Some(process);
        self.open_doors();
    }

    /// Ends every connection to the database, as its restart does.
    pub(super) fn cut_connections(&self) {
        let others = "SELECT COUNT(pg_terminate_backend(pid)) AS number FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let cut = tokio::task::block_in_place(|| number(&mut self.database.connect(), others));
        assert!(cut > 0);
    }

    /// Stops every process, waits until the database has nothing of theirs left to do, and starts one.
    pub(super) fn rest(&mut self) {
        self.stop();
        let others = "SELECT COUNT(*) AS number FROM pg_stat_activity WHERE datname = current_database() \
            AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        if !self.database.is_sqlite() {
            let mut conn = self.database.connect();
            while number(&mut conn, others) > 0 {
                std::thread::yield_now();
            }
        }
        self.start_again(0);
    }

    fn stop(&mut self) {
        for process in self.processes.iter_mut().filter_map(Option::take) {
            let (status, log) = tokio::task::block_in_place(|| process.terminate());
            assert!(status.success() && !log.contains("panicked"), "{log}");
        }
        self.open_doors();
    }

    /// Stops what is up and looks at the database.
    pub(super) fn finish(mut self) {
        self.stop();
        self.database.check_integrity();
    }
}

impl Entrance {
    /// A process that is up; waits for one.
    pub(super) async fn any(&mut self, rng: &mut StdRng) -> Doors {
        let up = self.0.wait_for(|doors| doors.iter().any(Option::is_some));
        let up: Vec<Doors> = up.await.unwrap().iter().flatten().cloned().collect();
        up[rng.random_range(0..up.len())].clone()
    }

    /// Calls a process; `None` when it died before it had answered.
    pub(super) async fn call(
        &self,
        doors: &Doors,
        by: &Persona,
        call: RequestBuilder,
    ) -> Option<Answer> {
        let mut answer = std::pin::pin!(by.try_send(call));
        let mut state = self.0.clone();
        let death = async {
            let is_up = |up: &Doors| up.process == doors.process;
            let dead = state.wait_for(|state| !state.iter().flatten().any(is_up));
            drop(dead.await);
        };
        tokio::select! {
            answer = &mut answer => return answer.ok(),
            () = death => {}
        }
        // The client may wait for ever for a connection that it has lost.
        tokio::time::timeout(LAST_WORDS, answer).await.ok()?.ok()
    }
}
