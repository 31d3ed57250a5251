//! The thread that serves.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::feed::Feed;
use super::site::Site;

/// Most connections at a time; more wait. A browser opens up to six. The run needs file
/// handles too, and systems give out as few as 1024.
const CONNECTIONS: usize = 256;

/// Bytes of a request's head that are read, and of an answer that wait in memory.
const BUFFER: usize = 16 << 10;

/// How long a client may take for the head of a request, and at the end for the answer
/// that is under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// After so long a connection is ended between two requests: no client holds one for
/// good, and a browser opens another.
const LIFE: Duration = Duration::from_secs(60);

/// Longer than a page waits between two questions.
const FAREWELL: Duration = Duration::from_secs(2);

/// The server's share of the processor when all are busy: with nice 10, a tenth of what a
/// thread of the run gets.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Why a page cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be taken.
    #[error("cannot serve at {address}: {}", advice(.source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("cannot start a server: {0}; leave it out, or stop other programs")]
    Start(io::Error),
}

fn advice(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            "another program has this port; choose another, or 0 for any that is free".to_owned()
        }
        ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; give a port alone to watch from this machine"
                .to_owned()
        }
        ErrorKind::PermissionDenied => "not allowed; choose a port from 1024 on".to_owned(),
        _ => format!("{error}; choose another address"),
    }
}

/// A page that shows a run, until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    site: Arc<Site>,
    /// Both are there until the server is dropped; letting go of the first ends the second.
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Server {
    /// Takes the address and serves what `feed` is told, on a thread of its own.
    ///
    /// At a loopback address only this machine can watch. At any other, whoever reaches
    /// it can: there is no password.
    ///
    /// # Errors
    /// [`ServeError`] if the address is not to be had.
    pub fn start(address: SocketAddr, feed: Arc<Feed>) -> Result<Self, ServeError> {
        let bind = |source| ServeError::Bind { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::Start)?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener).map_err(ServeError::Start)?
        };
        let site = Arc::new(Site::new(feed, address.ip().is_loopback()));
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&site);
        let thread = thread::Builder::new()
            .name("live".to_owned())
            .spawn(move || {
                yield_to_the_run();
                runtime.block_on(async {
                    tokio::spawn(accept(listener, served));
                    // An error: the sender is gone, which says the same.
                    let _ = stopped.await;
                });
            })
            .map_err(ServeError::Start)?;
        Ok(Self { address, site, running: Some((stop, thread)) })
    }

    /// Where the page is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops; if somebody watches, after the seconds that an open page needs to hear
    /// what the feed was told last.
    pub fn farewell(self) {
        if self.site.is_watched() {
            thread::sleep(FAREWELL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // A panic there has been reported, and the run does not depend on it.
            let _ = thread.join();
        }
    }
}

/// Lowers this thread's priority, where a thread has one.
fn yield_to_the_run() {
    #[cfg(target_os = "linux")]
    {
        // On Linux a thread's number in place of a process's means that thread. Refused
        // or not: the page works.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
    }
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = Arc::clone(&site);
                tokio::spawn(async move {
                    converse(stream, &site).await;
                    drop(seat);
                });
            }
            // The client left already, or there are no file handles now.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Answers requests on a connection, until one of both sides ends it.
async fn converse(stream: TcpStream, site: &Site) {
    // Answers are written whole: waiting to fill packets would only delay them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(async |request| Ok::<_, Infallible>(site.answer(&request)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // Errors are the client's: it left, or does not speak HTTP.
    if timeout(LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(PATIENCE, connection).await;
    }
}
