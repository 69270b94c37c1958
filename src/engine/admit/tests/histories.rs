//! Random histories, against a list of everything that was admitted and the words of the rules.

use super::*;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }

    fn rate(&mut self) -> Option<Rate> {
        let per = self.pick(&[1_000, 1_001, 60_000, 3_600_000, 86_400_000, 100_000_007]);
        let count = 1 + self.roll(5) as u32;
        (self.roll(3) > 0).then(|| rate(count, Span(per)))
    }
}

/// An address, and which client and which network it belongs to.
const ADDRESSES: [(&str, u8, u8); 9] = [
    ("203.0.113.1", 1, 1),
    ("::ffff:203.0.113.1", 1, 1),
    ("203.0.113.2", 2, 1),
    ("203.0.112.1", 3, 2),
    ("2001:db8:0:1::1", 4, 3),
    ("2001:db8:0:1:ffff::2", 4, 3),
    ("2001:db8:0:2::1", 5, 3),
    ("2001:db8:1::1", 6, 4),
    ("::1", 7, 5),
];

struct Admitted {
    at: Time,
    service: usize,
    client: u8,
    network: u8,
}

/// Everything that was admitted, and of each service: the wakes, what was heard, and whether one is wanted.
#[derive(Default)]
struct Plain {
    admitted: Vec<Admitted>,
    heard: [u64; 2],
    wanted: [bool; 2],
}

impl Plain {
    fn times(&self, of: impl Fn(&Admitted) -> bool) -> Vec<Time> {
        let these = self.admitted.iter().filter(|it| of(it));
        these.map(|it| it.at).collect()
    }

    fn admit(&mut self, now: Time, service: usize, who: (u8, u8), rules: &Rules) -> Verdict {
        let own = |it: &Admitted| it.service == service;
        let number = self.times(own).len() as u64;
        if self.wanted[service] {
            return Verdict::Joined(number);
        }
        let day = |at: Time| at.0 / DAY.0;
        let today = self.times(|it| own(it) && day(it.at) == day(now)).len();
        let spent = rules.per_day.is_some_and(|most| today >= most as usize);
        let waits = [
            (
                Rule::PerClient,
                rules.per_client,
                self.times(|it| own(it) && it.client == who.0),
            ),
            (
                Rule::PerNetwork,
                rules.per_network,
                self.times(|it| own(it) && it.network == who.1),
            ),
            (Rule::PerService, rules.per_service, self.times(own)),
            (Rule::OverAll, rules.over_all, self.times(|_| true)),
        ]
        .map(|(rule, rate, times)| (rule, rate.map_or(0, |rate| wait(&times, rate, now))));
        let until_midnight = (day(now) + 1) * DAY.0 - now.0;
        let mut told = (Rule::PerDay, if spent { until_midnight } else { 0 });
        for (rule, wait) in waits.into_iter().rev() {
            told = if wait >= told.1 { (rule, wait) } else { told };
        }
        if told.1 > 0 {
            return refused(told.0, Span(told.1));
        }
        self.admitted.push(Admitted {
            at: now,
            service,
            client: who.0,
            network: who.1,
        });
        self.wanted[service] = true;
        Verdict::Wake(number + 1)
    }

    fn hear(&mut self, service: usize, number: u64, at_rest: bool) {
        let last = self.times(|it| it.service == service).len() as u64;
        self.heard[service] = self.heard[service].max(number);
        if at_rest && self.heard[service] >= last {
            self.wanted[service] = false;
        }
    }
}

/// How long until one more keeps the promise: in the stretch from each earlier one to now there are, with this
/// one, at most `count` and one more for each interval in it.
fn wait(times: &[Time], rate: Rate, now: Time) -> u64 {
    let interval = rate.interval().0;
    let stretches = times.iter().rev().zip(1u64..);
    let waits = stretches.map(|(from, before)| {
        let more = (before + 1).saturating_sub(rate.count().into());
        (from.0 + more * interval).saturating_sub(now.0)
    });
    waits.max().unwrap_or(0)
}

fn check_all_stretches(times: &[Time], rate: Rate, seed: u64) {
    for (first, from) in times.iter().enumerate() {
        for (last, to) in times.iter().enumerate().skip(first) {
            let most = u64::from(rate.count()) + to.since(*from).0 / rate.interval().0;
            assert!((last - first + 1) as u64 <= most, "seed {seed}: {times:?}");
        }
    }
}

fn play(seed: u64) {
    let mut dice = Dice(seed);
    let rules = Rules {
        per_client: dice.rate(),
        per_network: dice.rate(),
        per_service: dice.rate(),
        over_all: dice.rate(),
        per_day: (dice.roll(3) == 0).then(|| 1 + dice.roll(4) as u32),
        ..Rules::default()
    };
    let names = [name("blog"), name("shop")];
    let (mut book, mut plain) = (Book::default(), Plain::default());
    let mut now = T0 + Span(dice.roll(DAY.0));
    for step in 0..6 + dice.roll(24) {
        let service = dice.roll(4) as usize / 3;
        let at = format!("seed {seed}, step {step}");
        match dice.roll(8) {
            0 | 1 => {
                let longest = dice.pick(&[1, 500, 1_500, 60_000, 3_600_000, 90_000_000]);
                now = now + Span(dice.roll(longest + 1));
            }
            2..5 => {
                let number = plain.times(|it| it.service == service).len() as u64;
                let heard = number.saturating_sub(dice.roll(8) / 7);
                let at_rest = dice.roll(4) > 0;
                plain.hear(service, heard, at_rest);
                book.hear(&names[service], heard, at_rest);
            }
            _ => {
                let (address, client, network) = dice.pick(&ADDRESSES);
                let expected = plain.admit(now, service, (client, network), &rules);
                let who = applicant(address);
                let verdict = book.admit(&names[service], now, &who, &rules);
                assert_eq!(verdict, expected, "{at}: {rules:?}");
                // Often the very next thing is a try just before and just when it was told to come again.
                if let Verdict::Refused {
                    retry_after: Some(wait),
                    ..
                } = verdict
                    && dice.roll(2) == 0
                {
                    now = now + Span(wait.0 - dice.roll(2));
                }
            }
        }
    }
    for client in 1..=7 {
        for service in 0..2 {
            let own = |it: &Admitted| it.service == service;
            let of = plain.times(|it| own(it) && it.client == client);
            if let Some(rate) = rules.per_client {
                check_all_stretches(&of, rate, seed);
            }
        }
    }
    let all = plain.times(|_| true);
    if let Some(rate) = rules.over_all {
        check_all_stretches(&all, rate, seed);
    }
}

/// The accepted wakes of each of 100,000 histories are exactly those that the promise allows (I12).
#[test]
fn a_random_history_is_ruled_on_as_the_list_of_all_admissions_says() {
    (0..100_000).for_each(play);
}
