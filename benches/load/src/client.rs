//! The load: a closed loop of keep-alive connections on one thread. It shares the processors with the server, so
//! it is kept light: one poll for all, buffers that are used again, nothing allocated for a request.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::response;

/// How long what is under way may take once no more is sent.
const DRAIN: Duration = Duration::from_secs(30);
/// How often the clock is looked at when nothing comes.
const TICK: Duration = Duration::from_millis(20);
/// The longest latency that is told from longer ones, in microseconds.
const LONGEST: u64 = 120_000_000;

/// What is asked, and what is expected.
pub(crate) trait Workload {
    /// Writes the next request of a connection; `false` when it has no more.
    fn ask(&mut self, connection: usize, request: &mut Vec<u8>) -> bool;

    /// Judges the answer to it.
    ///
    /// # Errors
    /// What is wrong with it.
    fn judge(&mut self, connection: usize, status: u16, body: &[u8]) -> Result<(), String>;
}

/// How much, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// Not measured.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Answers within the measured time.
    pub(crate) answers: u64,
    pub(crate) seconds: f64,
    /// Microseconds of each, and of those under way at the end.
    pub(crate) latency: Histogram<u64>,
    pub(crate) wrong: u64,
    pub(crate) first_wrong: Option<String>,
}

impl Outcome {
    pub(crate) fn rate(&self) -> f64 {
        self.answers as f64 / self.seconds
    }
}

/// Runs a workload; `measuring` is called when the warm-up is over.
///
/// # Errors
/// When the server cannot be reached, hangs up, or answers what is no HTTP.
pub(crate) fn run(
    address: SocketAddr,
    load: Load,
    workload: &mut dyn Workload,
    mut measuring: impl FnMut(),
) -> anyhow::Result<Outcome> {
    let mut client = Client::connect(address, load.connections)?;
    let begun = Instant::now();
    client.from = begun + load.warm_up;
    client.until = client.from + load.measured;
    for index in 0..client.connections.len() {
        client.ask(index, workload)?;
    }
    let mut told = false;
    let mut events = Events::with_capacity(load.connections.clamp(16, 1024));
    while client.busy > 0 {
        let now = Instant::now();
        if !told && now >= client.from {
            told = true;
            measuring();
        }
        if now > client.until + DRAIN {
            bail!("{} answers did not come", client.busy);
        }
        // Also wakes when there is nothing to read, for the clock's sake.
        match client.poll.poll(&mut events, Some(TICK)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            client.serve(event.token().0, event.is_writable(), workload)?;
        }
    }
    let end = client.last.min(client.until).max(client.from);
    Ok(Outcome {
        answers: client.answers,
        seconds: end.duration_since(client.from).as_secs_f64().max(1e-9),
        latency: client.latency,
        wrong: client.wrong,
        first_wrong: client.first_wrong,
    })
}

struct Client {
    poll: Poll,
    connections: Vec<Connection>,
    /// Connections that wait for an answer.
    busy: usize,
    from: Instant,
    until: Instant,
    /// When the last answer came.
    last: Instant,
    answers: u64,
    latency: Histogram<u64>,
    wrong: u64,
    first_wrong: Option<String>,
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    /// Bytes of the request that are on their way.
    sent: usize,
    answer: Vec<u8>,
    /// Bytes of the answer that are here.
    filled: usize,
    asked_at: Instant,
}

impl Client {
    fn connect(address: SocketAddr, count: usize) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            let stream = std::net::TcpStream::connect(address)
                .with_context(|| format!("cannot connect to {address}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut stream, Token(index), interest)?;
            connections.push(Connection {
                stream,
                request: Vec::with_capacity(2048),
                sent: 0,
                answer: vec![0; 8192],
                filled: 0,
                asked_at: Instant::now(),
            });
        }
        let now = Instant::now();
        Ok(Self {
            poll,
            connections,
            busy: 0,
            from: now,
            until: now,
            last: now,
            answers: 0,
            latency: Histogram::new_with_bounds(1, LONGEST, 3).context("the histogram's bounds")?,
            wrong: 0,
            first_wrong: None,
        })
    }

    /// Sends a connection's next request, if it has one and there is time.
    fn ask(&mut self, index: usize, workload: &mut dyn Workload) -> anyhow::Result<()> {
        let now = Instant::now();
        let connection = &mut self.connections[index];
        connection.request.clear();
        connection.sent = 0;
        if now >= self.until || !workload.ask(index, &mut connection.request) {
            return Ok(());
        }
        connection.asked_at = now;
        self.busy += 1;
        connection.send()
    }

    /// Does what a connection is ready for.
    fn serve(
        &mut self,
        index: usize,
        writable: bool,
        workload: &mut dyn Workload,
    ) -> anyhow::Result<()> {
        if writable && self.connections[index].sent < self.connections[index].request.len() {
            self.connections[index].send()?;
        }
        while self.connections[index].receive()? {
            let connection = &mut self.connections[index];
            let buffer = &connection.answer[..connection.filled];
            let Some(response) = response::parse(buffer).map_err(anyhow::Error::msg)? else {
                continue;
            };
            let judged = workload.judge(index, response.status, response.body(buffer));
            if response.length != connection.filled {
                bail!("an answer is longer than it says");
            }
            connection.filled = 0;
            let asked_at = connection.asked_at;
            self.note(asked_at, judged);
            self.ask(index, workload)?;
        }
        Ok(())
    }

    fn note(&mut self, asked_at: Instant, judged: Result<(), String>) {
        let now = Instant::now();
        self.busy -= 1;
        self.last = now;
        if let Err(wrong) = judged {
            self.wrong += 1;
            self.first_wrong.get_or_insert(wrong);
        }
        if now >= self.from {
            if now < self.until {
                self.answers += 1;
            }
            let micros = u64::try_from(now.duration_since(asked_at).as_micros()).unwrap_or(LONGEST);
            self.latency.saturating_record(micros.max(1));
        }
    }
}

impl Connection {
    fn send(&mut self) -> anyhow::Result<()> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(0) => bail!("the server hung up"),
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot send a request"),
            }
        }
        Ok(())
    }

    /// Takes what has come; `false` when nothing has. The poll tells of what comes only once, so this is called
    /// until it says `false`.
    fn receive(&mut self) -> anyhow::Result<bool> {
        loop {
            if self.filled == self.answer.len() {
                self.answer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.answer[self.filled..]) {
                Ok(0) => bail!("the server hung up"),
                Ok(read) => {
                    self.filled += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot read an answer"),
            }
        }
    }
}
