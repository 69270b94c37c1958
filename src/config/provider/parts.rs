//! What several kinds say alike.

use crate::config::reading::Reading;

/// A machine that has a name of its own where it lives; it belongs to one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) struct Machine {
    /// What it is called there.
    pub(in crate::config) what: &'static str,
    /// Where it lives.
    pub(in crate::config) place: String,
    /// Its name or id there.
    pub(in crate::config) id: String,
}

/// Which address of a cloud's machine is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineAddress {
    /// The one in its private network.
    Private,
    /// The public one.
    Public,
}

/// The address of a cloud's machine that is used, from the key `address`.
pub(super) fn machine_address(section: &Reading<'_>) -> Option<MachineAddress> {
    section.choice(
        "address",
        &[
            ("private", MachineAddress::Private),
            ("public", MachineAddress::Public),
        ],
    )
}

/// A program and its arguments. Arguments may be empty; the program may not.
pub(super) fn program(section: &Reading<'_>, name: &str) -> Vec<String> {
    let words = section.some(name, |text| match text.contains('\0') {
        true => Err("holds a zero byte, which no argument can".to_owned()),
        false => Ok(text.to_owned()),
    });
    if words.first().is_some_and(String::is_empty) {
        section.fault(name, "begins with an empty text; the program comes first");
    }
    words
}
