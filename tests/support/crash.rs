//! A server that is killed in the middle of what many clients ask of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::process::ServerProcess;

/// How much is asked, by how many, and when the server is killed.
pub(crate) struct Crash {
    pub(crate) calls: usize,
    pub(crate) clients: usize,
    /// Answers after which the server is killed: in the middle.
    pub(crate) kill_after: usize,
}

impl Crash {
    /// Has the clients make the calls 0, 1, 2 and so on between them, kills the server, and returns what
    /// was answered before. `call` gives nothing once the server is gone.
    pub(crate) async fn play<T, F>(
        &self,
        server: ServerProcess,
        call: impl Fn(usize) -> F + Clone + Send + 'static,
    ) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let calls = self.calls;
        let (next, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let clients: Vec<_> = (0..self.clients)
            .map(|_| {
                let (next, answered, call) =
                    (Arc::clone(&next), Arc::clone(&answered), call.clone());
                tokio::spawn(async move {
                    let mut told = Vec::new();
                    loop {
                        let turn = next.fetch_add(1, Ordering::SeqCst);
                        if turn >= calls {
                            return told;
                        }
                        let Some(answer) = call(turn).await else {
                            return told;
                        };
                        answered.fetch_add(1, Ordering::SeqCst);
                        told.push(answer);
                    }
                })
            })
            .collect();
        while answered.load(Ordering::SeqCst) < self.kill_after {
            tokio::task::yield_now().await;
        }
        server.kill();
        let told: Vec<T> = join_all(clients)
            .await
            .into_iter()
            .flat_map(Result::unwrap)
            .collect();
        assert!(told.len() < calls, "killed in the middle");
        told
    }
}
