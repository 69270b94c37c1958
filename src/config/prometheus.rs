//! The Prometheus that is asked for load, and that is told which instances there are, as configured.

use std::path::PathBuf;

use super::reading::Reading;
use super::secret::Secret;
use super::value::{self, Parsed};

/// Prometheus, from both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prometheus {
    /// Where it is asked; none where it is not.
    pub server: Option<PrometheusServer>,
    /// The file that the list of instances is written to; none where it is only fetched.
    pub targets_file: Option<PathBuf>,
    /// The label `job` of the instances in that list.
    pub job: String,
}

/// Where a Prometheus is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusServer {
    /// Its address, `http://` or `https://`, without a slash at the end and without a name or a password.
    pub url: String,
    /// What it wants to see first.
    pub login: PrometheusLogin,
}

/// What a Prometheus wants to see before it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrometheusLogin {
    /// Nothing.
    None,
    /// A name and a password (RFC 7617).
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token (RFC 6750).
    Bearer(Secret),
}

impl PrometheusServer {
    /// One that answers everybody.
    pub(super) fn without_login(url: String) -> PrometheusServer {
        let login = PrometheusLogin::None;
        PrometheusServer { url, login }
    }
}

impl Prometheus {
    /// Reads `[prometheus]`.
    pub(super) fn read(section: &Reading<'_>) -> Option<Prometheus> {
        let url = section.read("url", url);
        let login = login(section);
        let targets_file = section.read("targets_file", value::words);
        let targets_file = targets_file.map(PathBuf::from);
        if let Some(path) = &targets_file {
            // Prometheus tells the form by the name, and reads no other file (`file_sd_configs`).
            if path.extension().is_none_or(|ending| ending != "json") {
                let message = format!(
                    "{} does not end in .json, and Prometheus would not read it; write a name like \"anteroom.json\"",
                    path.display()
                );
                section.fault("targets_file", message);
            }
            section.warn_of_folder("targets_file", path);
        }
        let job = section.read("job", value::words);
        Some(Prometheus {
            server: url.map(|url| PrometheusServer { url, login }),
            targets_file,
            job: job?,
        })
    }
}

fn login(section: &Reading<'_>) -> PrometheusLogin {
    let token = section.secret("token");
    let username = section.read("username", value::words);
    let password = section.secret("password");
    let written: Vec<_> = ["token", "username", "password"]
        .into_iter()
        .filter(|key| section.has(key))
        .collect();
    match written[..] {
        [] => {}
        [first, ..] if !section.has("url") => {
            let mend = "is for asking Prometheus, whose url is missing; write url = \"http://127.0.0.1:9090\"";
            section.fault(first, mend);
        }
        ["token"] | ["username", "password"] => {}
        ["token", other, ..] => {
            section.warn(
                other,
                "is not sent, because there is a token; take one of them out",
            );
        }
        ["username", ..] => {
            let mend =
                "is missing beside username; write password = { env = \"PROMETHEUS_PASSWORD\" }";
            section.fault("password", mend);
        }
        _ => section.fault(
            "username",
            "is missing beside password; write username = \"anteroom\"",
        ),
    }
    match (token, username, password) {
        (Some(token), ..) => PrometheusLogin::Bearer(token),
        (None, Some(username), Some(password)) => PrometheusLogin::Basic { username, password },
        _ => PrometheusLogin::None,
    }
}

/// Where a Prometheus is asked. A password in it would be shown in logs.
pub(super) fn url(text: &str) -> Parsed<String> {
    let url = value::url(text)?;
    match url.contains('@') {
        true => Err("names who asks; write that into [prometheus] as username and password".into()),
        false => Ok(url),
    }
}
