//! The address of a Redis, as one URL: where it is, what it is made of, and how to prove who we are.

use std::path::PathBuf;

use super::Secret;
use super::value::{self, Parsed};

/// A Redis, a Sentinel group or a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// What is there.
    pub form: RedisForm,
    /// Hosts and ports, 1 to [`NODES_MAX`]: of Redis itself, of the Sentinels, or of some nodes of the cluster.
    pub nodes: Vec<(String, u16)>,
    /// The user and password for Redis.
    pub login: RedisLogin,
    /// The same for the Sentinels.
    pub sentinel_login: RedisLogin,
    /// The number of the database; 0 in a cluster.
    pub database: u16,
    /// How connections are encrypted; none for plain ones.
    pub tls: Option<RedisTls>,
}

/// What a Redis is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisForm {
    /// One server.
    Single,
    /// Sentinels that know which server is the master of this name.
    Sentinel {
        /// The name by which the Sentinels watch it.
        master: String,
    },
    /// A cluster.
    Cluster,
}

/// Who we are to a server; empty for one that asks nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisLogin {
    /// The ACL user; none for `default`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
}

/// How connections are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// A file with the certificates that are trusted; none for those of the system.
    pub ca: Option<PathBuf>,
    /// Files with our own certificate and its key, for servers that ask for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// More nodes than that are not needed to find the others.
pub const NODES_MAX: usize = 32;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What may stand behind the question mark.
#[derive(Default)]
struct Query {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    sentinel_login: RedisLogin,
}

/// Takes a URL apart; none when it is not of a Redis at all.
pub(super) fn parse(text: &str) -> Option<Parsed<RedisUrl>> {
    let (scheme, rest) = text.split_once("://")?;
    let (tls, form) = match scheme.strip_prefix("redis")? {
        "" => (false, ""),
        "s" => (true, ""),
        "+sentinel" => (false, "sentinel"),
        "s+sentinel" => (true, "sentinel"),
        "+cluster" => (false, "cluster"),
        "s+cluster" => (true, "cluster"),
        _ => {
            let known = "is of no known kind; there are redis, rediss, redis+sentinel, rediss+sentinel, \
                         redis+cluster and rediss+cluster";
            return Some(Err(known.to_owned()));
        }
    };
    Some(parse_rest(rest, tls, form))
}

fn parse_rest(rest: &str, tls: bool, form: &str) -> Parsed<RedisUrl> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let query = parse_query(query)?;
    let (login, rest) = match rest.rsplit_once('@') {
        Some((login, rest)) => (parse_login(login)?, rest),
        None => (RedisLogin::default(), rest),
    };
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = match form {
        "sentinel" => SENTINEL_PORT,
        _ => REDIS_PORT,
    };
    let nodes = parse_nodes(hosts, port)?;
    let (form, database) = match form {
        "sentinel" => parse_master(path)?,
        "cluster" if path.is_empty() => (RedisForm::Cluster, 0),
        "cluster" => {
            return Err("names a database, and a cluster has only one; leave out the path".into());
        }
        _ if nodes.len() > 1 => {
            return Err(
                "names several servers; write redis+sentinel:// or redis+cluster://".into(),
            );
        }
        _ => (RedisForm::Single, parse_database(path)?),
    };
    if query.sentinel_login != RedisLogin::default() && !matches!(form, RedisForm::Sentinel { .. })
    {
        return Err("has a login for Sentinels and names none; write redis+sentinel://".into());
    }
    let encryption = parse_tls(tls, query.ca, query.cert, query.key)?;
    Ok(RedisUrl {
        form,
        nodes,
        login,
        sentinel_login: query.sentinel_login,
        database,
        tls: encryption,
    })
}

fn parse_query(query: &str) -> Parsed<Query> {
    let mut found = Query::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let text = decoded(text)?;
        match name {
            "ca" => found.ca = Some(text.into()),
            "cert" => found.cert = Some(text.into()),
            "key" => found.key = Some(text.into()),
            "sentinel_user" => found.sentinel_login.user = Some(text),
            "sentinel_password" => found.sentinel_login.password = Some(Secret::new(text)),
            _ => {
                let known = "has something unknown behind the question mark; there are ca, cert, key, sentinel_user \
                             and sentinel_password, and a ? in a password is written %3F";
                return Err(known.into());
            }
        }
    }
    Ok(found)
}

fn parse_login(text: &str) -> Parsed<RedisLogin> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (decoded(user)?, Some(Secret::new(decoded(password)?))),
        None => {
            return Err("has a user without a password; write redis://user:password@host".into());
        }
    };
    let user = (!user.is_empty()).then_some(user);
    Ok(RedisLogin { user, password })
}

fn parse_nodes(text: &str, port: u16) -> Parsed<Vec<(String, u16)>> {
    let node = |text: &str| {
        let address = value::address(text, port).map_err(
            |_| "has no host that could be one; write it like \"redis://127.0.0.1:6379\"",
        )?;
        let (host, port) = address.rsplit_once(':').expect("an address has a port");
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok((host, port.parse().expect("an address has a port")))
    };
    let nodes: Vec<_> = text.split(',').map(node).collect::<Parsed<_>>()?;
    match nodes.len() <= NODES_MAX {
        true => Ok(nodes),
        false => Err(format!(
            "names more than {NODES_MAX} hosts; some of them are enough"
        )),
    }
}

fn parse_master(path: &str) -> Parsed<(RedisForm, u16)> {
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    let known = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    match !master.is_empty() && master.chars().all(known) {
        true => {
            let master = master.to_owned();
            Ok((RedisForm::Sentinel { master }, parse_database(database)?))
        }
        false => Err(
            "does not name the master; write it like \"redis+sentinel://host:26379/mymaster\""
                .into(),
        ),
    }
}

fn parse_database(path: &str) -> Parsed<u16> {
    match path {
        "" => Ok(0),
        number => number
            .parse()
            .map_err(|_| "has a path that is not the number of a database; write it like \"redis://127.0.0.1/0\"".into()),
    }
}

fn parse_tls(
    tls: bool,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Parsed<Option<RedisTls>> {
    let own = match (cert, key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((cert, key)),
        _ => return Err("needs both cert and key, or neither".into()),
    };
    match tls {
        true => Ok(Some(RedisTls { ca, own })),
        false if ca.is_none() && own.is_none() => Ok(None),
        false => Err("has certificates and is not encrypted; write rediss".into()),
    }
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Parsed<String> {
    let wrong = || "has a % that begins no character; write % itself as %25".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match first {
            b'%' => {
                let (hex, after) = after.split_at_checked(2).ok_or_else(wrong)?;
                let hex = std::str::from_utf8(hex).map_err(|_| wrong())?;
                bytes.push(u8::from_str_radix(hex, 16).map_err(|_| wrong())?);
                rest = after;
            }
            other => {
                bytes.push(*other);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> RedisUrl {
        parse(text).expect("it is of a Redis").expect(text)
    }

    fn bad(text: &str) -> String {
        parse(text).expect("it is of a Redis").expect_err(text)
    }

    #[test]
    fn each_form_is_told_by_its_scheme() {
        let single = good("redis://127.0.0.1");
        assert_eq!(single.form, RedisForm::Single);
        assert_eq!(single.nodes, [("127.0.0.1".to_owned(), 6379)]);
        assert_eq!((single.database, single.tls), (0, None));

        let sentinel = good("redis+sentinel://a:1,b,[::1]:3/my.master-1/7");
        let master = "my.master-1".to_owned();
        assert_eq!(sentinel.form, RedisForm::Sentinel { master });
        let nodes =
            [("a", 1), ("b", 26379), ("::1", 3)].map(|(host, port)| (host.to_owned(), port));
        assert_eq!(sentinel.nodes, nodes);
        assert_eq!(sentinel.database, 7);

        let cluster = good("rediss+cluster://a,b:7?ca=/etc/ca%20s.pem");
        assert_eq!(cluster.form, RedisForm::Cluster);
        let ca = Some("/etc/ca s.pem".into());
        assert_eq!(cluster.tls, Some(RedisTls { ca, own: None }));
        assert_eq!(parse("memory:"), None);
        assert_eq!(parse("file:redis"), None);
    }

    #[test]
    fn a_password_may_have_any_character_and_is_not_printed() {
        let url = good("redis://room:p%40ss:%2F@host:7/2");
        assert_eq!(url.login.user.as_deref(), Some("room"));
        let password = url.login.password.as_ref().map(Secret::expose);
        assert_eq!(password, Some("p@ss:/"));
        assert!(!format!("{url:?}").contains("ss:"), "{url:?}");
        let url = good("redis+sentinel://:x@host/m?sentinel_user=s&sentinel_password=hunter2");
        assert_eq!(url.login.user, None);
        assert_eq!(url.sentinel_login.user.as_deref(), Some("s"));
        assert!(!format!("{url:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_mend() {
        for (text, said) in [
            ("redis://", "write it like"),
            ("redis://a,b", "write redis+sentinel://"),
            ("redis://a/x", "number of a database"),
            ("redis://a/70000", "number of a database"),
            ("redis://a:99999", "write it like"),
            ("redis://a b", "write it like"),
            ("redis://user@a", "without a password"),
            ("redis://:%zz@a", "%25"),
            ("redis://:%e4@a", "%25"),
            ("redis://a?ca=/x", "write rediss"),
            ("rediss://a?cert=/x", "both cert and key"),
            ("redis://a?timeout=1", "there are ca"),
            ("redis://a?sentinel_user=x", "write redis+sentinel://"),
            ("redis+sentinel://a", "name the master"),
            ("redis+sentinel://a//1", "name the master"),
            ("redis+cluster://a/1", "leave out the path"),
            ("redis+tls://a", "no known kind"),
        ] {
            let problem = bad(text);
            assert!(problem.contains(said), "{text}: {problem}");
        }
        let many = vec!["a"; NODES_MAX + 1].join(",");
        assert!(bad(&format!("redis+cluster://{many}")).contains("more than"));
    }
}
