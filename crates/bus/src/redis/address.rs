//! Addresses and credentials: how to reach a server, a sentinel or a node.

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use runtime::config::read_secret;

use crate::config::Config;
use crate::error::OpenError;

/// How to reach `url`, which may name no other database than `database`.
pub(crate) fn parse(url: &str, database: u32) -> Result<ConnectionInfo, String> {
    // The text of the error is ours, because redis's would show the address and what is in it.
    let info = url
        .into_connection_info()
        .map_err(|_| String::from("it is no redis address"))?;
    let named = info.redis_settings().db();
    let database = i64::from(database);
    if named != 0 && named != database {
        return Err(format!(
            "it names database {named}, bus.database is {database}"
        ));
    }
    let settings = info.redis_settings().clone().set_db(database);
    Ok(info
        .set_redis_settings(settings)
        .set_tcp_settings(tcp_settings()))
}

/// Small requests that wait for their answer: Nagle's algorithm would only delay them.
fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// The part of a key or prefix between braces that decides about its slot.
pub(super) fn tag(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

/// A host and port that somebody named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            return write!(f, "[{host}]:{port}");
        }
        write!(f, "{host}:{port}")
    }
}

impl Node {
    /// Reads `host`, `host:port`, `[v6]:port`, with `redis://` or `rediss://` in front or without.
    pub(super) fn parse(text: &str, port: u16) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("redis" | "valkey", rest)) => (false, rest),
            Some(("rediss" | "valkeys", rest)) => (true, rest),
            Some((scheme, _)) => return Err(format!("{scheme:?} is no scheme of redis")),
        };
        if rest.contains('@') {
            return Err(String::from(
                "it holds credentials, which belong in a password_file",
            ));
        }
        let (host, port) = if let Some(v6) = rest.strip_prefix('[') {
            let (host, after) = v6
                .split_once(']')
                .ok_or_else(|| format!("{rest:?} lacks the closing bracket"))?;
            match after.strip_prefix(':') {
                Some(port) => (host, port.parse().ok()),
                None => (host, after.is_empty().then_some(port)),
            }
        } else if let Some((host, port)) = rest.split_once(':') {
            (host, port.parse().ok())
        } else {
            (rest, Some(port))
        };
        let named = !host.is_empty() && !host.contains(['/', '?', '#', ' ']);
        match port {
            Some(port @ 1..) if named => Ok(Self {
                host: host.to_owned(),
                port,
                tls,
            }),
            _ => Err(format!("{rest:?} is no host and port")),
        }
    }

    /// How to reach it with `settings`.
    pub(super) fn info(&self, settings: &RedisConnectionInfo) -> Result<ConnectionInfo, String> {
        let addr = if self.tls {
            ConnectionAddr::TcpTls {
                host: self.host.clone(),
                port: self.port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(self.host.clone(), self.port)
        };
        let info = addr
            .into_connection_info()
            .map_err(|_| format!("{self} is no address"))?;
        Ok(info
            .set_redis_settings(settings.clone())
            .set_tcp_settings(tcp_settings()))
    }
}

/// The nodes that are named; the configuration was checked.
pub(super) fn nodes(named: &[String], port: u16) -> Result<Vec<Node>, OpenError> {
    let nodes: Result<Vec<Node>, String> =
        named.iter().map(|node| Node::parse(node, port)).collect();
    let nodes = nodes.map_err(OpenError::Address)?;
    if nodes.is_empty() {
        let why = String::from("no sentinel or node is named");
        return Err(OpenError::Address(why));
    }
    Ok(nodes)
}

/// User, password and database at the servers that hold the data.
pub(super) fn settings(config: &Config, database: u32) -> Result<RedisConnectionInfo, OpenError> {
    let settings = RedisConnectionInfo::default().set_db(i64::from(database));
    with_credentials(
        settings,
        config.user.as_deref(),
        config.password_file.as_deref(),
    )
}

/// User and password at the sentinels.
pub(super) fn sentinel_settings(config: &Config) -> Result<RedisConnectionInfo, OpenError> {
    let sentinel = &config.sentinel;
    with_credentials(
        RedisConnectionInfo::default(),
        sentinel.user.as_deref(),
        sentinel.password_file.as_deref(),
    )
}

fn with_credentials(
    mut settings: RedisConnectionInfo,
    user: Option<&str>,
    password_file: Option<&std::path::Path>,
) -> Result<RedisConnectionInfo, OpenError> {
    if let Some(user) = user {
        settings = settings.set_username(user);
    }
    if let Some(file) = password_file {
        let word = read_secret(file).map_err(|error| OpenError::Address(error.to_string()))?;
        settings = settings.set_password(word.expose());
    }
    Ok(settings)
}

/// The one server of `kind = "redis"`.
pub(super) fn server(config: &Config) -> Result<ConnectionInfo, OpenError> {
    let url = match &config.url_file {
        None => config.url.clone(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                OpenError::Address(format!("{} cannot be read: {error}", path.display()))
            })?;
            text.trim().to_owned()
        }
    };
    let info = parse(&url, config.database).map_err(OpenError::Address)?;
    let settings = with_credentials(
        info.redis_settings().clone(),
        config.user.as_deref(),
        config.password_file.as_deref(),
    )?;
    Ok(info.set_redis_settings(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_written_in_several_ways() {
        let check = |text: &str, expect: &str| {
            let found = match Node::parse(text, 26379) {
                Ok(node) => format!("{node}{}", if node.tls { " tls" } else { "" }),
                Err(why) => why,
            };
            assert_eq!(found, expect, "{text}");
        };
        check("sentinel-0", "sentinel-0:26379");
        check("sentinel-0:5000", "sentinel-0:5000");
        check("redis://10.0.0.1:7000", "10.0.0.1:7000");
        check("rediss://redis.example", "redis.example:26379 tls");
        check("[::1]:7000", "[::1]:7000");
        check("[::1]", "[::1]:26379");
        check("[::1", "\"[::1\" lacks the closing bracket");
        check("http://redis", "\"http\" is no scheme of redis");
        check("redis:port", "\"redis:port\" is no host and port");
        check("redis:0", "\"redis:0\" is no host and port");
        check("redis/4", "\"redis/4\" is no host and port");
        check("", "\"\" is no host and port");
        check(
            "redis://:word@redis:1",
            "it holds credentials, which belong in a password_file",
        );
    }

    #[test]
    fn only_a_tag_with_something_in_it_is_a_tag() {
        let check = |text, expect| assert_eq!(tag(text), expect, "{text}");
        check("{a}:", Some("a"));
        check("x{a}{b}", Some("a"));
        check("{}{a}", None);
        check("a}b{", None);
        check("", None);
    }
}
