//! The fake store: one record under a fencing epoch. Writes can be slow, fail, or fail after having been done.

use anteroom::engine::id::Epoch;
use anteroom::engine::record::Record;

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) epoch: Epoch,
    pub(crate) record: Option<Record>,
    pub(crate) down_until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Yes,
    /// Not known to be written.
    Failed,
    /// There is a newer owner.
    Stale,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteFate {
    Done,
    Lost,
    /// Written, but the answer says that it failed.
    DoneInSecret,
}

impl Store {
    pub(crate) fn claim(&mut self) -> (Epoch, Option<Record>) {
        self.epoch = Epoch(self.epoch.0 + 1);
        (self.epoch, self.record.clone())
    }

    pub(crate) fn save(&mut self, epoch: Epoch, record: Record, fate: WriteFate) -> Written {
        if fate == WriteFate::Lost {
            return Written::Failed;
        }
        if epoch != self.epoch {
            return Written::Stale;
        }
        self.record = Some(record);
        match fate {
            WriteFate::Done => Written::Yes,
            _ => Written::Failed,
        }
    }
}
