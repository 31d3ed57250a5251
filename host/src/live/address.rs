//! Where the page is served, as a user writes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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

/// Where a browser finds the page that is served at `address`, and who else can.
#[must_use]
pub fn in_words(address: SocketAddr) -> String {
    let here = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return format!("http://{address}/"),
    };
    let here = SocketAddr::new(here, address.port());
    format!("http://{here}/, and from other machines at this one's name or address")
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
    fn every_page_has_an_address_that_opens() {
        for (at, words) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("192.168.1.5:80", "http://192.168.1.5:80/"),
            ("[::1]:80", "http://[::1]:80/"),
        ] {
            assert_eq!(in_words(at.parse().unwrap()), words);
        }
        for (at, begin) in
            [("0.0.0.0:9", "http://127.0.0.1:9/, and"), ("[::]:9", "http://[::1]:9/, and")]
        {
            let words = in_words(at.parse().unwrap());
            assert!(words.starts_with(begin) && words.contains("other machines"), "{words}");
        }
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
