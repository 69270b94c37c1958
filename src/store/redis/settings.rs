//! How a Redis is reached.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where a Redis is, and how to prove who we are. Passwords print as `***`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is there.
    pub form: Form,
    /// Hosts and ports, at least one: of Redis itself, of the Sentinels, or of some nodes of the cluster.
    pub nodes: Vec<(String, u16)>,
    /// Who we are to Redis.
    pub login: Login,
    /// Who we are to the Sentinels.
    pub sentinel_login: Login,
    /// The number of the database; 0 in a cluster.
    pub database: u16,
    /// How connections are encrypted; none for plain ones.
    pub tls: Option<Tls>,
    /// The first word of every key.
    pub prefix: String,
    /// How long a call may take; [`CALL_TIMEOUT`] where visitors wait.
    pub call_timeout: Duration,
}

/// How long a call may take, with all that belongs to it. A visitor waits 200 ms for a store; the link must know
/// before that that Redis is away.
pub const CALL_TIMEOUT: Duration = Duration::from_millis(180);

/// What a Redis is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// One server.
    Single,
    /// Sentinels that know which server is the master.
    Sentinel {
        /// The name by which they watch it.
        master: String,
    },
    /// A cluster.
    Cluster,
}

/// Who we are to a server; empty for one that asks nobody.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The ACL user; none for `default`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "***");
        let mut shown = f.debug_struct("Login");
        shown.field("user", &self.user).field("password", &password);
        shown.finish()
    }
}

/// Files in PEM form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificates that are trusted; none for those of the system.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, for servers that ask for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_prints_masked() {
        let login = Login {
            user: Some("room".into()),
            password: Some("hunter2".into()),
        };
        let shown = format!("{login:?}");
        assert!(shown.contains("room") && shown.contains("***"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
