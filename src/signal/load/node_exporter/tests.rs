//! Readings of machines compared: what is busy, and what is no reading at all.

use std::fmt::Write as _;
use std::time::Duration;

use super::figures::{Busy, busy};
use super::text::{Figures, Lines};
use super::{Lack, Of, Share};

/// The whole answer of node_exporter 1.5.0 on a machine with two processors.
const RECORDED: &str = include_str!("../../../../tests/data/node_exporter/1.5.0.txt");

const MODES: [&str; 8] = [
    "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user",
];

const QUARTER: Duration = Duration::from_secs(15);

fn read(text: &str) -> Figures {
    let mut lines = Lines::default();
    lines.feed(text.as_bytes());
    lines.end()
}

/// Processors with so many seconds in each mode.
fn cpus(cpus: &[[f64; 8]]) -> Figures {
    let mut text = String::new();
    for (cpu, seconds) in cpus.iter().enumerate() {
        for (mode, seconds) in MODES.iter().zip(seconds) {
            writeln!(
                text,
                "node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {seconds}"
            )
            .unwrap();
        }
    }
    read(&text)
}

fn between(before: &Figures, after: &Figures) -> Result<Busy, Lack> {
    busy(Of::Cpu, Some((before, QUARTER)), after)
}

fn percent(busy: Result<Busy, Lack>) -> Result<(f64, f64), Lack> {
    let percent = |share: Share| share.in_hundredths() as f64 / 100.0;
    busy.map(|busy| (percent(busy.share), percent(busy.steal)))
}

/// One that has run for a thousand seconds.
const OLD: [f64; 8] = [800.0, 50.0, 1.0, 2.0, 3.0, 4.0, 60.0, 80.0];

fn plus(more: [f64; 8]) -> [f64; 8] {
    std::array::from_fn(|at| OLD[at] + more[at])
}

#[test]
fn the_real_answer_is_read_whatever_pieces_it_comes_in() {
    let whole = read(RECORDED);
    assert_eq!(whole.cpus.len(), 2);
    assert!(!whole.broken && whole.memory > whole.available);
    let line = |mode: &str| {
        let start = format!("node_cpu_seconds_total{{cpu=\"1\",mode=\"{mode}\"}} ");
        let line = RECORDED.lines().find_map(|line| line.strip_prefix(&start));
        let seconds: f64 = line.unwrap().parse().unwrap();
        (seconds * 1000.0).round() as u64
    };
    assert_eq!(whole.cpus[1].idle, line("idle") + line("iowait"));
    assert_eq!(whole.cpus[1].steal, line("steal"));
    let busy = ["irq", "nice", "softirq", "steal", "system", "user"];
    assert_eq!(whole.cpus[1].busy, busy.map(line).iter().sum::<u64>());
    for length in [1, 7, 64, 1000] {
        let mut lines = Lines::default();
        RECORDED
            .as_bytes()
            .chunks(length)
            .for_each(|piece| lines.feed(piece));
        assert_eq!(lines.end(), whole, "{length}");
    }
}

#[test]
fn an_answer_that_was_cut_off_has_no_half_figure() {
    for end in 0..RECORDED.len() {
        let cut = read(&RECORDED[..end]);
        assert!(!cut.broken, "{end}");
        assert!(
            cut.memory
                .is_none_or(|it| Some(it) == read(RECORDED).memory)
        );
    }
}

#[test]
fn a_processor_is_busy_when_it_neither_idles_nor_waits_for_a_disk() {
    let one = cpus(&[OLD]);
    // 9 s idle, 1.5 s waiting, 4.5 s with work of all kinds.
    let two = cpus(&[plus([9.0, 1.5, 0.1, 0.4, 0.5, 0.0, 1.5, 2.0])]);
    assert_eq!(percent(between(&one, &two)), Ok((30.0, 0.0)));
    let idle = plus([15.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let full = plus([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 10.0]);
    let before = cpus(&[OLD, OLD, OLD, OLD]);
    let after = cpus(&[idle, full, full, full]);
    assert_eq!(percent(between(&before, &after)), Ok((75.0, 0.0)));
}

#[test]
fn a_machine_whose_processors_are_stolen_is_full() {
    let stolen = plus([0.0, 0.0, 0.0, 0.0, 0.0, 12.0, 0.0, 3.0]);
    let after = cpus(&[stolen]);
    assert_eq!(percent(between(&cpus(&[OLD]), &after)), Ok((100.0, 80.0)));
}

#[test]
fn guests_are_not_counted_twice() {
    let with = |guest: &str, idle: f64| {
        let guest = guest.to_owned();
        read(&format!(
            "node_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} {idle}\n\
             node_cpu_seconds_total{{cpu=\"0\",mode=\"user\"}} {guest}\n\
             node_cpu_guest_seconds_total{{cpu=\"0\",mode=\"user\"}} {guest}\n\
             node_cpu_seconds_total{{cpu=\"0\",mode=\"guest\"}} {guest}\n\
             node_cpu_seconds_total{{cpu=\"0\",mode=\"guest_nice\"}} {guest}\n"
        ))
    };
    let (before, after) = (with("100", 900.0), with("106", 909.0));
    assert_eq!(percent(between(&before, &after)), Ok((40.0, 0.0)));
}

#[test]
fn a_reboot_gives_no_sample_and_never_a_wrong_one() {
    let before = cpus(&[OLD]);
    let young = [1.0, 0.1, 0.0, 0.0, 0.1, 0.0, 1.0, 4.0];
    assert_eq!(between(&before, &cpus(&[young])), Err(Lack::Broken));
    // It was rebooted soon after its first boot, and all its counters are above the old ones by now.
    let first_boot = [1.0, 0.1, 0.0, 0.0, 0.1, 0.0, 0.8, 2.0];
    let second_boot = [1.5, 0.2, 0.0, 0.0, 0.2, 0.0, 2.0, 7.0];
    let (before, after) = (cpus(&[first_boot]), cpus(&[second_boot]));
    assert_eq!(between(&before, &after), Err(Lack::Broken));
    // From then on it is compared with its new self.
    let later: [f64; 8] =
        std::array::from_fn(|at| second_boot[at] + [12.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0][at]);
    assert_eq!(percent(between(&after, &cpus(&[later]))), Ok((20.0, 0.0)));
}

#[test]
fn a_processor_that_came_went_or_began_anew_gives_no_sample() {
    let next = plus([10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0]);
    let new = [10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0];
    let (one, two) = (cpus(&[OLD]), cpus(&[OLD, OLD]));
    assert_eq!(between(&one, &cpus(&[next, new])), Err(Lack::Broken));
    assert_eq!(between(&two, &cpus(&[next])), Err(Lack::Broken));
    // Taken out and put in again: the sum over both has grown all the same.
    assert_eq!(
        between(&cpus(&[OLD, new]), &cpus(&[next, new])),
        Err(Lack::Broken)
    );
    let renamed = read(
        "node_cpu_seconds_total{cpu=\"7\",mode=\"idle\"} 810\nnode_cpu_seconds_total{cpu=\"7\",mode=\"user\"} 205\n",
    );
    assert_eq!(between(&one, &renamed), Err(Lack::Broken));
}

#[test]
fn a_machine_that_stood_still_or_counts_too_much_gives_no_sample() {
    let before = cpus(&[OLD]);
    let paused = cpus(&[plus([4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0])]);
    assert_eq!(between(&before, &paused), Err(Lack::Broken));
    let twice = cpus(&[plus([20.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0])]);
    assert_eq!(between(&before, &twice), Err(Lack::Broken));
    assert_eq!(between(&before, &before), Err(Lack::Broken));
    let shortly = busy(Of::Cpu, Some((&before, Duration::from_millis(5))), &before);
    assert_eq!(shortly, Err(Lack::Broken), "nothing was counted");
}

#[test]
fn memory_is_what_could_not_be_had_and_both_are_the_busier_one() {
    let memory = |available: u64| {
        format!("node_memory_MemAvailable_bytes {available}\nnode_memory_MemTotal_bytes 4e+09\n")
    };
    let now = read(&memory(1_000_000_000));
    assert_eq!(percent(busy(Of::Memory, None, &now)), Ok((75.0, 0.0)));
    assert_eq!(
        busy(Of::Both, None, &now),
        Err(Lack::NoFigure(
            "its metrics have no node_cpu_seconds_total".to_owned()
        ))
    );
    let with = |idle: f64, user: f64, available| {
        read(&format!(
            "node_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} {idle}\n\
             node_cpu_seconds_total{{cpu=\"0\",mode=\"user\"}} {user}\n{}",
            memory(available)
        ))
    };
    let before = with(100.0, 50.0, 2_000_000_000);
    let both = |after| percent(busy(Of::Both, Some((&before, QUARTER)), &after));
    assert_eq!(both(with(103.0, 62.0, 2_000_000_000)), Ok((80.0, 0.0)));
    assert_eq!(both(with(112.0, 53.0, 400_000_000)), Ok((90.0, 0.0)));
    assert_eq!(
        percent(busy(Of::Both, None, &before)).unwrap_err(),
        Lack::First
    );
}

#[test]
fn what_is_no_number_is_not_taken_for_one() {
    for value in ["NaN", "+Inf", "-1", "", "x", "1e400"] {
        let text = format!("node_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} {value}\n");
        assert!(read(&text).broken, "{value}");
        assert!(
            read(&format!("node_memory_MemTotal_bytes {value}\n")).broken,
            "{value}"
        );
    }
    for line in [
        "node_cpu_seconds_total{mode=\"idle\"} 1",
        "node_cpu_seconds_total{cpu=\"0\"} 1",
        "node_cpu_seconds_total{cpu=\"0,mode=\"idle\"} 1",
        "node_cpu_seconds_total{cpu=\"0\",mode=\"idle",
        "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"}",
        "node_cpu_seconds_total{",
    ] {
        assert!(read(&format!("{line}\n")).broken, "{line}");
    }
    let odd = read(
        "node_cpu_seconds_total{a=\"}\\\",mode=\\\"user\",mode=\"idle\",cpu=\"0\"} 1.5e+01 1700000000\n",
    );
    assert_eq!((odd.broken, odd.cpus[0].idle), (false, 15_000));
}

#[test]
fn a_line_without_an_end_takes_no_memory() {
    let mut lines = Lines::default();
    for _ in 0..10_000 {
        lines.feed(&[b'n'; 1000]);
    }
    lines.feed(b"\nnode_memory_MemTotal_bytes 7\n");
    assert_eq!(lines.end().memory, Some(7));
}
