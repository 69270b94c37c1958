//! What only a store in a file must do: outlive its process, keep others off, say what is wrong with the file, and
//! go on when a full disk has room again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anteroom::engine::admit::{Applicant, Rules, Verdict};
use anteroom::engine::contract::{Event, Trigger, TriggerBy};
use anteroom::engine::id::ServiceName;
use anteroom::engine::record::Record;
use anteroom::engine::time::Time;
use anteroom::store::file::FileStore;
use anteroom::store::{LedgerEntry, Store, StoreError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Set for the child of the full-disk test alone: the file that it writes.
const FILE: &str = "ANTEROOM_TEST_FULL_DISK_STORE";

fn blog() -> ServiceName {
    "blog".parse().unwrap()
}

fn entry(at: u64) -> LedgerEntry {
    LedgerEntry {
        at: Time(at),
        event: Event::Vanished {
            what: "x".repeat(20_000),
        },
    }
}

fn in_directory(test: impl FnOnce(&Path)) {
    let directory = tempfile::tempdir().unwrap();
    test(&directory.path().join("store"));
}

#[test]
fn nobody_else_may_read_the_file() {
    in_directory(|file| {
        let _store = FileStore::open(file).unwrap();
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

#[tokio::test]
async fn what_was_saved_is_there_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store");
    let store = FileStore::open(&file).unwrap();
    let epoch = store.claim(&blog(), "a").await.unwrap().epoch;
    let record = Record {
        triggered_count: 7,
        ..Record::default()
    };
    store
        .save(&blog(), epoch, &record, &[entry(1), entry(2)], 0)
        .await
        .unwrap();
    store.secret([1; 32]).await.unwrap();
    drop(store);

    let store = FileStore::open(&file).unwrap();
    assert_eq!(store.secret([2; 32]).await.unwrap(), [1; 32]);
    let ledger = store.ledger(&blog(), 9).await.unwrap();
    assert_eq!(ledger, [entry(2), entry(1)]);
    let claim = store.claim(&blog(), "a").await.unwrap();
    assert!(claim.epoch > epoch);
    assert_eq!(claim.record, Some(record));
    let names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|found| found.unwrap().file_name())
        .collect();
    assert_eq!(names, ["store"], "nothing is left beside the file");
}

#[test]
fn a_second_opener_is_told_that_the_file_is_in_use_and_what_to_do() {
    in_directory(|file| {
        let first = FileStore::open(file).unwrap();
        let refused = FileStore::open(file).unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)));
        let said = refused.to_string();
        assert!(
            said.contains("open in another process: stop that one"),
            "{said}"
        );
        assert!(said.contains(file.to_str().unwrap()), "{said}");
        drop(first);
        FileStore::open(file).unwrap();
    });
}

#[test]
fn a_file_that_is_no_store_is_reported_as_corrupt_and_left_as_it_is() {
    for content in [
        "{\"services\": []}\n".repeat(3_000),
        "x".into(),
        "\0".repeat(5_000),
    ] {
        in_directory(|file| {
            fs::write(file, &content).unwrap();
            let refused = FileStore::open(file).unwrap_err();
            assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
            assert!(refused.to_string().contains("move it away"), "{refused}");
            assert_eq!(fs::read_to_string(file).unwrap(), content);
        });
    }
}

#[test]
fn a_file_that_was_cut_or_overwritten_in_the_middle_is_an_error_and_no_panic() {
    for damage in [damage_by_cutting, damage_by_overwriting] {
        in_directory(|file| {
            drop(FileStore::open(file).unwrap());
            damage(file);
            match FileStore::open(file) {
                Err(StoreError::Corrupt { .. } | StoreError::Unavailable(_)) => {}
                other => panic!("{other:?}"),
            }
        });
    }
}

fn damage_by_cutting(file: &Path) {
    let length = fs::metadata(file).unwrap().len();
    let open = fs::OpenOptions::new().write(true).open(file).unwrap();
    open.set_len(length / 2).unwrap();
}

fn damage_by_overwriting(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[64..].fill(0xA5);
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_missing_directory_is_named() {
    in_directory(|file| {
        let refused = FileStore::open(file.join("deeper"))
            .unwrap_err()
            .to_string();
        assert!(refused.contains("create its directory"), "{refused}");
    });
}

/// Somebody asks for the only wake of the day.
async fn ask(store: &FileStore) -> Result<Verdict, StoreError> {
    let rules = Rules {
        per_day: Some(1),
        ..Rules::default()
    };
    let somebody = Applicant::plain(
        "203.0.113.1".parse().unwrap(),
        Trigger {
            by: TriggerBy::Page,
            who: String::new(),
            path: "/".repeat(9_000),
        },
    );
    store.admit(&blog(), Time(9), &somebody, &rules).await
}

/// Not a test: the entry of the child of the test below. Without its variable it returns at once.
///
/// It limits the size of its own files, which is what a full disk looks like from inside.
#[test]
fn child_on_a_full_disk() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = FileStore::open(&file).unwrap();
        let epoch = store.claim(&blog(), "child").await.unwrap().epoch;
        let limit = getrlimit(Resource::Fsize);
        let current = Some(fs::metadata(&file).unwrap().len());
        setrlimit(Resource::Fsize, Rlimit { current, ..limit }).unwrap();

        let mut saved = 0;
        let record = |count| Record {
            triggered_count: count,
            ..Record::default()
        };
        let failure = loop {
            let number = saved + 1;
            match store
                .save(&blog(), epoch, &record(number), &[entry(number)], 0)
                .await
            {
                Ok(()) => saved = number,
                Err(error) => break error,
            }
            assert!(saved < 10_000, "the disk is never full");
        };
        assert!(matches!(failure, StoreError::Unavailable(_)), "{failure}");
        let still = store
            .save(&blog(), epoch, &record(saved + 1), &[entry(saved + 1)], 0)
            .await;
        assert!(still.is_err(), "the disk is still full");
        let untold = ask(&store).await;
        assert!(untold.is_err(), "a wake is told when it is written");
        setrlimit(Resource::Fsize, limit).unwrap();

        // Room again: the same store goes on, and what was acknowledged is there.
        assert_eq!(store.load(&blog()).await.unwrap(), Some(record(saved)));
        store
            .save(&blog(), epoch, &record(saved + 1), &[entry(saved + 1)], 0)
            .await
            .unwrap();
        assert_eq!(ask(&store).await.unwrap(), Verdict::Wake(1));
        assert_eq!(ask(&store).await.unwrap(), Verdict::Joined(1));
        let ledger = store.ledger(&blog(), usize::MAX).await.unwrap();
        let times: Vec<_> = ledger.iter().map(|entry| entry.at.0).collect();
        assert_eq!(times, (1..=saved + 1).rev().collect::<Vec<_>>());
        assert_eq!(store.load(&blog()).await.unwrap(), Some(record(saved + 1)));
    });
}

#[test]
fn a_store_goes_on_by_itself_when_a_full_disk_has_room_again() {
    in_directory(|file| {
        // The signal that comes with the limit would end the child; a real full disk sends none.
        let output = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "store_file::child_on_a_full_disk", "--nocapture"])
            .env(FILE, file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(out.contains("1 passed"), "{out}");
    });
}
