//! Kill -9 at any moment: what a save acknowledged is there afterwards, and a file that was being made still opens.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anteroom::engine::admit::{Applicant, Rate, Rules, Verdict};
use anteroom::engine::contract::{Event, Trigger, TriggerBy};
use anteroom::engine::id::ServiceName;
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::time::{Span, Time};
use anteroom::store::file::FileStore;
use anteroom::store::{LEDGER_MAX, LedgerEntry, Store};

/// Set for the child alone: the file that it writes.
const FILE: &str = "ANTEROOM_TEST_CHILD_STORE";

/// How many children are killed.
const KILLS: u32 = 30;

/// How long a save may take on a busy machine.
const SAVE_MAX: Duration = Duration::from_secs(20);

fn blog() -> ServiceName {
    "blog".parse().unwrap()
}

/// Save number n has n entries behind it: they are the ledger that belongs to the record.
fn entry(number: u64) -> LedgerEntry {
    LedgerEntry {
        at: Time(number),
        event: Event::Adopted,
    }
}

/// Not a test: the entry of the child that the test below kills. Without its variable it returns at once.
///
/// Writes records with rising numbers, each with its ledger entry, and says each number after its save returned.
#[test]
fn child_writer() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = FileStore::open(file).unwrap();
        let blog = blog();
        let claim = store.claim(&blog, "child").await.unwrap();
        let mut record = claim.record.unwrap_or_default();
        loop {
            record.triggered_count += 1;
            let number = record.triggered_count;
            let entries = [entry(number)];
            let save = store.save(&blog, claim.epoch, &record, &entries, 0);
            save.await.unwrap();
            say(number);
        }
    });
}

/// Not a test: the entry of the child that asks for wakes until it is refused. It says each number after its
/// admission returned.
#[test]
fn child_asker() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = FileStore::open(file).unwrap();
        let epoch = store.claim(&blog(), "child").await.unwrap().epoch;
        let asleep = Record {
            stand: Stand::Asleep,
            ..Record::default()
        };
        loop {
            match store.admit(&blog(), NOW, &somebody(), &rules()).await {
                Ok(Verdict::Wake(number)) => say(number),
                // The last child was killed before it had heard of this one.
                Ok(Verdict::Joined(_)) => {}
                _ => break,
            }
            let saved = store.save(&blog(), epoch, &asleep, &[], u64::MAX).await;
            saved.unwrap();
        }
    });
}

const NOW: Time = Time(1_800_000_000_000);

/// How many wakes there are until the day is over.
const WAKES: u32 = 300;

fn rules() -> Rules {
    let rate = |count| Rate::new(count, Span::mins(24 * 60)).ok();
    Rules {
        per_client: rate(WAKES),
        per_service: rate(2 * WAKES),
        ..Rules::default()
    }
}

fn somebody() -> Applicant {
    Applicant::plain(
        "2001:db8::1".parse().unwrap(),
        Trigger {
            by: TriggerBy::Page,
            who: String::new(),
            path: String::new(),
        },
    )
}

/// Past the harness, which keeps what `println!` prints; the first line break ends the harness's own line.
fn say(number: u64) {
    let mut out = std::io::stdout().lock();
    write!(out, "\nsaved {number}\n").unwrap();
    out.flush().unwrap();
}

fn start_child(file: &Path, entry: &str) -> (Child, Receiver<u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("store_kill::{entry}"), "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (say, said) = mpsc::channel();
    // Ends when the child is dead and its last word is read.
    std::thread::spawn(move || {
        let numbers = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("saved ")?.parse().ok());
        numbers.for_each(|number| {
            let _ = say.send(number);
        });
    });
    (child, said)
}

/// Lets the child live for a random moment, kills it, and returns the last number that it said, if any.
fn last_word(mut child: Child, said: &Receiver<u64>, round: u32) -> Option<u64> {
    // Every other child dies soon after its start, often before its first save; the others some saves later.
    let (saves, life) = match round % 2 {
        0 => (0, random(25_000)),
        _ => (1 + random(30), random(8_000)),
    };
    let mut last = None;
    for _ in 0..saves {
        let number = said.recv_timeout(SAVE_MAX);
        last = Some(number.expect("the child saves as long as it lives"));
    }
    let end = Instant::now() + Duration::from_micros(life);
    while let Ok(number) = said.recv_timeout(end.saturating_duration_since(Instant::now())) {
        last = Some(number);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died and we have not read yet.
    said.iter().last().or(last)
}

fn random(below: u64) -> u64 {
    getrandom::u64().unwrap() % below
}

async fn stored(file: &Path) -> (u64, Vec<LedgerEntry>) {
    let store = FileStore::open(file).unwrap();
    let record: Option<Record> = store.load(&blog()).await.unwrap();
    let ledger = store.ledger(&blog(), usize::MAX).await.unwrap();
    (record.map_or(0, |record| record.triggered_count), ledger)
}

#[tokio::test]
async fn a_killed_process_loses_no_save_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store");
    let mut acknowledged = 0;
    for round in 0..KILLS {
        let (child, said) = start_child(&file, "child_writer");
        acknowledged = last_word(child, &said, round).unwrap_or(acknowledged);
        let (written, ledger) = stored(&file).await;
        // One more may be written that the child had no time to say.
        let expected = acknowledged..=acknowledged + 1;
        assert!(
            expected.contains(&written),
            "round {round}: {written} is not in {expected:?}"
        );
        let belongs = (1..=written).rev().take(LEDGER_MAX).map(entry);
        assert!(
            ledger.iter().cloned().eq(belongs),
            "round {round}: {ledger:?}"
        );
        acknowledged = written;
    }
}

#[tokio::test]
async fn a_killed_process_gives_nobody_a_wake_back_that_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store");
    let (mut told, mut kills) = (0, 0);
    loop {
        let (mut child, said) = start_child(&file, "child_asker");
        let end = Instant::now() + Duration::from_micros(random(15_000));
        while let Ok(number) = said.recv_timeout(end.saturating_duration_since(Instant::now())) {
            told = number;
        }
        // It has ended by itself when its wakes are used up.
        let over = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        let last = said.iter().last();
        told = last.unwrap_or(told);
        kills += 1;
        if over {
            break;
        }
        assert!(kills < 1_000, "it comes to no end");
    }
    assert!(kills > 3, "it was killed too seldom to show anything");
    assert!(told <= u64::from(WAKES), "{told}");
    let store = FileStore::open(&file).unwrap();
    let ask = async |rules| store.admit(&blog(), NOW, &somebody(), &rules).await;
    let refused = ask(rules()).await.unwrap();
    assert!(matches!(refused, Verdict::Refused { .. }), "{refused:?}");
    let next = ask(Rules::default()).await.unwrap();
    assert_eq!(
        next,
        Verdict::Wake(u64::from(WAKES) + 1),
        "after {kills} kills"
    );
}

#[test]
fn a_process_killed_while_it_makes_the_file_leaves_nothing_that_does_not_open() {
    for _ in 0..KILLS {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("store");
        let (mut child, _said) = start_child(&file, "child_writer");
        let deadline = Instant::now() + SAVE_MAX;
        while std::fs::read_dir(&directory).unwrap().next().is_none() {
            assert!(Instant::now() < deadline, "the child makes no file");
            std::thread::yield_now();
        }
        let kill_at = Instant::now() + Duration::from_micros(random(1_500));
        while Instant::now() < kill_at {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        FileStore::open(&file).unwrap();
    }
}
