//! What clients are called: the setting, and the key from which names are made. Shared by all who write of clients.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::engine::admit::Rules;
use crate::engine::privacy::{Forgotten, NameKey, Namer, Names, NotForgettable, Privacy};
use crate::engine::time::Time;

/// A name is so many bytes of its HMAC: of a million clients, hardly two share one.
const NAME_BYTES: usize = 6;

/// Names clients as the privacy setting says. Clones are the same.
#[derive(Clone)]
pub struct Clients(Arc<ArcSwap<Inner>>);

#[derive(Clone, Copy)]
struct Inner {
    secret: [u8; 32],
    privacy: Privacy,
}

impl Clients {
    /// By this setting, with names from this secret. All replicas need the same one.
    #[must_use]
    pub fn new(secret: [u8; 32], privacy: Privacy) -> Clients {
        Clients(Arc::new(ArcSwap::from_pointee(Inner { secret, privacy })))
    }

    /// From now on names are made from this secret. Whoever had one before is somebody else now.
    pub fn renew(&self, secret: [u8; 32]) {
        let renewed = |inner: &Arc<Inner>| Inner { secret, ..**inner };
        self.0.rcu(renewed);
    }

    /// Puts another setting in force. What is written stays as it was written, and ends when it was to end.
    pub fn set_privacy(&self, privacy: Privacy) {
        self.0.rcu(|inner| Inner { privacy, ..**inner });
    }

    /// What a client is called that asks to wake a service with these rules.
    #[must_use]
    pub fn names(&self, now: Time, address: IpAddr, rules: &Rules) -> Names {
        let inner = self.0.load();
        inner.privacy.names(&**inner, now, address, rules.lasting())
    }

    /// A client, or a network, that is to be forgotten.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn forgotten(&self, text: &str, now: Time) -> Result<Forgotten, NotForgettable> {
        Forgotten::parse(text, now, &**self.0.load())
    }
}

impl Namer for Inner {
    fn name(&self, key: NameKey, text: &str) -> String {
        // A day's key is made of the secret, so that whoever learns one can't tell the names of another day.
        let key = match key {
            NameKey::Day(day) => tag(&self.secret, &format!("client names of day {day}")),
            NameKey::Deployment => tag(&self.secret, "client names of the deployment"),
        };
        let name = tag(&key, text);
        let hex = |byte: &u8| format!("{byte:02x}");
        name.iter().take(NAME_BYTES).map(hex).collect()
    }
}

fn tag(key: &[u8; 32], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::privacy::{Addresses, Kept};

    const T0: Time = Time(1_800_000_000_000);
    const DAY: u64 = 86_400_000;

    fn names(secret: u8, now: Time, address: &str) -> Names {
        let kept = Kept::default();
        let addresses = Addresses::Keyed;
        let clients = Clients::new([secret; 32], Privacy { addresses, kept });
        clients.names(now, address.parse().unwrap(), &Rules::default())
    }

    #[test]
    fn a_client_has_one_name_a_day_and_one_for_its_limits() {
        let first = names(7, T0, "203.0.113.7");
        assert_eq!(first.who.len(), 25, "{first:?}");
        assert_eq!(first, names(7, T0, "203.0.113.7"));
        let next_day = names(7, Time(T0.0 + DAY), "203.0.113.7");
        assert_ne!(first.who, next_day.who);
        assert_eq!(
            (first.client, first.network),
            (next_day.client, next_day.network)
        );
    }

    #[test]
    fn neighbours_share_the_first_half_of_their_names() {
        let half = |name: &str| name.split('-').next().map(str::to_owned);
        let [one, other, stranger] =
            ["203.0.113.7", "203.0.113.8", "203.0.112.7"].map(|address| names(7, T0, address).who);
        assert_eq!(half(&one), half(&other));
        assert_ne!(one, other);
        assert_ne!(half(&one), half(&stranger));
        assert_ne!(one, names(8, T0, "203.0.113.7").who, "by another secret");
    }

    #[test]
    fn who_is_forgotten_is_known_by_every_name_it_had() {
        let clients = Clients::new([7; 32], Privacy::default());
        let later = Time(T0.0 + 40 * DAY);
        let forgotten = clients.forgotten("203.0.113.7", later).unwrap();
        let names = |address| names(7, T0, address);
        let own = names("203.0.113.7");
        assert!(forgotten.covers(&own.who) && forgotten.covers(&own.client));
        let other = names("203.0.113.8");
        assert!(!forgotten.covers(&other.who) && !forgotten.covers(&other.client));
    }
}
