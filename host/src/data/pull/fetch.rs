//! Downloads one file over HTTP, continuing a partial one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};

/// How often a broken connection is taken up again.
const ATTEMPTS: u32 = 4;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The longest wait for anything to arrive.
    pub(super) wait: Duration,
    /// The pause before the second attempt; it doubles with each further one.
    pub(super) pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { wait: Duration::from_secs(30), pause: Duration::from_millis(250) }
    }
}

/// Why a download failed.
#[derive(Debug)]
pub(super) enum FetchError {
    /// The other side, or the way there; in one line.
    Remote(String),
    /// The partial file.
    Disk(io::Error),
}

/// How one request went wrong.
enum Failure {
    /// Asking again makes sense: what arrived so far is kept.
    Broken(String),
    /// Asking again does not help.
    Final(FetchError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Final(FetchError::Disk(error))
    }
}

/// A client with limits on every wait, but none on the whole transfer.
pub(super) fn agent(limits: Limits) -> Agent {
    let wait = Some(limits.wait);
    Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("mirage/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(wait)
        .timeout_connect(wait)
        .timeout_recv_response(wait)
        .timeout_per_read(wait)
        .build()
        .new_agent()
}

/// Downloads `url` to `part`, after the bytes that `part` holds already if the server
/// can continue there. A transfer that breaks is taken up again a few times.
///
/// On success `part` is as long as the server's file, its content is not checked, and
/// the result says whether it came whole, in one answer. On failure it holds what has
/// arrived. More than `limit` bytes are refused, and none of them kept.
pub(super) fn fetch(
    agent: &Agent,
    limits: Limits,
    url: &str,
    part: &Path,
    limit: u64,
    progress: &ProgressBar,
) -> Result<bool, FetchError> {
    let mut pause = limits.pause;
    let mut attempt = 1;
    loop {
        match transfer(agent, url, part, limit, progress) {
            Ok(start) => return Ok(start == 0),
            Err(Failure::Broken(_)) if attempt < ATTEMPTS => {
                thread::sleep(pause);
                pause *= 2;
                attempt += 1;
            }
            Err(Failure::Broken(reason)) => return Err(FetchError::Remote(reason)),
            Err(Failure::Final(error)) => return Err(error),
        }
    }
}

/// One request and what it brings; returns how many bytes were held before.
fn transfer(
    agent: &Agent,
    url: &str,
    part: &Path,
    limit: u64,
    progress: &ProgressBar,
) -> Result<u64, Failure> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(part)?;
    if file.try_lock().is_err() {
        return Err(Failure::Final(FetchError::Remote(
            "another mirage is downloading it".to_owned(),
        )));
    }
    let held = file.metadata()?.len();
    let mut response = ask(agent, url, held)?;
    let mut start = 0;
    if held > 0 {
        let range = header_text(&response, header::CONTENT_RANGE).unwrap_or_default();
        match response.status() {
            StatusCode::PARTIAL_CONTENT if range.starts_with(&format!("bytes {held}-")) => {
                start = held
            }
            // Nothing is missing after what is held.
            StatusCode::RANGE_NOT_SATISFIABLE if range == format!("bytes */{held}") => {
                return Ok(held);
            }
            // The server sends the whole file.
            StatusCode::OK => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                response = ask(agent, url, 0)?;
            }
            _ => {}
        }
    }
    let status = response.status();
    if start == 0 && status != StatusCode::OK {
        let reason = format!("the server answered {status}");
        let busy = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        return Err(match busy {
            true => Failure::Broken(reason),
            false => Failure::Final(FetchError::Remote(reason)),
        });
    }
    file.set_len(start)?;
    file.seek(SeekFrom::Start(start))?;
    receive(response, file, start, limit, progress)?;
    Ok(start)
}

/// Sends a request for everything after the first `held` bytes.
fn ask(agent: &Agent, url: &str, held: u64) -> Result<Response<ureq::Body>, Failure> {
    let mut request = agent.get(url);
    if held > 0 {
        request = request.header(header::RANGE, format!("bytes={held}-"));
    }
    request.call().map_err(|error| {
        let transient = match &error {
            ureq::Error::Io(cause) => matches!(
                cause.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::TimedOut
            ),
            ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => true,
            // No name, no route, no trust: asking again would only keep the user waiting.
            _ => false,
        };
        let reason = match error {
            ureq::Error::Io(cause) => cause.to_string(),
            other => other.to_string(),
        };
        if transient { Failure::Broken(reason) } else { Failure::Final(FetchError::Remote(reason)) }
    })
}

/// Appends the body of a response to a file that holds `start` bytes.
fn receive(
    response: Response<ureq::Body>,
    mut file: File,
    start: u64,
    limit: u64,
    progress: &ProgressBar,
) -> Result<(), Failure> {
    let expected = header_text(&response, header::CONTENT_LENGTH)
        .and_then(|length| length.parse::<u64>().ok())
        .map(|length| start.saturating_add(length));
    let too_long = |file: &File, found: &str| -> Result<(), Failure> {
        file.set_len(0)?;
        let reason = format!("the file has {found} bytes, at most {limit} are expected");
        Err(Failure::Final(FetchError::Remote(reason)))
    };
    if let Some(length) = expected {
        if length > limit {
            return too_long(&file, &length.to_string());
        }
        progress.set_length(length);
    }
    progress.set_position(start);
    // What an earlier transfer brought says nothing about this one's speed.
    progress.reset_eta();
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut held = start;
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Broken(error.to_string())),
        };
        held += read as u64;
        if held > limit {
            return too_long(&file, &format!("{held} or more"));
        }
        file.write_all(&buffer[..read])?;
        progress.set_position(held);
    }
    match expected {
        Some(length) if held < length => {
            Err(Failure::Broken(format!("the connection ended after {held} of {length} bytes")))
        }
        _ => Ok(()),
    }
}

fn header_text(response: &Response<ureq::Body>, name: header::HeaderName) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}
