//! Commands to a running server that owns its database: a socket beside the database, for its user only.
//!
//! One line of JSON in, one line of JSON out. On PostgreSQL there is no socket: commands open the
//! database themselves.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::error::{Error, Result};

mod command;
pub(crate) mod work;

pub use command::{Command, Reply, UserChange};
use work::{Outcome, Work};

/// The longest line that either side reads, in bytes.
const MAX_LINE: u64 = 1 << 20;
/// How long a caller may take to say what it wants.
const TIMEOUT: Duration = Duration::from_secs(30);

impl App {
    /// Does what a command says in the running server.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub async fn obey(&self, command: Command) -> Result<Reply> {
        let reply = command.run(&self.db, &self.key_folder, &self.clock).await?;
        if matches!(reply, Reply::Rotated { .. }) {
            self.refresh_keyring().await?;
        }
        Ok(reply)
    }
}

/// The listening socket; removed when dropped.
#[derive(Debug)]
pub(crate) struct Control {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Control {
    /// Listens, when the server owns its database. Without a socket the server works all the same, so a
    /// failure is only logged.
    pub(crate) fn start(app: &Arc<App>) -> Option<Self> {
        let path = app.control_path()?;
        match listen(&path) {
            Ok(listener) => {
                let task = tokio::spawn(accept(listener, Arc::clone(app)));
                Some(Self { path, task })
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "no control socket: commands cannot reach this server");
                None
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        // It may be gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A socket's path in a form that fits into its address, which holds about a hundred bytes.
struct Reachable {
    path: PathBuf,
    /// Kept open as long as the path goes through it.
    _folder: Option<std::fs::File>,
}

impl Reachable {
    fn new(path: &Path) -> std::io::Result<Self> {
        const FITS: usize = 100;
        let plain = || Self {
            path: path.to_owned(),
            _folder: None,
        };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(plain());
        };
        if path.as_os_str().len() <= FITS || !cfg!(target_os = "linux") {
            return Ok(plain());
        }
        let folder = std::fs::File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self {
            path,
            _folder: Some(folder),
        })
    }
}

/// Binds under another name and renames, so that the socket is never there with a mode that lets others in.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&Reachable::new(&new)?.path)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

async fn accept(listener: UnixListener, app: Arc<App>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let app = Arc::clone(&app);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &app).await {
                        tracing::warn!(%error, "a control connection failed");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot accept");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, app: &Arc<App>) -> std::io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(MAX_LINE));
    tokio::time::timeout(TIMEOUT, reader.read_line(&mut line)).await??;
    if let Ok(work) = serde_json::from_str::<Work>(&line) {
        return work::serve(work, &mut stream, app).await;
    }
    let reply = match serde_json::from_str::<Command>(&line) {
        Ok(command) => match app.obey(command).await {
            Ok(reply) => reply,
            Err(error) => Reply::Failed {
                detail: explain(&error),
            },
        },
        Err(error) => Reply::Failed {
            detail: format!("the running server does not know this command: {error}"),
        },
    };
    write_line(&mut stream, &reply).await
}

async fn write_line(
    stream: &mut (impl AsyncWrite + Unpin),
    value: &impl Serialize,
) -> std::io::Result<()> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    stream.write_all(text.as_bytes()).await
}

async fn read_line<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE))
        .read_line(&mut line)
        .await?;
    Ok(serde_json::from_str(&line)?)
}

/// Sends a command to the server behind a socket.
///
/// # Errors
/// When there is none, or its answer cannot be read.
pub async fn call(path: &Path, command: &Command) -> std::io::Result<Reply> {
    let reachable = Reachable::new(path)?;
    let mut stream = UnixStream::connect(&reachable.path).await?;
    write_line(&mut stream, command).await?;
    read_line(&mut stream).await
}

/// A line of work to the server behind a socket.
#[derive(Debug)]
pub(crate) struct Colleague {
    stream: UnixStream,
}

impl Colleague {
    /// Asks for work; an import says next that it is ready.
    ///
    /// # Errors
    /// When there is no server, or it goes away.
    pub(crate) async fn ask(path: &Path, work: &Work) -> std::io::Result<Self> {
        let reachable = Reachable::new(path)?;
        let mut stream = UnixStream::connect(&reachable.path).await?;
        write_line(&mut stream, work).await?;
        Ok(Self { stream })
    }

    /// What it says next.
    ///
    /// # Errors
    /// When it goes away, or is not understood.
    pub(crate) async fn outcome(&mut self) -> std::io::Result<Outcome> {
        read_line(&mut self.stream).await
    }

    /// Sends a piece of a text; an empty one ends it.
    ///
    /// # Errors
    /// When it goes away.
    pub(crate) async fn send(&mut self, piece: &[u8]) -> std::io::Result<()> {
        work::send_frame(&mut self.stream, piece).await
    }
}

/// An error for the person at the command line.
pub fn explain(error: &Error) -> String {
    match error {
        Error::Refused(refusal) => refusal.detail.clone(),
        Error::Internal(what) => what.clone(),
        other => other.to_string(),
    }
}
