//! Who we are at Google: a file (the key of a service account, or a user's own login), or the machine that we run on.
//!
//! The order is that of Google's own programs: what is configured, what `GOOGLE_APPLICATION_CREDENTIALS` names, the
//! file that `gcloud auth application-default login` writes, the metadata server. The file is read at each refresh, so
//! a key that is replaced there is used without a restart.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;

use crate::engine::machine::{ErrorClass, Trouble};

/// What a token of ours may be used for.
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/compute";

/// Where tokens are given when the file does not say.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// The metadata server of Google's machines.
const METADATA_HOST: &str = "metadata.google.internal";

/// How long a signed request for a token holds, in seconds: the longest that is taken.
const ASSERTION_SECS: i64 = 3600;

/// Where credentials are looked for when none are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Surroundings {
    /// What `GOOGLE_APPLICATION_CREDENTIALS` names.
    pub named: Option<PathBuf>,
    /// The file that gcloud writes; it need not exist.
    pub well_known: Option<PathBuf>,
    /// What `GCE_METADATA_HOST` names, as `host` or `host:port`.
    pub metadata_host: Option<String>,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Surroundings {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = set("CLOUDSDK_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| Some(PathBuf::from(set("HOME")?).join(".config/gcloud")));
        Surroundings {
            named: set("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
            well_known: folder.map(|folder| folder.join("application_default_credentials.json")),
            metadata_host: set("GCE_METADATA_HOST").and_then(|host| host.into_string().ok()),
        }
    }
}

/// Who asks for a token.
pub(super) enum Identity {
    /// The key of a service account.
    Key(Box<Key>),
    /// A person's own login.
    User {
        token_uri: String,
        form: Vec<(&'static str, String)>,
        /// The project whose quota is used.
        quota_project: Option<String>,
    },
    /// The machine we run on; the address of its metadata server.
    Machine(String),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Key(key) => write!(f, "the key of {}", key.email),
            Identity::User { .. } => f.write_str("a person's own login"),
            Identity::Machine(host) => {
                write!(f, "the service account of this machine, told by {host}")
            }
        }
    }
}

/// The key of a service account.
pub(super) struct Key {
    pub(super) token_uri: String,
    email: String,
    id: Option<String>,
    pair: RsaKeyPair,
}

/// A file of credentials. Its fields depend on its type.
#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    r#type: String,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
    quota_project_id: Option<String>,
}

impl Identity {
    /// Finds out who we are.
    ///
    /// # Errors
    /// [`Auth`](ErrorClass::Auth) when a file is named and can't be used; never with what is in it.
    pub(super) async fn find(
        configured: Option<&Path>,
        around: &Surroundings,
    ) -> Result<Identity, Trouble> {
        if let Some(path) = configured.or(around.named.as_deref()) {
            return Identity::read(path).await;
        }
        if let Some(path) = around.well_known.as_deref()
            && tokio::fs::try_exists(path).await.unwrap_or(false)
        {
            return Identity::read(path).await;
        }
        let host = around.metadata_host.as_deref().unwrap_or(METADATA_HOST);
        Ok(Identity::Machine(host.to_owned()))
    }

    async fn read(path: &Path) -> Result<Identity, Trouble> {
        let bad = |what: &dyn fmt::Display| {
            let detail = format!("the credentials in {}: {what}", path.display());
            Trouble::new(ErrorClass::Auth, detail)
        };
        let bytes = tokio::fs::read(path).await.map_err(|error| bad(&error))?;
        Identity::parse(&bytes).map_err(|what| bad(&what))
    }

    /// The words of serde_json hold no value of the file, but may name a place in it.
    fn parse(bytes: &[u8]) -> Result<Identity, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| {
            format!(
                "not a file of credentials (line {}, column {})",
                error.line(),
                error.column()
            )
        })?;
        let missing = |key: &str| format!("there is no `{key}` in it");
        let token_uri = file.token_uri.unwrap_or_else(|| TOKEN_URI.to_owned());
        if !is_safe(&token_uri) {
            return Err("its `token_uri` is neither https nor on this host".into());
        }
        match file.r#type.as_str() {
            "service_account" => {
                let pem = file.private_key.ok_or_else(|| missing("private_key"))?;
                let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes());
                let der = der.map_err(|_| "its `private_key` is no PEM of PKCS #8")?;
                let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
                    .map_err(|_| "its `private_key` is no RSA key of 2048 bits or more")?;
                Ok(Identity::Key(Box::new(Key {
                    token_uri,
                    email: file.client_email.ok_or_else(|| missing("client_email"))?,
                    id: file.private_key_id,
                    pair,
                })))
            }
            "authorized_user" => Ok(Identity::User {
                token_uri,
                form: vec![
                    ("grant_type", "refresh_token".to_owned()),
                    (
                        "client_id",
                        file.client_id.ok_or_else(|| missing("client_id"))?,
                    ),
                    (
                        "client_secret",
                        file.client_secret.ok_or_else(|| missing("client_secret"))?,
                    ),
                    (
                        "refresh_token",
                        file.refresh_token.ok_or_else(|| missing("refresh_token"))?,
                    ),
                ],
                quota_project: file.quota_project_id,
            }),
            other => Err(format!(
                "type {other:?} is not known here; there are \"service_account\" and \"authorized_user\""
            )),
        }
    }
}

impl Key {
    /// The signed request for a token (RFC 7523, section 2.1), made at this second since 1970.
    pub(super) fn assertion(&self, now: i64) -> Result<String, Trouble> {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.id });
        let claims = json!({
            "iss": self.email, "scope": SCOPE, "aud": self.token_uri, "iat": now, "exp": now + ASSERTION_SECS,
        });
        let part = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        let made = self.pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        );
        let failed = |_| {
            Trouble::new(
                ErrorClass::Auth,
                "the key of the service account does not sign",
            )
        };
        made.map_err(failed)?;
        Ok(format!(
            "{signed}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(signature)
        ))
    }
}

/// A key goes over TLS, or to this host.
fn is_safe(uri: &str) -> bool {
    reqwest::Url::parse(uri).is_ok_and(|url| {
        let host = url.host_str().unwrap_or_default();
        let here = host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
        url.scheme() == "https" || (url.scheme() == "http" && (here || host == "localhost"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match Identity::parse(text.as_bytes()) {
            Ok(_) => panic!("{text} is taken"),
            Err(why) => why,
        }
    }

    #[test]
    fn a_file_that_can_not_be_used_says_what_is_wrong_and_nothing_that_is_in_it() {
        for (text, why) in [
            ("", "not a file of credentials"),
            (r#"{"type":"external_account"}"#, "external_account"),
            (r#"{"type":"service_account"}"#, "`private_key`"),
            (
                r#"{"type":"service_account","private_key":"hunter2"}"#,
                "PEM",
            ),
            (
                r#"{"type":"service_account","private_key":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}"#,
                "RSA",
            ),
            (
                r#"{"type":"authorized_user","client_id":"hunter2"}"#,
                "`client_secret`",
            ),
            (
                r#"{"type":"authorized_user","token_uri":"http://a.example/hunter2"}"#,
                "https",
            ),
        ] {
            let told = refused(text);
            assert!(told.contains(why) && !told.contains("hunter2"), "{told}");
        }
    }

    #[tokio::test]
    async fn the_configured_file_comes_first_then_the_named_one_then_gclouds_then_the_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| {
            let path = folder.path().join(name);
            let user = json!({
                "type": "authorized_user", "client_id": name, "client_secret": "s", "refresh_token": "r",
            });
            std::fs::write(&path, user.to_string()).expect("the folder is ours");
            path
        };
        let [configured, named, well_known] = ["configured", "named", "well-known"].map(file);
        let mut around = Surroundings {
            named: Some(named),
            well_known: Some(well_known),
            metadata_host: None,
        };
        let found = async |configured: Option<&Path>, around: &Surroundings| match Identity::find(
            configured, around,
        )
        .await
        .expect("found")
        {
            Identity::User { form, .. } => form[1].1.clone(),
            Identity::Machine(host) => host,
            Identity::Key(_) => panic!("no key is here"),
        };
        assert_eq!(found(Some(&configured), &around).await, "configured");
        assert_eq!(found(None, &around).await, "named");
        around.named = None;
        assert_eq!(found(None, &around).await, "well-known");
        around.well_known = Some(folder.path().join("not-there"));
        assert_eq!(found(None, &around).await, METADATA_HOST);
        around.metadata_host = Some("127.0.0.1:9".into());
        assert_eq!(found(None, &around).await, "127.0.0.1:9");
        around.named = Some(folder.path().join("not-there"));
        let Err(trouble) = Identity::find(None, &around).await else {
            panic!("a named file must be there");
        };
        assert_eq!(trouble.class, ErrorClass::Auth);
        assert!(trouble.detail.contains("not-there"), "{trouble}");
    }
}
