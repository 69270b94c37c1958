//! Who or what asks for a wake.

use serde::{Deserialize, Serialize};

/// Who or what asked for a wake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// What kind of asker.
    pub by: TriggerBy,
    /// The asker, masked as the privacy setting says (a network, a name of an admin, a schedule).
    pub who: String,
    /// What was asked for, without its query.
    #[serde(default)]
    pub path: String,
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
