//! Connections: to one server, to the master that Sentinels name, to a cluster. What is connected here has
//! answered once, so a server that accepts and then says nothing is not taken for one that is there.

use std::path::Path;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, Value, cmd,
};

use super::settings::{Form, Login, Settings, Tls};

/// How long one Sentinel may take: one that hangs must not hide the others.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(200);

/// How often a cluster's client follows a key that has moved within one call.
const CLUSTER_RETRIES: u32 = 3;

/// Between two tries of a cluster's client, in milliseconds: less, and more.
const CLUSTER_RETRY_MS: (u64, u64) = (5, 40);

/// A connection that many callers use at once. Clones are the same connection.
#[derive(Clone)]
pub(super) enum Wire {
    One(MultiplexedConnection),
    Many(Box<ClusterConnection>),
}

impl Wire {
    /// Sends a command and waits for its answer, without a deadline of its own.
    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Wire::One(one) => command.query_async(one).await,
            Wire::Many(many) => Box::pin(command.query_async(&mut **many)).await,
        }
    }

    /// The same to the server that has this slot; where there is one server, to that one.
    pub(super) async fn send_at(&mut self, slot: u16, command: &Cmd) -> RedisResult<Value> {
        match self {
            Wire::One(one) => command.query_async(one).await,
            Wire::Many(many) => {
                let master =
                    SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
                let sent = many.route_command(command.clone(), RoutingInfo::SingleNode(master));
                Box::pin(sent).await
            }
        }
    }
}

/// Why there is no connection: what was tried, and what came of it.
#[derive(Debug, thiserror::Error)]
#[error("{at}: {error}")]
pub(super) struct NoWire {
    pub(super) at: String,
    pub(super) error: RedisError,
}

/// Connects, however long it takes.
pub(super) async fn connect(settings: &Settings) -> Result<Wire, NoWire> {
    match &settings.form {
        Form::Single => {
            let node = &settings.nodes[0];
            let one = one(settings, node, &settings.login).await;
            one.map(Wire::One).map_err(at("", node))
        }
        Form::Sentinel { master } => {
            let mut failure = None;
            for node in &settings.nodes {
                match by_sentinel(settings, node, master).await {
                    Ok(one) => return Ok(Wire::One(one)),
                    Err(error) => failure = Some(error),
                }
            }
            Err(failure.expect("there is at least one Sentinel"))
        }
        Form::Cluster => {
            let many = Box::pin(many(settings)).await;
            let many = many.map_err(at("the cluster of ", &settings.nodes[0]))?;
            Ok(Wire::Many(Box::new(many)))
        }
    }
}

/// What the Sentinels say of their masters, from the first that answers; it ends with the connection.
pub(super) async fn sentinel_news(settings: &Settings) -> Option<PubSubStream> {
    for node in &settings.nodes {
        let subscribed = async {
            let mut told = client(settings, node, &settings.sentinel_login, 0)?
                .get_async_pubsub()
                .await?;
            told.subscribe("+switch-master").await?;
            Ok::<_, RedisError>(told.into_on_message())
        };
        if let Ok(Ok(news)) = tokio::time::timeout(SENTINEL_TIMEOUT, subscribed).await {
            return Some(news);
        }
    }
    None
}

/// Everything that is published under the prefix of our keys; it ends with the connection.
pub(super) async fn published(settings: &Settings) -> Result<PubSubStream, NoWire> {
    let (node, database) = match &settings.form {
        Form::Single => (settings.nodes[0].clone(), settings.database),
        Form::Sentinel { master } => (master_of(settings, master).await?, settings.database),
        // A cluster's nodes pass on to all others what is published on one.
        Form::Cluster => (settings.nodes[0].clone(), 0),
    };
    let mut failure = None;
    let nodes = match settings.form {
        Form::Cluster => settings.nodes.clone(),
        Form::Single | Form::Sentinel { .. } => vec![node],
    };
    for node in &nodes {
        let subscribed = async {
            let client = client(settings, node, &settings.login, database)?;
            let mut told = client.get_async_pubsub().await?;
            told.psubscribe(format!("{}:*", settings.prefix)).await?;
            Ok::<_, RedisError>(told.into_on_message())
        };
        match subscribed.await {
            Ok(messages) => return Ok(messages),
            Err(error) => failure = Some(at("", node)(error)),
        }
    }
    Err(failure.expect("there is at least one node"))
}

fn at(what: &str, node: &(String, u16)) -> impl FnOnce(RedisError) -> NoWire {
    let at = format!("{what}{}:{}", node.0, node.1);
    move |error| NoWire { at, error }
}

/// The master, by the first Sentinel that names it.
async fn master_of(settings: &Settings, master: &str) -> Result<(String, u16), NoWire> {
    let mut failure = None;
    for sentinel in &settings.nodes {
        match named_by(settings, sentinel, master).await {
            Ok(node) => return Ok(node),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.expect("there is at least one Sentinel"))
}

/// The address that a Sentinel names.
async fn named_by(
    settings: &Settings,
    sentinel: &(String, u16),
    master: &str,
) -> Result<(String, u16), NoWire> {
    let asked = async {
        let mut asked = open(&client(settings, sentinel, &settings.sentinel_login, 0)?).await?;
        let mut question = cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(master);
        let answer: Option<(String, u16)> = question.query_async(&mut asked).await?;
        answer.ok_or_else(|| {
            let what = "it watches no master of the name that store.url gives";
            RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, what))
        })
    };
    let asked = tokio::time::timeout(SENTINEL_TIMEOUT, asked).await;
    let asked = asked.unwrap_or_else(|_| Err(silent()));
    asked.map_err(at("the Sentinel ", sentinel))
}

async fn by_sentinel(
    settings: &Settings,
    sentinel: &(String, u16),
    master: &str,
) -> Result<MultiplexedConnection, NoWire> {
    let node = named_by(settings, sentinel, master).await?;
    let whole = async {
        let mut one = open(&client(
            settings,
            &node,
            &settings.login,
            settings.database,
        )?)
        .await?;
        // Just after a failover, a Sentinel may still name the old master.
        let role: Vec<Value> = cmd("ROLE").query_async(&mut one).await?;
        match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok(one),
            _ => {
                let what = "it is no master any more";
                Err(RedisError::from((ErrorKind::Client, what)))
            }
        }
    };
    whole.await.map_err(at("the master ", &node))
}

fn silent() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

async fn one(
    settings: &Settings,
    node: &(String, u16),
    login: &Login,
) -> RedisResult<MultiplexedConnection> {
    let mut one = open(&client(settings, node, login, settings.database)?).await?;
    let _: Value = cmd("PING").query_async(&mut one).await?;
    Ok(one)
}

async fn many(settings: &Settings) -> RedisResult<ClusterConnection> {
    let nodes = settings.nodes.iter();
    let nodes: RedisResult<Vec<_>> = nodes
        .map(|node| info(settings, node, &settings.login, 0))
        .collect();
    let (least, most) = CLUSTER_RETRY_MS;
    let mut builder = ClusterClientBuilder::new(nodes?)
        .connection_timeout(settings.call_timeout)
        .response_timeout(settings.call_timeout)
        .retries(CLUSTER_RETRIES)
        .min_retry_wait(least)
        .max_retry_wait(most);
    if let Some(tls) = &settings.tls {
        builder = builder.certs(certificates(tls)?);
    }
    builder.build()?.get_async_connection().await
}

async fn open(client: &Client) -> RedisResult<MultiplexedConnection> {
    // Deadlines are the callers': the link has its own for a call and for a connection.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

fn client(
    settings: &Settings,
    node: &(String, u16),
    login: &Login,
    database: u16,
) -> RedisResult<Client> {
    let info = info(settings, node, login, database)?;
    match &settings.tls {
        Some(tls) => Client::build_with_tls(info, certificates(tls)?),
        None => Client::open(info),
    }
}

fn info(
    settings: &Settings,
    node: &(String, u16),
    login: &Login,
    database: u16,
) -> RedisResult<ConnectionInfo> {
    let (host, port) = node.clone();
    let address = match settings.tls {
        Some(_) => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
        None => ConnectionAddr::Tcp(host, port),
    };
    // The library's name is not sent: a user with few rights may not be allowed to.
    let mut who = RedisConnectionInfo::default()
        .set_db(database.into())
        .set_skip_set_lib_name();
    if let Some(user) = &login.user {
        who = who.set_username(user);
    }
    if let Some(password) = &login.password {
        who = who.set_password(password);
    }
    Ok(address.into_connection_info()?.set_redis_settings(who))
}

fn certificates(tls: &Tls) -> RedisResult<TlsCertificates> {
    let own = tls.own.as_ref().map(|(cert, key)| {
        Ok::<_, RedisError>(ClientTlsConfig {
            client_cert: read(cert)?,
            client_key: read(key)?,
        })
    });
    Ok(TlsCertificates {
        client_tls: own.transpose()?,
        root_cert: tls.ca.as_deref().map(read).transpose()?,
    })
}

fn read(path: &Path) -> RedisResult<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let told = format!("{}: {error}", path.display());
        std::io::Error::new(error.kind(), told).into()
    })
}
