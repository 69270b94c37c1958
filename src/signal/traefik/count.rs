//! What two readings of the counters say together.

use std::collections::{BTreeMap, BTreeSet};

use super::Watched;
use super::text::lines;

const REQUESTS: &str = "traefik_router_requests_total";
const STARTED: &str = "process_start_time_seconds";

/// One reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counters {
    started: f64,
    /// Requests by router and the service that it led them to, both without their provider.
    requests: BTreeMap<(String, String), f64>,
}

impl Counters {
    /// Reads what concerns the watched routers.
    pub(super) fn read<'a>(text: &str, watched: impl Iterator<Item = &'a Watched>) -> Counters {
        let watched: BTreeSet<(&str, &str)> = watched
            .map(|watched| (watched.router.as_str(), watched.service.as_str()))
            .collect();
        let mut counters = Counters::default();
        for line in lines(text) {
            if line.name == STARTED {
                counters.started = line.value;
            }
            if line.name != REQUESTS {
                continue;
            }
            let (Some(router), Some(service)) = (line.label("router"), line.label("service"))
            else {
                continue;
            };
            let key = (bare(router), bare(service));
            if watched.contains(&key) {
                *counters
                    .requests
                    .entry((key.0.to_owned(), key.1.to_owned()))
                    .or_default() += line.value;
            }
        }
        counters
    }

    /// Whether the service was used between two readings; none when they can't be compared: Traefik restarted,
    /// or a count fell or vanished.
    ///
    /// A service that was never requested has no line: its count is zero. While the service is `diverted`, its
    /// routers lead to the room, and Traefik forgets the line by itself; what then makes it appear again, from
    /// one upwards, is a request that was under way.
    pub(super) fn used_since(
        &self,
        earlier: &Counters,
        watched: &Watched,
        diverted: bool,
    ) -> Option<bool> {
        let key = (watched.router.clone(), watched.service.clone());
        let (now, before) = (self.requests.get(&key), earlier.requests.get(&key));
        let same_process = self.started.total_cmp(&earlier.started).is_eq();
        match (now, before) {
            _ if !same_process => None,
            (None, Some(_)) if diverted => Some(false),
            (None, Some(_)) => None,
            (Some(now), Some(before)) if now < before && diverted => Some(true),
            (Some(now), Some(before)) if now < before => None,
            (Some(now), Some(before)) => Some(now > before),
            (Some(now), None) => Some(*now > 0.0),
            (None, None) => Some(false),
        }
    }
}

/// A name without its provider.
fn bare(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Watched {
        Watched {
            router: "anteroom-blog".into(),
            service: "anteroom-blog".into(),
        }
    }

    fn reading(started: u32, direct: Option<u32>, room: u32) -> Counters {
        let line = |service: &str, count| {
            format!(
                "{REQUESTS}{{code=\"200\",router=\"anteroom-blog@file\",service=\"{service}@file\"}} {count}\n"
            )
        };
        let direct = direct
            .map(|count| line("anteroom-blog", count))
            .unwrap_or_default();
        let text = format!(
            "{STARTED} {started}\n{direct}{}",
            line("anteroom-blog-room", room)
        );
        Counters::read(&text, [watched()].iter())
    }

    #[test]
    fn a_rising_count_is_use_and_a_standing_one_is_not() {
        let first = reading(1, Some(5), 0);
        assert_eq!(
            reading(1, Some(6), 0).used_since(&first, &watched(), false),
            Some(true)
        );
        assert_eq!(
            reading(1, Some(5), 0).used_since(&first, &watched(), false),
            Some(false)
        );
    }

    #[test]
    fn what_goes_to_the_room_is_counted_by_the_room() {
        let first = reading(1, Some(5), 0);
        assert_eq!(
            reading(1, Some(5), 90).used_since(&first, &watched(), false),
            Some(false)
        );
    }

    #[test]
    fn a_restart_a_fall_and_a_vanished_line_are_unknown() {
        let first = reading(1, Some(5), 0);
        assert_eq!(
            reading(2, Some(5), 0).used_since(&first, &watched(), false),
            None
        );
        assert_eq!(
            reading(1, Some(4), 0).used_since(&first, &watched(), false),
            None
        );
        assert_eq!(
            reading(1, None, 0).used_since(&first, &watched(), false),
            None
        );
    }

    #[test]
    fn a_diverted_service_whose_line_is_forgotten_is_quiet_and_a_late_request_is_use() {
        let first = reading(1, Some(5), 0);
        let forgotten = reading(1, None, 0);
        assert_eq!(forgotten.used_since(&first, &watched(), true), Some(false));
        assert_eq!(
            reading(1, Some(1), 0).used_since(&forgotten, &watched(), true),
            Some(true)
        );
        assert_eq!(
            reading(1, Some(1), 0).used_since(&first, &watched(), true),
            Some(true)
        );
        assert_eq!(
            reading(2, None, 0).used_since(&first, &watched(), true),
            None,
            "Traefik restarted"
        );
    }

    #[test]
    fn a_first_request_is_use_and_none_at_all_is_not() {
        let first = reading(1, None, 0);
        assert_eq!(
            reading(1, Some(1), 0).used_since(&first, &watched(), false),
            Some(true)
        );
        assert_eq!(
            reading(1, None, 3).used_since(&first, &watched(), false),
            Some(false)
        );
    }
}
