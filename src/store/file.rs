//! The store of one process: a file, written in transactions that are on the disk before a save answers. A kill at
//! any moment loses nothing that was acknowledged.
//!
//! It never keeps a broken file busy and never mends one: what can't be read is reported and left as it is. After
//! a failure of the file (a full disk, say) the next call opens it afresh, so that a disk with room again is
//! enough to go on. What is done within a transaction is in [`tables`].

mod clients;
mod create;
mod limits;
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use redb::Database;
use tables::Heard;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Answer, Claim, Forgot, LedgerEntry, Store, StoreError};
use crate::engine::admit::{Applicant, Book, Late, Rules, Ruling, Verdict};
use crate::engine::id::{Epoch, ServiceName};
use crate::engine::privacy::{Forgotten, Kept};
use crate::engine::record::Record;
use crate::engine::time::Time;
use crate::engine::triggerers::{self, Asked, Triggerers, latest};

/// A store in a file. One process has it open at a time.
#[derive(Debug)]
pub struct FileStore {
    file: Arc<OpenFile>,
    /// One writer at a time, in the order of asking; the others wait here and not on a blocking thread each.
    writing: Arc<Semaphore>,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    /// None between a failure and the next call.
    database: Mutex<Option<Arc<Database>>>,
    /// What the file says of the limits, so that whoever joins a wake or is refused costs no write. Only who has the
    /// turn to write changes it, when the file has the change. None until it is needed, and after a failure, when
    /// it isn't known what of the last change is in the file.
    limits: Mutex<Option<Book>>,
    /// Who joined a wake or was refused, which costs no write; the file has those who woke.
    triggerers: Mutex<BTreeMap<ServiceName, Triggerers>>,
    kept: ArcSwap<Kept>,
}

/// Whether the file failed (outside), and what it answered (inside).
type Outcome<T> = Result<Result<T, StoreError>, redb::Error>;

impl FileStore {
    /// Opens the file, or creates it where there is none (its directory must exist). Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when another process has it open or the disk refuses, [`StoreError::Corrupt`]
    /// when the file is not such a store; it is left as it is.
    pub fn open(path: impl AsRef<Path>) -> Result<FileStore, StoreError> {
        let file = OpenFile {
            path: path.as_ref().to_owned(),
            database: Mutex::new(None),
            limits: Mutex::new(None),
            triggerers: Mutex::default(),
            kept: ArcSwap::default(),
        };
        create::unless_there(&file.path).map_err(|error| file.tell(error))?;
        file.database()?;
        Ok(FileStore {
            file: Arc::new(file),
            writing: Arc::new(Semaphore::new(1)),
        })
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Database) -> Outcome<T> + Send + 'static,
    {
        let file = Arc::clone(&self.file);
        finished(tokio::task::spawn_blocking(move || file.run(work)).await)
    }

    async fn turn(&self) -> OwnedSemaphorePermit {
        let turn = Arc::clone(&self.writing).acquire_owned().await;
        turn.expect("the semaphore is never closed")
    }

    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&OpenFile, &Database) -> Outcome<T> + Send + 'static,
    {
        self.write_in(self.turn().await, work).await
    }

    async fn write_in<T, F>(&self, turn: OwnedSemaphorePermit, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&OpenFile, &Database) -> Outcome<T> + Send + 'static,
    {
        let file = Arc::clone(&self.file);
        // The turn moves along: it ends with the transaction, also when nobody waits for the answer any more.
        let written = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            file.run(|database| work(&file, database))
        });
        finished(written.await)
    }
}

fn finished<T>(
    joined: Result<Result<T, StoreError>, tokio::task::JoinError>,
) -> Result<T, StoreError> {
    joined.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
}

impl OpenFile {
    fn run<T>(&self, work: impl FnOnce(&Database) -> Outcome<T>) -> Result<T, StoreError> {
        let database = self.database()?;
        work(&database).unwrap_or_else(|error| {
            self.close(&database);
            Err(self.tell(error))
        })
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        // The value is whole at every moment, so a panic of another holder changes nothing.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let mut slot = self.slot();
        if let Some(database) = &*slot {
            return Ok(Arc::clone(database));
        }
        let database = tables::open(&self.path).map_err(|error| self.tell(error))?;
        Ok(Arc::clone(slot.insert(Arc::new(database))))
    }

    /// Forgets a database that failed: it refuses everything after an I/O error, a fresh one need not.
    fn close(&self, failed: &Arc<Database>) {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|open| Arc::ptr_eq(open, failed)) {
            *slot = None;
        }
        *self.limits() = None;
    }

    fn limits(&self) -> MutexGuard<'_, Option<Book>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the limits say without a change; none when it takes a write, or a look into the file, to say.
    fn settled(&self, rule: impl FnOnce(&Book) -> Ruling) -> Option<Verdict> {
        match self.limits().as_ref().map(rule) {
            Some(Ruling::Settled(verdict)) => Some(verdict),
            Some(Ruling::Admit(_)) | None => None,
        }
    }

    /// What the limits say, read from the file where they aren't known yet. The caller has the turn to write, so
    /// nothing changes between this and what it writes.
    fn look<T>(&self, database: &Database, look: impl Fn(&Book) -> T) -> Outcome<T> {
        let known = self.limits().as_ref().map(&look);
        Ok(match known {
            Some(said) => Ok(said),
            None => limits::read(database)?.map(|book| look(self.limits().insert(book))),
        })
    }

    /// Changes the limits as the file has been changed.
    fn change(&self, change: impl FnOnce(&mut Book)) {
        // Not known any more: they are read afresh, with the change.
        if let Some(book) = self.limits().as_mut() {
            change(book);
        }
    }

    fn triggerers(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Triggerers>> {
        self.triggerers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> Kept {
        **self.kept.load()
    }

    /// Lists somebody for whom nothing was written.
    fn note(
        &self,
        service: &ServiceName,
        now: Time,
        applicant: &Applicant,
        outcome: triggerers::Outcome,
    ) {
        let mut all = self.triggerers();
        let list = all.entry(service.clone()).or_default();
        if list.lists(outcome) {
            list.note(Asked::of(now, applicant, outcome), self.kept());
        }
    }

    /// Rules on an applicant. Nothing is locked while the disk works: those who need no write must not wait for it.
    fn admit(
        &self,
        database: &Database,
        rule: impl Fn(&Book) -> Ruling,
        asked: impl Fn(u64) -> Asked,
    ) -> Outcome<Verdict> {
        let charge = match self.look(database, rule)? {
            Ok(Ruling::Admit(charge)) => charge,
            Ok(Ruling::Settled(verdict)) => return Ok(Ok(verdict)),
            Err(corrupt) => return Ok(Err(corrupt)),
        };
        let number = charge.wakes.last;
        limits::charge(database, &charge, &asked(number))?;
        self.change(|book| book.charge(charge));
        Ok(Ok(Verdict::Wake(number)))
    }

    fn charge_late(&self, database: &Database, now: Time, late: &Late) -> Outcome<()> {
        let charge = match self.look(database, |book| book.late(now, late))? {
            Ok(Some(charge)) => charge,
            Ok(None) => return Ok(Ok(())),
            Err(corrupt) => return Ok(Err(corrupt)),
        };
        let asked = Asked::of(
            late.at,
            &late.applicant,
            triggerers::Outcome::Woke { wake: 0 },
        );
        limits::charge(database, &charge, &asked)?;
        self.change(|book| book.charge(charge));
        Ok(Ok(()))
    }

    fn tidy(&self, database: &Database, now: Time) -> Outcome<()> {
        let past = match self.look(database, |book| book.past(now))? {
            Ok(past) => past,
            Err(corrupt) => return Ok(Err(corrupt)),
        };
        limits::forget(database, &past)?;
        self.change(|book| book.forget(&past));
        Ok(Ok(()))
    }

    fn forget(&self, database: &Database, forgotten: &Forgotten) -> Outcome<Forgot> {
        let keys = match self.look(database, |book| book.of(forgotten))? {
            Ok(keys) => keys,
            Err(corrupt) => return Ok(Err(corrupt)),
        };
        let forgot = clients::forget(database, forgotten, &keys)?;
        self.change(|book| book.forget(&keys));
        let mut all = self.triggerers();
        let listed: usize = all.values_mut().map(|list| list.forget(forgotten)).sum();
        Ok(forgot.map(|forgot| Forgot {
            triggerers: forgot.triggerers + listed,
            ..forgot
        }))
    }

    fn tell(&self, error: impl Into<redb::Error>) -> StoreError {
        let path = self.path.display();
        let corrupt = |why: String| StoreError::Corrupt {
            what: format!("{path}"),
            why,
        };
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => StoreError::Unavailable(format!(
                "{path} is open in another process: stop that one, or give this one another file"
            )),
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                corrupt(format!("{error}; move it away, or name another file"))
            }
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                StoreError::Unavailable(format!(
                    "{path}: {error}: create its directory, or name another file"
                ))
            }
            redb::Error::Corrupted(why) => corrupt(why),
            wrong @ (redb::Error::TableTypeMismatch { .. } | redb::Error::UpgradeRequired(_)) => {
                corrupt(format!("{wrong}; another version wrote it"))
            }
            other => StoreError::Unavailable(format!("{path}: {other}")),
        }
    }
}

impl Store for FileStore {
    /// The owner's name is not kept: the lock on the file already says that there is no other.
    fn claim<'a>(&'a self, service: &'a ServiceName, _owner: &'a str) -> Answer<'a, Claim> {
        let service = service.clone();
        Box::pin(self.write(move |_, database| tables::claim(database, &service)))
    }

    fn save<'a>(
        &'a self,
        service: &'a ServiceName,
        epoch: Epoch,
        record: &'a Record,
        entries: &'a [LedgerEntry],
        heard: u64,
    ) -> Answer<'a, ()> {
        let service = service.clone();
        let heard = Heard {
            number: heard,
            at_rest: record.stand.at_rest(),
        };
        let record = json(record);
        let last = entries.last().map_or(Time(0), |entry| entry.at);
        let entries: Vec<_> = entries.iter().map(json).collect();
        Box::pin(self.write(move |file, database| {
            let oldest = last - file.kept().network;
            let saved = tables::save(database, &service, epoch, &record, &entries, oldest, heard)?;
            if saved.is_ok() {
                file.change(|book| book.hear(&service, heard.number, heard.at_rest));
            }
            Ok(saved)
        }))
    }

    fn admit<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        applicant: &'a Applicant,
        rules: &'a Rules,
    ) -> Answer<'a, Verdict> {
        Box::pin(async move {
            let rule = |book: &Book| book.rule(service, now, applicant, rules);
            let note = |verdict| {
                if !matches!(verdict, Verdict::Wake(_)) {
                    let outcome = triggerers::Outcome::of(verdict);
                    self.file.note(service, now, applicant, outcome);
                }
                verdict
            };
            if let Some(verdict) = self.file.settled(rule) {
                return Ok(note(verdict));
            }
            let turn = self.turn().await;
            // Of thousands that came at once, all but the first find their wake asked for by now.
            if let Some(verdict) = self.file.settled(rule) {
                return Ok(note(verdict));
            }
            let (name, who, rules) = (service.clone(), applicant.clone(), rules.clone());
            let admit = move |file: &OpenFile, database: &Database| {
                let asked = |wake| Asked::of(now, &who, triggerers::Outcome::Woke { wake });
                file.admit(database, |book| book.rule(&name, now, &who, &rules), asked)
            };
            self.write_in(turn, admit).await.map(note)
        })
    }

    fn note<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        applicant: &'a Applicant,
        outcome: triggerers::Outcome,
    ) -> Answer<'a, ()> {
        self.file.note(service, now, applicant, outcome);
        Box::pin(std::future::ready(Ok(())))
    }

    fn keep(&self, kept: Kept) {
        self.file.kept.store(Arc::new(kept));
    }

    fn charge_late<'a>(&'a self, now: Time, late: &'a Late) -> Answer<'a, ()> {
        let late = late.clone();
        Box::pin(self.write(move |file, database| file.charge_late(database, now, &late)))
    }

    fn tidy(&self, now: Time) -> Answer<'_, ()> {
        Box::pin(async move {
            let kept = self.file.kept();
            for list in self.file.triggerers().values_mut() {
                list.tidy(now, kept);
            }
            // Read without the turn to write, for which visitors wait as well.
            let stale = self.read(move |database| clients::stale(database, now, kept));
            if let Some(stale) = stale.await? {
                let remove = move |_: &OpenFile, database: &Database| {
                    clients::remove_stale(database, &stale)?;
                    Ok(Ok(()))
                };
                self.write(remove).await?;
            }
            let past = self.file.limits().as_ref().map(|book| book.past(now));
            if past.is_some_and(|past| past.is_empty()) {
                return Ok(());
            }
            self.write(move |file, database| file.tidy(database, now))
                .await
        })
    }

    fn triggerers<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        limit: usize,
    ) -> Answer<'a, Vec<Asked>> {
        Box::pin(async move {
            let name = service.clone();
            let woke = self.read(move |database| clients::read(database, &name));
            let mut all = woke.await?;
            let others = self.file.triggerers();
            all.extend(
                others
                    .get(service)
                    .into_iter()
                    .flat_map(Triggerers::all)
                    .cloned(),
            );
            let left = all
                .into_iter()
                .filter_map(|asked| asked.at(now, self.file.kept()));
            Ok(latest(left.collect(), limit))
        })
    }

    fn forget<'a>(&'a self, forgotten: &'a Forgotten) -> Answer<'a, Forgot> {
        let forgotten = forgotten.clone();
        Box::pin(self.write(move |file, database| file.forget(database, &forgotten)))
    }

    fn secret(&self, fresh: [u8; 32]) -> Answer<'_, [u8; 32]> {
        Box::pin(self.write(move |_, database| tables::secret(database, fresh)))
    }

    fn load<'a>(&'a self, service: &'a ServiceName) -> Answer<'a, Option<Record>> {
        let service = service.clone();
        Box::pin(self.read(move |database| tables::load(database, &service)))
    }

    fn ledger<'a>(
        &'a self,
        service: &'a ServiceName,
        limit: usize,
    ) -> Answer<'a, Vec<LedgerEntry>> {
        let service = service.clone();
        Box::pin(self.read(move |database| tables::ledger(database, &service, limit)))
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records and events are plain data with text keys")
}
