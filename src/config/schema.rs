//! What a key of the configuration is: the types behind the one table in `keys`.
//!
//! The reader takes kinds, bounds and defaults from that table and the reference page is printed from it, so
//! the page cannot say something else than the program does.

use super::keys::{KEYS, SECTIONS};

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// The section it belongs to, by its id in [`SECTIONS`].
    pub(super) section: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
    /// What holds when it is not written.
    pub(super) default: Fallback,
    /// What it means, in a sentence or two.
    pub(super) meaning: &'static str,
    /// A value, as TOML.
    pub(super) example: &'static str,
}

/// What holds when a key is not written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fallback {
    /// It must be written.
    Required,
    /// Nothing; the text says what that means.
    Nothing(&'static str),
    /// This value, as TOML.
    Value(&'static str),
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Any text that is not empty.
    Text,
    /// A text that the key's meaning describes.
    Special(&'static str),
    /// A path in the file system.
    Path,
    /// `http://` or `https://` with a host.
    Url,
    /// An IP address and a port to listen on.
    Listen,
    /// A secret.
    Secret,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A duration, from the first to the second.
    Duration(&'static str, &'static str),
    /// A whole number, from the first to the second.
    Integer(i64, i64),
    /// A number, from the first to the second.
    Number(f64, f64),
    /// Whether something is so.
    Truth,
    /// A list of texts; the name of one.
    List(&'static str),
    /// A table of names with texts.
    Map,
    /// A table of its own, described in the section with this id.
    Section(&'static str),
    /// One table for each name, all described in the section with this id.
    Named(&'static str),
    /// The table of a provider, whose `kind` says which section describes it.
    Provider,
    /// The table of a signal, whose `kind` says which section describes it.
    Signal,
    /// The table of a challenge, whose `kind` says which section describes it.
    Challenge,
}

impl Kind {
    /// The kind as a noun with its article, for messages.
    pub(super) fn noun(&self) -> String {
        match self {
            Kind::Text => "a text".into(),
            Kind::Special(noun) => (*noun).into(),
            Kind::Path => "a path".into(),
            Kind::Url => "a URL".into(),
            Kind::Listen => "an address with a port".into(),
            Kind::Secret => "a secret".into(),
            Kind::Choice(_) => "one of the words it may be".into(),
            Kind::Duration(..) => "a duration".into(),
            Kind::Integer(..) => "a whole number".into(),
            Kind::Number(..) => "a number".into(),
            Kind::Truth => "true or false".into(),
            Kind::List(of) => format!("a list of {of}"),
            Kind::Map => "a table of texts".into(),
            Kind::Section(_) | Kind::Named(_) | Kind::Provider | Kind::Signal | Kind::Challenge => {
                "a table".into()
            }
        }
    }

    /// The kind with its bounds, for the reference page.
    pub(super) fn described(&self) -> String {
        match self {
            Kind::Choice(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Kind::Secret => "a secret: `{ env = \"...\" }` or `{ file = \"...\" }`".into(),
            Kind::Duration(least, most) => format!("a duration, {least} to {most}"),
            Kind::Integer(least, most) => format!("a whole number, {least} to {most}"),
            Kind::Number(least, most) => format!("a number, {least} to {most}"),
            Kind::Section(id) | Kind::Named(id) => format!("a table: {}", title(id)),
            Kind::Provider => "a table: see the providers".into(),
            Kind::Signal => "a table: see the signals".into(),
            Kind::Challenge => "a table: see the challenges".into(),
            other => other.noun(),
        }
    }
}

/// A part of the file: its id, its title and what it is for.
#[derive(Debug)]
pub(super) struct SectionText {
    /// How keys name it.
    pub(super) id: &'static str,
    /// How it stands in the file.
    pub(super) title: &'static str,
    /// What it is for.
    pub(super) about: &'static str,
}

/// The key `name` of the section `id`.
pub(super) fn key(id: &str, name: &str) -> Option<&'static Key> {
    keys(id).find(|key| key.name == name)
}

/// All keys of the section `id`.
pub(super) fn keys(id: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == id)
}

fn title(id: &str) -> &'static str {
    SECTIONS
        .iter()
        .find(|section| section.id == id)
        .expect("every section that a key names is described")
        .title
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Problem};

    /// Where each section stands in a file that holds every key once. The kinds of a provider need a service
    /// each, so does the webhook that stands instead of the three programs.
    const PLACES: &[(&str, &str)] = &[
        ("server", "server"),
        ("admin", "admin"),
        ("admin webhook", "admin.webhook"),
        ("store", "store"),
        ("limits", "limits"),
        ("privacy", "privacy"),
        ("traefik", "traefik"),
        ("publish", "traefik.publish"),
        ("prometheus", "prometheus"),
        ("service", "service.a"),
        ("ignore", "[service.b.ignore]"),
        ("health", "service.a.health"),
        ("wake", "service.a.wake"),
        ("challenge pow", "service.a.wake.challenge"),
        ("challenge chess", "service.b.wake.challenge"),
        ("challenge captcha", "service.c.wake.challenge"),
        ("scale", "service.a.scale"),
        ("wake instances", "service.a.scale.wake_instances"),
        ("signal node-exporter", "service.a.scale.signal"),
        ("signal provider", "service.b.scale.signal"),
        ("signal prometheus", "service.c.scale.signal"),
        ("signal webhook", "service.e.scale.signal"),
        ("cost", "service.a.cost"),
        ("docker", "service.a.provider"),
        ("process", "service.b.provider"),
        ("command", "service.c.provider"),
        ("webhook", "service.d.provider.webhook"),
        ("idcloudhost", "service.e.provider"),
        ("wol", "service.f.provider"),
        ("digitalocean", "service.ocean.provider"),
        ("hetzner", "service.cloud.provider"),
        ("gce", "service.engine.provider"),
        ("proxmox", "service.pve.provider"),
        ("ec2", "service.aws.provider"),
        ("libvirt", "service.virt.provider"),
    ];

    const OTHERS: &str = r#"
        [service.b]
        hosts = ["b.example.com"]
        port = 81
        [service.c]
        hosts = ["c.example.com"]
        port = 82
        [service.d]
        hosts = ["d.example.com"]
        port = 83
        [service.e]
        hosts = ["e.example.com"]
        port = 84
        [service.f]
        hosts = ["f.example.com"]
        port = 85
        [service.ocean]
        hosts = ["ocean.example.com"]
        port = 91
        [service.cloud]
        hosts = ["cloud.example.com"]
        port = 92
        [service.pve]
        hosts = ["pve.example.com"]
        port = 93
        [service.aws]
        hosts = ["aws.example.com"]
        port = 94
        [service.virt]
        hosts = ["virt.example.com"]
        port = 93
        [service.engine]
        hosts = ["engine.example.com"]
        port = 94
        [service.d.provider]
        kind = "command"
        address = "10.0.0.8"
    "#;

    fn is_table(key: &Key) -> bool {
        matches!(
            key.kind,
            Kind::Section(_) | Kind::Named(_) | Kind::Provider | Kind::Signal | Kind::Challenge
        )
    }

    /// A file with the example of every key that `value` gives one for.
    fn file(value: impl Fn(&Key) -> Option<String>) -> String {
        let mut text = OTHERS.to_owned();
        for (id, place) in PLACES {
            text.push_str(&format!("\n[{place}]\n"));
            for key in keys(id).filter(|key| !is_table(key)) {
                if let Some(value) = value(key) {
                    text.push_str(&format!("{} = {value}\n", key.name));
                }
            }
        }
        text
    }

    fn parse(text: &str) -> Result<Config, Vec<Problem>> {
        Config::parse(text, "a.toml", &|name| {
            let secret = match name {
                "WOL_PASSWORD" => "00:11:22:33:44:55",
                _ => "a long enough token",
            };
            Some(secret.into())
        })
    }

    #[test]
    fn every_section_of_the_table_is_described_and_placed() {
        for key in KEYS {
            let described = SECTIONS.iter().any(|section| section.id == key.section);
            assert!(described, "{key:?}");
            let placed = PLACES.iter().any(|(id, _)| *id == key.section);
            assert!(placed || key.section.is_empty(), "{key:?}");
        }
    }

    #[test]
    fn the_example_of_every_key_is_accepted() {
        let text = file(|key| Some(key.example.to_owned()));
        let problems = parse(&text).err();
        assert_eq!(problems, None, "{text}");
    }

    #[test]
    fn the_default_of_every_key_is_accepted_when_it_is_written() {
        let text = file(|key| match key.default {
            Fallback::Value(value) => Some(value.to_owned()),
            _ => Some(key.example.to_owned()),
        });
        assert_eq!(parse(&text).err(), None, "{text}");
    }

    #[test]
    fn every_key_of_the_table_is_read_and_refuses_a_wrong_value_by_name() {
        for (id, place) in PLACES {
            for wrong in keys(id).filter(|key| !is_table(key)) {
                let text = file(|key| match std::ptr::eq(key, wrong) {
                    true => Some("1979-05-27".to_owned()),
                    false => Some(key.example.to_owned()),
                });
                let problems = parse(&text).expect_err("a date is no value of any key");
                let name = format!("{}.{}", place.trim_matches(['[', ']']), wrong.name);
                assert!(
                    problems.iter().any(|it| it.key == name),
                    "{name}: {problems:?}"
                );
            }
        }
    }

    #[test]
    fn every_required_key_is_missed_by_name() {
        for (id, place) in PLACES {
            let required = |key: &&Key| matches!(key.default, Fallback::Required);
            for missing in keys(id).filter(|key| !is_table(key)).filter(required) {
                let text =
                    file(|key| (!std::ptr::eq(key, missing)).then(|| key.example.to_owned()));
                let problems = parse(&text).expect_err("a required key is missing");
                let near = format!("{}.{}", place.trim_matches(['[', ']']), missing.name);
                assert!(
                    problems.iter().any(|it| near.starts_with(&it.key)),
                    "{near}: {problems:?}"
                );
            }
        }
    }
}
