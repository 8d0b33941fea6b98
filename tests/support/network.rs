//! The way from a server to its database on PostgreSQL, which a test can cut.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::database::TestDatabase;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// It gets there.
    Open,
    /// It is closed at once, as if nothing listened there.
    Closed,
    /// Nothing ever comes back.
    Silent,
}

pub(crate) struct Network(Arc<Mutex<State>>);

struct State {
    way: Way,
    /// Connections that are there, at both ends.
    there: Vec<TcpStream>,
    /// How many were tried since the way is as it is.
    tries: usize,
}

impl Network {
    /// Puts itself in front of the database, whose URL leads there from then on.
    pub(crate) fn before(database: &mut TestDatabase) -> Self {
        let mut url = url::Url::parse(&database.url).unwrap();
        let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        database.url = url.into();
        let state = Arc::new(Mutex::new(State {
            way: Way::Open,
            there: Vec::new(),
            tries: 0,
        }));
        let network = Self(Arc::clone(&state));
        std::thread::spawn(move || {
            for near in listener.incoming() {
                state.lock().unwrap().take(near.unwrap(), &target);
            }
        });
        network
    }

    /// Changes the way, which ends every connection.
    pub(crate) fn set(&self, way: Way) {
        let mut state = self.0.lock().unwrap();
        state.way = way;
        state.tries = 0;
        for stream in state.there.drain(..) {
            // It may have ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections were tried since the way is as it is.
    pub(crate) fn tries(&self) -> usize {
        self.0.lock().unwrap().tries
    }
}

impl State {
    fn take(&mut self, near: TcpStream, target: &str) {
        self.tries += 1;
        match self.way {
            Way::Open => {
                let far = TcpStream::connect(target).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        // It ends when either end does.
                        let _ = copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                self.there.extend([near, far]);
            }
            Way::Closed => {}
            Way::Silent => self.there.push(near),
        }
    }
}
