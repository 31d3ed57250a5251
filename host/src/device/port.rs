//! Where boards are: serial lines and sockets, one pipe of bytes each.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serial2::SerialPort;

use super::error::{DeviceError, Trouble};

/// Longest wait for bytes in one call: how late a deadline is noticed.
const POLL: Duration = Duration::from_millis(50);

/// Longest wait for the other side to take bytes, or a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a board is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A serial port by its path or name.
    Serial(PathBuf),
    /// A Unix domain socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            _ if text.is_empty() => Err("name a port: /dev/ttyACM0, unix:PATH or tcp:HOST:PORT"),
            Some(("unix", "")) => Err("write unix:PATH"),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) => match address.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                    Ok(Self::Tcp(address.to_owned()))
                }
                _ => Err("write tcp:HOST:PORT"),
            },
            _ => Ok(Self::Serial(text.into())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(path) => path.display().fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// A pipe of bytes whose reads and writes end in time.
pub(super) trait Pipe: Read + Write + Send {}

impl<T: Read + Write + Send> Pipe for T {}

impl Address {
    /// Opens the port, for this program alone; `baud` is the speed of a serial line.
    ///
    /// # Errors
    /// If there is none, or it cannot be had.
    pub(super) fn open(&self, baud: u32) -> Result<Box<dyn Pipe>, DeviceError> {
        let opened = match self {
            Self::Serial(path) => open_serial(path, baud),
            Self::Unix(path) => open_unix(path),
            Self::Tcp(address) => open_tcp(address),
        };
        opened.map_err(|trouble| DeviceError { port: self.to_string(), trouble })
    }
}

fn open_serial(path: &PathBuf, baud: u32) -> Result<Box<dyn Pipe>, Trouble> {
    let mut port = SerialPort::open(path, baud).map_err(trouble)?;
    lock(&port)?;
    port.set_read_timeout(POLL).map_err(Trouble::Open)?;
    port.set_write_timeout(PATIENCE).map_err(Trouble::Open)?;
    // What came while nobody listened.
    port.discard_input_buffer().map_err(trouble)?;
    Ok(Box::new(port))
}

/// Locks the port against other programs that do so; the lock lives as long as the port.
#[cfg(unix)]
fn lock(port: &SerialPort) -> Result<(), Trouble> {
    use std::fs::{File, TryLockError};
    use std::os::fd::AsFd;

    let same = File::from(port.as_fd().try_clone_to_owned().map_err(Trouble::Open)?);
    match same.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Trouble::Busy),
        // Not every driver has locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Elsewhere a port that is open cannot be opened again.
#[cfg(not(unix))]
fn lock(_: &SerialPort) -> Result<(), Trouble> {
    Ok(())
}

#[cfg(unix)]
fn open_unix(path: &PathBuf) -> Result<Box<dyn Pipe>, Trouble> {
    let socket = std::os::unix::net::UnixStream::connect(path).map_err(trouble)?;
    socket.set_read_timeout(Some(POLL)).map_err(Trouble::Open)?;
    socket.set_write_timeout(Some(PATIENCE)).map_err(Trouble::Open)?;
    Ok(Box::new(socket))
}

#[cfg(not(unix))]
fn open_unix(_: &PathBuf) -> Result<Box<dyn Pipe>, Trouble> {
    Err(Trouble::Open(ErrorKind::Unsupported.into()))
}

fn open_tcp(address: &str) -> Result<Box<dyn Pipe>, Trouble> {
    let mut last = io::Error::from(ErrorKind::NotFound);
    for address in address.to_socket_addrs().map_err(Trouble::Open)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(socket) => {
                socket.set_nodelay(true).map_err(Trouble::Open)?;
                socket.set_read_timeout(Some(POLL)).map_err(Trouble::Open)?;
                socket.set_write_timeout(Some(PATIENCE)).map_err(Trouble::Open)?;
                return Ok(Box::new(socket));
            }
            Err(error) => last = error,
        }
    }
    Err(trouble(last))
}

/// What the system's error means to a user.
fn trouble(error: io::Error) -> Trouble {
    /// "Inappropriate ioctl for device", on every Unix.
    const ENOTTY: i32 = 25;
    match error.kind() {
        ErrorKind::NotFound => Trouble::Missing,
        ErrorKind::PermissionDenied => Trouble::Denied,
        ErrorKind::ResourceBusy => Trouble::Busy,
        ErrorKind::ConnectionRefused => Trouble::Refused,
        ErrorKind::IsADirectory => Trouble::NotAPort,
        _ if cfg!(unix) && error.raw_os_error() == Some(ENOTTY) => Trouble::NotAPort,
        _ => Trouble::Open(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_and_shown_as_written() {
        for text in ["/dev/ttyACM0", "COM3", "unix:/tmp/a:b", "tcp:localhost:4444", "tcp:[::1]:1"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("COM3".parse(), Ok(Address::Serial("COM3".into())));
        assert_eq!("unix:a:b".parse(), Ok(Address::Unix("a:b".into())));
        for text in ["", "unix:", "tcp:", "tcp:host", "tcp::1", "tcp:host:port", "tcp:host:99999"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
