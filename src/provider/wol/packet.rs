//! The magic packet: six bytes of ones, sixteen times the address of the network card, and the password of a
//! card that wants one. (AMD, Magic Packet Technology, publication 20213; the password is its SecureOn.)

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::KIND;
use crate::engine::machine::{ErrorClass, Trouble};
use crate::provider::BadSettings;
use crate::telemetry::metrics;

/// How often the card's address stands in a packet.
const REPEATS: usize = 16;

/// What a sleeping network card listens for.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct MagicPacket {
    mac: [u8; 6],
    bytes: Vec<u8>,
}

impl MagicPacket {
    /// The packet for this card. `password` has 4 or 6 bytes, or none.
    ///
    /// # Errors
    /// When the address is that of no single card, or the password has another length.
    pub(super) fn new(mac: [u8; 6], password: &[u8]) -> Result<MagicPacket, BadSettings> {
        let of_a_group = mac[0] & 1 == 1;
        if of_a_group || mac == [0; 6] {
            let mac = shown(mac);
            return Err(BadSettings(format!(
                "`mac` {mac}: it is not the address of one network card"
            )));
        }
        if !matches!(password.len(), 0 | 4 | 6) {
            let length = password.len();
            return Err(BadSettings(format!(
                "`password` has {length} bytes; a network card takes 4 or 6"
            )));
        }
        let bytes = [&[0xFF; 6], mac.repeat(REPEATS).as_slice(), password].concat();
        Ok(MagicPacket { mac, bytes })
    }

    /// Sends it once, as a broadcast where `to` is one.
    ///
    /// # Errors
    /// What the system answers: nobody else does.
    pub(super) async fn send(&self, to: SocketAddr) -> Result<(), Trouble> {
        let began = Instant::now();
        let sent = self.try_send(to).await;
        let took = began.elapsed();
        let (provider, call, took_ms) = (KIND, "wake", took.as_millis());
        let outcome = if sent.is_ok() { "ok" } else { "failed" };
        tracing::debug!(provider, call, outcome, took_ms, "a magic packet");
        metrics().provider_called(provider, call, outcome, took.into());
        sent.map_err(|error| {
            let class = match error.kind() {
                io::ErrorKind::PermissionDenied => ErrorClass::Forbidden,
                io::ErrorKind::InvalidInput => ErrorClass::BadRequest,
                // The network is not there, or its queue is full.
                _ => ErrorClass::Transient,
            };
            let mac = shown(self.mac);
            Trouble::new(class, format!("waking {mac} by way of {to}: {error}"))
        })
    }

    async fn try_send(&self, to: SocketAddr) -> io::Result<()> {
        let from = match to {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        // A socket for each packet: the network of an hour ago may be another one now.
        let socket = UdpSocket::bind(from).await?;
        socket.set_broadcast(true)?;
        socket.send_to(&self.bytes, to).await.map(|_| ())
    }
}

/// The password is a secret.
impl fmt::Debug for MagicPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MagicPacket({})", shown(self.mac))
    }
}

/// `52:54:00:12:34:56`
pub(super) fn shown(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    #[test]
    fn a_packet_is_ones_then_sixteen_addresses_then_the_password() {
        for password in [&[][..], &[1, 2, 3, 4], &[1, 2, 3, 4, 5, 6]] {
            let packet = MagicPacket::new(MAC, password).unwrap();
            assert_eq!(packet.bytes.len(), 102 + password.len());
            assert_eq!(packet.bytes[..6], [0xFF; 6]);
            assert!(packet.bytes[6..102].chunks(6).all(|mac| mac == MAC));
            assert_eq!(&packet.bytes[102..], password);
        }
    }

    #[test]
    fn what_no_card_has_is_refused() {
        assert!(MagicPacket::new(MAC, &[1, 2, 3]).is_err());
        assert!(MagicPacket::new([0xFF; 6], &[]).is_err(), "everybody");
        assert!(MagicPacket::new([0; 6], &[]).is_err(), "nobody");
        assert!(MagicPacket::new([1, 0, 0x5E, 0, 0, 1], &[]).is_err());
    }

    #[test]
    fn the_password_is_not_printed() {
        let packet = MagicPacket::new(MAC, &[222, 173, 190, 239]).unwrap();
        assert_eq!(format!("{packet:?}"), "MagicPacket(52:54:00:12:34:56)");
    }
}
