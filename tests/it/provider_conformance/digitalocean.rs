//! DigitalOcean, against a server that plays it: nobody gives a test a real account.

use std::sync::Arc;

use anteroom::provider::digitalocean::{
    AddressFrom, DigitalOcean, Kept, POLL, Settings, Snapshots,
};

use anteroom::provider::Provider;

use super::billed::swap::SETTLES;
use super::billed::{self, Rented, Wanted, keeps};
use super::conforms;
use crate::support::digitalocean;

fn rented() -> Rented {
    Rented {
        world: digitalocean::start(),
        build,
        words: ["power_on", "shutdown", "power_off"],
        list: "GET /v2/droplets",
        page_max: 200,
        mark: "blog-vm",
        take: "snapshot",
    }
}

/// Also what a child process keeps its machine with.
pub(super) fn build(wanted: Wanted) -> Arc<dyn Provider> {
    Arc::new(DigitalOcean::new(settings(wanted)).expect("good settings"))
}

fn settings(wanted: Wanted) -> Settings {
    Settings {
        base_url: wanted.base_url,
        token: wanted.token,
        kept: match wanted.mark {
            None => Kept::Off(wanted.id),
            Some(mark) => Kept::Snapshot(Snapshots {
                mark,
                ssh_keys: vec!["289794".into()],
                settles: SETTLES,
            }),
        },
        port: 80,
        address: match wanted.public {
            true => AddressFrom::Public,
            false => AddressFrom::Private,
        },
        stop_timeout: wanted.stop_timeout,
        ca: None,
        poll: wanted.poll,
    }
}

keeps!(rented());

#[test]
fn settings_show_no_token() {
    let wanted = Wanted {
        base_url: "http://127.0.0.1".into(),
        token: "a-secret-token".into(),
        id: 1,
        public: false,
        stop_timeout: POLL,
        poll: POLL,
        mark: None,
    };
    assert!(!format!("{:?}", settings(wanted.clone())).contains("secret"));
    let broken = Wanted {
        token: "a\nb".into(),
        ..wanted
    };
    assert!(DigitalOcean::new(settings(broken)).is_err());
}
