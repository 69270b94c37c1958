//! Who we are at AWS: keys that are written down, or found where every tool of AWS looks for them: the environment, the
//! files of profiles, the metadata service of the machine that we run on (version 2 alone).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use crate::engine::machine::{ErrorClass, Trouble};
use crate::provider::cloud::account::Account;
use crate::provider::cloud::call::{Call, Caller, Does};
use crate::provider::{BadSettings, last_words};

/// Where the metadata service is, if the environment does not say otherwise.
const METADATA: &str = "http://169.254.169.254";

/// It answers from the host itself.
const METADATA_WITHIN: Duration = Duration::from_secs(2);

/// Keys of this age are read anew: a file may have changed, and a role's keys are renewed before they expire.
const KEYS_AGE_MAX: Duration = Duration::from_secs(300);

/// Keys that expire so soon are not used any more where others can be had.
const EXPIRES_SOON: Duration = Duration::from_secs(300);

/// The keys of an account's user or role.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) session: Option<String>,
    pub(super) expires: Option<Timestamp>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// Where the keys come from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// They are written down.
    Keys {
        /// The access key's id.
        id: String,
        /// The access key's secret.
        secret: String,
        /// The session's token, of keys that do not last.
        session: Option<String>,
    },
    /// The files of profiles have them under this name.
    Profile(String),
    /// The first that has them: the environment, the files of profiles, the metadata service.
    Anywhere,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Keys { .. } => f.write_str("Keys"),
            Source::Profile(name) => write!(f, "Profile({name})"),
            Source::Anywhere => f.write_str("Anywhere"),
        }
    }
}

/// What the process finds around it: variables of AWS, and the home folder.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Surroundings {
    /// Variables by name; only those that begin with `AWS_` matter.
    pub variables: BTreeMap<String, String>,
    /// The home folder.
    pub home: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Surroundings {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let is_aws = |(name, _): &(String, String)| name.starts_with("AWS_");
        Surroundings {
            variables: std::env::vars_os()
                .filter_map(text)
                .filter(is_aws)
                .collect(),
            home: std::env::var_os("HOME").map(PathBuf::from),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?.trim();
        (!value.is_empty()).then_some(value)
    }

    fn file(&self, variable: &str, name: &str) -> Option<PathBuf> {
        let given = self.get(variable).map(PathBuf::from);
        given.or_else(|| Some(self.home.as_ref()?.join(".aws").join(name)))
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// The keys, read when they are needed.
pub(super) struct Credentials {
    reader: Arc<Reader>,
    readings: Account<Keys>,
    /// The last ones that were good.
    last: Mutex<Option<Arc<Keys>>>,
}

struct Reader {
    source: Source,
    around: Surroundings,
    metadata: Option<Caller>,
}

impl Credentials {
    pub(super) fn new(source: Source, around: Surroundings) -> Result<Credentials, BadSettings> {
        let off = around.get("AWS_EC2_METADATA_DISABLED");
        let metadata = match off.is_some_and(|off| off.eq_ignore_ascii_case("true")) {
            true => None,
            false => {
                let at = around
                    .get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
                    .unwrap_or(METADATA);
                Some(Caller::direct("ec2", at.trim_end_matches('/'))?)
            }
        };
        Ok(Credentials {
            reader: Arc::new(Reader {
                source,
                around,
                metadata,
            }),
            readings: Account::new(),
            last: Mutex::new(None),
        })
    }

    /// Keys that are good now.
    pub(super) async fn keys(&self) -> Result<Arc<Keys>, Trouble> {
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let lasts = |keys: &Arc<Keys>, on: Duration| {
            let until = Timestamp::now() + on;
            keys.expires.is_none_or(|expires| expires > until)
        };
        let young = Instant::now().checked_sub(KEYS_AGE_MAX);
        let since = match &last {
            Some(last) if lasts(last, EXPIRES_SOON) => young.unwrap_or_else(Instant::now),
            Some(_) => Instant::now(),
            None => young.unwrap_or_else(Instant::now),
        };
        let reader = Arc::clone(&self.reader);
        let read = self
            .readings
            .list(since, move || async move { reader.read().await }.boxed());
        match (read.await, last) {
            (Ok(keys), _) => {
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&keys));
                Ok(keys)
            }
            (Err(trouble), Some(last)) if lasts(&last, Duration::ZERO) => {
                tracing::debug!(%trouble, "new keys could not be read; those at hand are still good");
                Ok(last)
            }
            // Keys were there before: they come back.
            (Err(trouble), Some(_)) => Err(Trouble::new(ErrorClass::Transient, trouble.detail)),
            (Err(trouble), None) => Err(trouble),
        }
    }

    /// After a refusal: the next ones are read anew.
    pub(super) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.readings.forget();
    }
}

impl Reader {
    async fn read(&self) -> Result<Keys, Trouble> {
        match &self.source {
            Source::Keys {
                id,
                secret,
                session,
            } => Ok(Keys {
                id: id.clone(),
                secret: secret.clone(),
                session: session.clone(),
                expires: None,
            }),
            Source::Profile(name) => match self.of_profile(name).await? {
                Some(keys) => Ok(keys),
                None => Err(refused(&format!(
                    "no file of profiles has keys for {name:?}"
                ))),
            },
            Source::Anywhere => self.of_anywhere().await,
        }
    }

    async fn of_anywhere(&self) -> Result<Keys, Trouble> {
        let around = &self.around;
        let written = (
            around.get("AWS_ACCESS_KEY_ID"),
            around.get("AWS_SECRET_ACCESS_KEY"),
        );
        if let (Some(id), Some(secret)) = written {
            return Ok(Keys {
                id: id.to_owned(),
                secret: secret.to_owned(),
                session: around.get("AWS_SESSION_TOKEN").map(str::to_owned),
                expires: None,
            });
        }
        let named = around.get("AWS_PROFILE");
        if let Some(keys) = self.of_profile(named.unwrap_or("default")).await? {
            return Ok(keys);
        }
        if let Some(name) = named {
            return Err(refused(&format!(
                "no file of profiles has keys for {name:?} (AWS_PROFILE)"
            )));
        }
        let Some(metadata) = &self.metadata else {
            return Err(refused(
                "no keys in the environment and the files; the metadata service is switched off",
            ));
        };
        of_role(metadata).await.map_err(|trouble| {
            let told = "no keys in the environment, in the files, nor from the metadata service";
            refused(&format!("{told}: {}", trouble.detail))
        })
    }

    async fn of_profile(&self, name: &str) -> Result<Option<Keys>, Trouble> {
        let credentials = self
            .around
            .file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let config = self.around.file("AWS_CONFIG_FILE", "config");
        let as_profile = format!("profile {name}");
        for (file, sections) in [(credentials, [name, name]), (config, [name, &as_profile])] {
            let Some(file) = file else { continue };
            let text = match tokio::fs::read_to_string(&file).await {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(refused(&format!("{}: {error}", file.display()))),
            };
            if let Some(keys) = sections
                .iter()
                .find_map(|section| of_section(&text, section))
            {
                return Ok(Some(keys));
            }
        }
        Ok(None)
    }
}

fn refused(detail: &str) -> Trouble {
    Trouble::new(ErrorClass::Auth, detail)
}

/// The keys of a section of a file of profiles.
fn of_section(text: &str, wanted: &str) -> Option<Keys> {
    let mut inside = false;
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.split(']').next())
        {
            inside = name.trim() == wanted;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside) {
            found.insert(key.trim(), value.trim());
        }
    }
    let session = found
        .get("aws_session_token")
        .map(|text| (*text).to_owned());
    Some(Keys {
        id: (*found.get("aws_access_key_id")?).to_owned(),
        secret: (*found.get("aws_secret_access_key")?).to_owned(),
        session,
        expires: None,
    })
}

/// What the metadata service tells of a role.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Role {
    #[serde(default)]
    code: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<Timestamp>,
}

/// The keys of the role of the machine that we run on.
async fn of_role(metadata: &Caller) -> Result<Keys, Trouble> {
    let ttl = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
    let ttl = HeaderMap::from_iter([(ttl, HeaderValue::from_static("300"))]);
    let ticket = ask(
        metadata,
        "metadata/token",
        Method::PUT,
        "/latest/api/token",
        &ttl,
    )
    .await?;
    let mut ticket = HeaderValue::from_str(ticket.trim())
        .map_err(|_| refused("the metadata service gave no token"))?;
    ticket.set_sensitive(true);
    let named = HeaderName::from_static("x-aws-ec2-metadata-token");
    let headers = HeaderMap::from_iter([(named, ticket)]);
    let roles = "/latest/meta-data/iam/security-credentials/";
    let role = ask(metadata, "metadata/role", Method::GET, roles, &headers).await?;
    let role = role.lines().next().unwrap_or_default().trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if role.is_empty() || !role.chars().all(plain) {
        return Err(refused("the machine that we run on has no role"));
    }
    let keys = ask(
        metadata,
        "metadata/keys",
        Method::GET,
        &format!("{roles}{role}"),
        &headers,
    )
    .await?;
    let told: Role = serde_json::from_str(&keys)
        .map_err(|error| refused(&format!("the metadata service told of {role}: {error}")))?;
    match (told.access_key_id, told.secret_access_key) {
        (Some(id), Some(secret)) => Ok(Keys {
            id,
            secret,
            session: told.token,
            expires: told.expiration,
        }),
        _ => {
            let code = last_words(told.code.unwrap_or_default().as_bytes());
            Err(refused(&format!(
                "the metadata service has no keys for {role}: {code:?}"
            )))
        }
    }
}

async fn ask(
    metadata: &Caller,
    name: &'static str,
    method: Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<String, Trouble> {
    let call = Call {
        name,
        does: Does::Read,
        method,
        path: path.to_owned(),
        body: None,
        within: METADATA_WITHIN,
    };
    let reply = metadata.make(call, headers).await?;
    match reply.status.is_success() {
        true => Ok(String::from_utf8_lossy(&reply.body).into_owned()),
        false => Err(refused(&format!("{name} answered {}", reply.status))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\n[default]\naws_access_key_id = AKIA1\naws_secret_access_key=s1\n\n\
        [blog]\n aws_access_key_id=AKIA2\n;aws_access_key_id=AKIA3\naws_secret_access_key = s=2\n\
        aws_session_token = t2\n[profile other]\naws_access_key_id = AKIA4\n";

    #[test]
    fn a_profile_has_the_keys_of_its_own_section() {
        let keys = of_section(FILE, "blog").expect("there");
        assert_eq!((keys.id.as_str(), keys.secret.as_str()), ("AKIA2", "s=2"));
        assert_eq!(keys.session.as_deref(), Some("t2"));
        let keys = of_section(FILE, "default").expect("there");
        assert_eq!((keys.id.as_str(), keys.session), ("AKIA1", None));
        assert!(of_section(FILE, "profile other").is_none(), "half a key");
        assert!(of_section(FILE, "nobody").is_none());
    }

    #[test]
    fn no_secret_is_shown() {
        let keys = of_section(FILE, "blog").expect("there");
        let source = Source::Keys {
            id: keys.id.clone(),
            secret: keys.secret.clone(),
            session: keys.session.clone(),
        };
        let mut around = Surroundings::default();
        around
            .variables
            .insert("AWS_SECRET_ACCESS_KEY".into(), "s=2".into());
        let shown = format!("{keys:?} {source:?} {around:?}");
        assert!(!shown.contains("s=2") && !shown.contains("t2"), "{shown}");
    }
}
