//! Where the page is served, as a user writes it.

use std::net::{Ipv4Addr, SocketAddr};

/// A text that is no address to serve at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "give a port (8080), localhost:PORT, or an IP address of this machine and a port (192.168.1.5:8080, [::1]:8080)"
)]
pub struct AddressError;

/// Reads an address to serve at: `PORT` and `localhost:PORT` are this machine alone; any
/// other is an IP address and a port. Port 0 is any that is free.
///
/// # Errors
/// [`AddressError`] for all else. Names other than `localhost` are not looked up: they
/// could mean several addresses.
pub fn address(text: &str) -> Result<SocketAddr, AddressError> {
    let port = text.strip_prefix("localhost:").unwrap_or(text);
    match port.parse::<u16>() {
        Ok(port) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        Err(_) => text.parse().map_err(|_| AddressError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_is_this_machine() {
        for text in ["8080", "localhost:8080", "127.0.0.1:8080"] {
            assert_eq!(address(text).unwrap().to_string(), "127.0.0.1:8080");
        }
        assert_eq!(address("0").unwrap().port(), 0);
        assert_eq!(address("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert_eq!(address("0.0.0.0:9").unwrap().to_string(), "0.0.0.0:9");
    }

    #[test]
    fn all_else_is_refused() {
        for text in
            ["", "localhost", ":8080", "127.0.0.1", "65536", "-1", "example.org:80", "::1:x", "80 "]
        {
            assert_eq!(address(text), Err(AddressError), "{text}");
        }
    }
}
