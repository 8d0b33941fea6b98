//! The HTTP server around an [`App`]: listening, serving, stopping cleanly.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::{Compress, from_fn};
use actix_web::{HttpServer, web};

use crate::api;
use crate::app::App;
use crate::background::Background;
use crate::control::Control;

/// How long running requests have to finish after a stop; together with what comes after it, less than
/// the 30 seconds after which service managers kill.
const SHUTDOWN_SECONDS: u64 = 20;

/// How long what runs beside the requests has to finish.
const BACKGROUND_ENDS_WITHIN: Duration = Duration::from_secs(3);

/// A server that is bound to its address and serves once [`Server::run`] is awaited.
pub struct Server {
    app: Arc<App>,
    address: SocketAddr,
    http: actix_web::dev::Server,
    control: Option<Control>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.address)
    }
}

/// Stops a running server from elsewhere.
#[derive(Clone, Debug)]
pub struct Stopper {
    app: Arc<App>,
    http: ServerHandle,
}

impl Server {
    /// Binds the configured address (port 0 picks a free one) and the control socket. Called inside a
    /// Tokio runtime.
    ///
    /// # Errors
    /// The operating system's, naming the address.
    pub fn bind(app: Arc<App>) -> io::Result<Self> {
        let listen = app.config.listen;
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!(
                    "cannot listen on {listen}: {error}; choose another address with --listen, port 0 picks a free one"
                ),
            )
        };
        let listener = TcpListener::bind(listen).map_err(named)?;
        let address = listener.local_addr()?;
        let control = Control::start(&app);
        let data = web::Data::from(Arc::clone(&app));
        let http = HttpServer::new(move || {
            actix_web::App::new()
                .app_data(data.clone())
                .wrap(Compress::default())
                .wrap(from_fn(api::observe))
                .configure(api::configure)
        })
        .shutdown_timeout(SHUTDOWN_SECONDS)
        .disable_signals()
        .listen(listener)?
        .run();
        Ok(Self {
            app,
            address,
            http,
            control,
        })
    }

    /// The address that it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            app: Arc::clone(&self.app),
            http: self.http.handle(),
        }
    }

    /// Serves until it is stopped: then takes no more connections, finishes what runs, writes what is
    /// held in memory, and returns.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn run(self) -> io::Result<()> {
        let background = Background::start(&self.app);
        let served = self.http.await;
        drop(self.control);
        let ended = tokio::time::timeout(BACKGROUND_ENDS_WITHIN, background.stop()).await;
        if ended.is_err() {
            tracing::warn!("what runs in the background is left in the middle");
        }
        self.app.close().await;
        served
    }
}

impl Stopper {
    /// Stops the server; running requests are finished.
    pub async fn stop(&self) {
        self.app.begin_stopping();
        self.http.stop(true).await;
    }
}
