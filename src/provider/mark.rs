//! By what our machines are known at their platform, also when everything that was written down is lost.
//!
//! The name of a clone says whose it is, which service it serves and which clone it is. It holds a short tag of the
//! seed that it was made from, so that two Anterooms with different seeds and services of the same name can share an
//! account without taking each other's machines for their own.

use sha2::{Digest, Sha256};

use crate::engine::id::{CloneId, ServiceName, Token};

/// What every name of ours begins with.
const PREFIX: &str = "ar-";

/// The characters of a tag: 30 bits tell the seeds of an account apart.
const TAG_LEN: usize = 6;

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The mark on the machines of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    service: ServiceName,
    tag: String,
}

impl Mark {
    /// The mark of this service's machines, which are made from this seed: whatever names it among all machines of
    /// all accounts of this kind, and never changes.
    #[must_use]
    pub fn new(service: &ServiceName, kind: &str, seed: &str) -> Mark {
        let hash = Sha256::digest(format!("anteroom\n{service}\n{kind}\n{seed}"));
        let tag = hash
            .iter()
            .take(TAG_LEN)
            .map(|byte| char::from(BASE32[usize::from(byte & 31)]))
            .collect();
        Mark {
            service: service.clone(),
            tag,
        }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The seed, in six of `a-z 2-7`.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The name of a clone, such as `ar-blog-k3x9q2-2-top2v4`: 11 to 62 of `a-z 0-9 -`, with a letter first and a letter
    /// or a digit last. It is a label of DNS (RFC 1035, section 2.3.1), and all platforms take it.
    #[must_use]
    pub fn name(&self, clone: CloneId) -> String {
        let text = clone.to_string();
        let id = text.strip_prefix("clone-").unwrap_or(&text);
        format!("{PREFIX}{}-{}-{id}", self.service, self.tag)
    }

    /// The clone that has this name, if it is one of ours.
    #[must_use]
    pub fn clone_of(&self, name: &str) -> Option<CloneId> {
        let (service, tag, clone) = parts(name)?;
        (service == self.service.as_str() && tag == self.tag).then_some(clone)
    }

    /// The clone in a name that any Anteroom has given.
    #[must_use]
    pub fn clone_in(name: &str) -> Option<CloneId> {
        parts(name).map(|(_, _, clone)| clone)
    }

    /// The service and the tag in a name that any Anteroom has given.
    #[must_use]
    pub fn service_of(name: &str) -> Option<(&str, &str)> {
        parts(name).map(|(service, tag, _)| (service, tag))
    }

    /// What makes repeated calls that mean the same one call: `what` is done to this clone.
    #[must_use]
    pub fn token(&self, clone: CloneId, what: &str) -> Token {
        token(&[&self.name(clone), what])
    }
}

/// The token of what these words name.
#[must_use]
pub fn token(words: &[&str]) -> Token {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(words.join("\n"))[..16]);
    Token(bytes)
}

fn parts(name: &str) -> Option<(&str, &str, CloneId)> {
    let mut parts = name.strip_prefix(PREFIX)?.rsplitn(4, '-');
    let (generation, slot, tag) = (parts.next()?, parts.next()?, parts.next()?);
    let service = parts.next()?;
    let is_tag = tag.len() == TAG_LEN && tag.bytes().all(|c| BASE32.contains(&c));
    let clone = format!("clone-{slot}-{generation}").parse().ok()?;
    (is_tag && service.parse::<ServiceName>().is_ok()).then_some((service, tag, clone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(service: &str, seed: &str) -> Mark {
        Mark::new(&service.parse().expect("a name"), "gce", seed)
    }

    #[test]
    fn a_clone_is_known_by_its_name_and_by_no_other() {
        let clone = CloneId::new(2, 1_795_000_000).expect("within bounds");
        let (one, other) = (mark("shop-2", "a"), mark("shop-2", "b"));
        let name = one.name(clone);
        assert_eq!(one.clone_of(&name), Some(clone));
        assert_eq!(other.clone_of(&name), None);
        assert_eq!(mark("shop", "a").clone_of(&name), None);
        assert_eq!(Mark::service_of(&name), Some(("shop-2", one.tag())));
        for stranger in [
            "shop-2",
            "ar-shop-2",
            "ar-shop-2-1-1",
            &format!("{name}-1"),
            &name.to_uppercase(),
        ] {
            assert_eq!(one.clone_of(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn the_longest_name_is_a_label_of_dns() {
        let clone =
            CloneId::new(CloneId::SLOT_MAX, CloneId::GENERATION_MAX).expect("within bounds");
        assert_eq!(mark(&"9".repeat(40), "a").name(clone).len(), 62);
    }

    #[test]
    fn a_token_is_the_same_for_the_same_and_another_for_another() {
        let clone = CloneId::new(1, 7).expect("within bounds");
        let mark = mark("blog", "a");
        assert_eq!(mark.token(clone, "create"), mark.token(clone, "create"));
        assert_ne!(mark.token(clone, "create"), mark.token(clone, "delete"));
    }
}
