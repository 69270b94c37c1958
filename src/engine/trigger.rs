//! Who or what asks for a wake.

use serde::{Deserialize, Serialize};

use super::privacy::{FORGOTTEN, Forgotten};

/// Who or what asked for a wake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// What kind of asker.
    pub by: TriggerBy,
    /// The asker, named as [`privacy`](super::privacy) says: a client's network or its name of the day, an admin's
    /// name. Empty in what is kept of a client for good.
    pub who: String,
    /// What was asked for, without its query.
    #[serde(default)]
    pub path: String,
}

impl Trigger {
    /// What is kept of it for as long as the service is. Of a client, not who it is: that has an end, and stands where
    /// things end.
    #[must_use]
    pub fn lasting(mut self) -> Trigger {
        if self.by.is_client() {
            self.who.clear();
        }
        self
    }

    /// Who asked, as far as it is still written here: its name, or else what kind of asker it was.
    #[must_use]
    pub fn asker(&self) -> &str {
        match self.who.is_empty() {
            true => self.by.as_str(),
            false => &self.who,
        }
    }

    /// Takes a client's name out; says whether it was there.
    pub fn forget(&mut self, forgotten: &Forgotten) -> bool {
        let named = self.by.is_client() && forgotten.covers(&self.who);
        if named {
            FORGOTTEN.clone_into(&mut self.who);
        }
        named
    }
}

/// What kind of asker a trigger came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerBy {
    /// The waiting page's script.
    Page,
    /// The waiting page's button.
    Click,
    /// A request by itself (`wake.by = "request"`, or a held API request).
    Request,
    /// An admin's command.
    Admin,
    /// The engine: the app crashed while somebody used it.
    Crash,
}

impl TriggerBy {
    /// Whether it is a client of the room, and no admin or the engine.
    #[must_use]
    pub const fn is_client(self) -> bool {
        matches!(self, Self::Page | Self::Click | Self::Request)
    }

    /// The word used in logs, metrics, keys and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Click => "click",
            Self::Request => "request",
            Self::Admin => "admin",
            Self::Crash => "crash",
        }
    }
}
