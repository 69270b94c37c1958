//! What the clouds have in common in the configuration that bill a machine while it is off.

use crate::config::reading::Reading;
use crate::config::value::{self, Parsed};

/// What is said of such a cloud: whoever wants to save must know.
const BILLED_OFF: &str = "a machine there is billed in full while it is switched off: its sleep saves nothing; see docs/providers.md";

/// What is said to whoever has chosen the other sleep.
const DESTROYED: &str = "the machine is destroyed while it sleeps and made again from its snapshot, with another id and other addresses, in minutes; read docs/providers.md before";

/// Which machine it is, and what its sleep is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The machine of this id; asleep it is switched off.
    Off(u64),
    /// The one machine with this mark; asleep it is a snapshot.
    Snapshot {
        /// A tag, or a label as `key=value`.
        mark: String,
        /// The keys that may enter a machine that is made again.
        ssh_keys: Vec<String>,
    },
}

impl Kept {
    /// Reads `sleep` with what belongs to it: `id` names the key of the machine's id, `mark` that of its mark.
    pub(super) fn read(
        section: &Reading<'_>,
        id: &str,
        mark: &str,
        parse: fn(&str) -> Parsed<String>,
    ) -> Option<Kept> {
        let words = [("power_off", false), ("snapshot_destroy", true)];
        let destroys = section.choice("sleep", &words);
        let (number, marked) = (section.integer(id), section.read(mark, parse));
        let ssh_keys = section.list("ssh_keys", value::words);
        if !destroys? {
            section.warn("kind", BILLED_OFF);
            if !section.has(id) {
                let mend = "is missing; write the number that the cloud gave the machine";
                section.fault(id, mend);
            }
            return u64::try_from(number?).ok().map(Kept::Off);
        }
        section.warn("sleep", DESTROYED);
        if section.has(id) {
            let mend = format!(
                "does not last: each wake makes another machine; take it out, and write {mark}"
            );
            section.fault(id, mend);
        }
        if !section.has(mark) {
            let mend = format!(
                "is missing; the machine is found by it, so put one on the machine that no other has, and write {mark}"
            );
            section.fault(mark, mend);
        }
        Some(Kept::Snapshot {
            mark: marked?,
            ssh_keys,
        })
    }

    /// How it is told from others.
    pub(super) fn id(&self) -> String {
        match self {
            Kept::Off(id) => id.to_string(),
            Kept::Snapshot { mark, .. } => mark.clone(),
        }
    }
}

/// A tag of DigitalOcean: 1 to 64 letters, digits, `:`, `-` and `_`.
pub(super) fn tag(text: &str) -> Parsed<String> {
    let inner = |c: u8| c.is_ascii_alphanumeric() || b":-_".contains(&c);
    match (1..=64).contains(&text.len()) && text.bytes().all(inner) {
        true => Ok(text.to_owned()),
        false => Err("is no tag; write 1 to 64 letters, digits, `:`, `-` and `_`".to_owned()),
    }
}

/// A label of Hetzner, as `key=value`.
pub(super) fn label(text: &str) -> Parsed<String> {
    let plain = |text: &str, more: &[u8]| {
        let inner = |c: u8| c.is_ascii_alphanumeric() || more.contains(&c);
        (1..=63).contains(&text.len()) && text.bytes().all(inner)
    };
    match text.split_once('=') {
        Some((key, _)) if key.starts_with("anteroom-") => {
            Err("begins with `anteroom-`, which is ours; write another key".to_owned())
        }
        Some((key, value)) if plain(key, b"-_./") && plain(value, b"-_.") => Ok(text.to_owned()),
        _ => Err("is no label; write it like \"anteroom=blog\"".to_owned()),
    }
}
