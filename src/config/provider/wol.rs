//! A machine on the local network that a magic packet wakes, as configured.

use std::net::SocketAddr;

use super::parts::{Machine, program};
use crate::config::reading::Reading;
use crate::config::secret::Secret;
use crate::config::value::{self, Parsed};
use crate::engine::time::Span;

/// The port that packets are sent to when none is written ("discard", RFC 863).
const PORT: u16 = 9;

/// A machine on the local network that a magic packet wakes.
#[derive(Clone, Debug, PartialEq)]
pub struct Wol {
    /// The address of its network card.
    pub mac: [u8; 6],
    /// Where the app listens, always as `host:port`.
    pub address: String,
    /// Where packets are sent.
    pub broadcast: SocketAddr,
    /// What the network card wants beside its address: 4 or 6 bytes, by [`bytes`].
    pub password: Option<Secret>,
    /// The program that puts it to sleep, never empty.
    pub stop: Vec<String>,
    /// How long the program may take, and after it the machine; 1 s to 1 h.
    pub stop_timeout: Span,
    /// How long the machine may take to come; 1 s to 1 h.
    pub wake_timeout: Span,
}

impl Wol {
    pub(super) fn read(section: &Reading<'_>, port: u16) -> Option<Wol> {
        let mac = section.read("mac", mac);
        let address = section.read("address", |text| value::address(text, port));
        let broadcast = section.read("broadcast", broadcast);
        let password = section.secret("password");
        if let Some(password) = &password
            && !matches!(
                bytes(password.expose()).map(|bytes| bytes.len()),
                Some(4 | 6)
            )
        {
            section.fault(
                "password",
                "is none of a network card; put it there like \"00:11:22:33:44:55\" or \"00:11:22:33\"",
            );
        }
        let stop = program(section, "stop");
        let stop_timeout = section.span("stop_timeout");
        let wake_timeout = section.span("wake_timeout");
        Some(Wol {
            mac: mac?,
            address: address?,
            broadcast: broadcast?,
            password,
            stop,
            stop_timeout: stop_timeout?,
            wake_timeout: wake_timeout?,
        })
    }

    pub(super) fn machine(&self) -> Machine {
        Machine {
            what: "network card",
            place: String::new(),
            id: self.mac.map(|byte| format!("{byte:02x}")).join(":"),
        }
    }
}

/// Bytes in hexadecimal with `:` or `-` between them.
#[must_use]
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let byte = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|c| c.is_ascii_hexdigit());
        plain.then(|| u8::from_str_radix(digits, 16).ok())?
    };
    let between = if text.contains('-') { '-' } else { ':' };
    text.split(between).map(byte).collect()
}

fn mac(text: &str) -> Parsed<[u8; 6]> {
    let mac: Option<[u8; 6]> = bytes(text).and_then(|bytes| bytes.try_into().ok());
    match mac {
        Some(mac) if mac[0] & 1 == 0 && mac != [0; 6] => Ok(mac),
        _ => Err(
            "is not the address of a network card; write it like \"52:54:00:12:34:56\"".to_owned(),
        ),
    }
}

/// An address with a port, or without for the usual one.
fn broadcast(text: &str) -> Parsed<SocketAddr> {
    let with_port = text.parse().ok().filter(|to: &SocketAddr| to.port() != 0);
    let without = || Some(SocketAddr::new(text.parse().ok()?, PORT));
    with_port
        .or_else(without)
        .ok_or_else(|| "is not an address to send to; write it like \"192.168.1.255:9\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_card_has_six_bytes_and_is_alone() {
        let card = [0x52, 0x54, 0, 0x12, 0x34, 0xAB];
        for good in ["52:54:00:12:34:ab", "52-54-00-12-34-AB"] {
            assert_eq!(mac(good), Ok(card));
        }
        for bad in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:ab:cd",
            "52:54:00:12:34-ab",
            "52:54:0:12:34:ab",
            "52:54:+0:12:34:ab",
            "525400:1234ab",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_broadcast_without_a_port_goes_to_the_usual_one() {
        let is = |text, same: &str| assert_eq!(broadcast(text), Ok(same.parse().unwrap()));
        is("192.168.1.255", "192.168.1.255:9");
        is("192.168.1.255:7", "192.168.1.255:7");
        is("ff02::1", "[ff02::1]:9");
        for bad in ["", "router:9", "192.168.1.255:0", "192.168.1.256"] {
            assert!(broadcast(bad).is_err(), "{bad}");
        }
    }
}
