//! One client for all peers.

use std::path::PathBuf;
use std::sync::Arc;

use incident::Untrusted;
use reqwest::{RequestBuilder, Url};
use serde::de::DeserializeOwned;

use super::config::Config;
use super::error::{OpenError, ReadError};
use super::wire::{Alert, Group, Named, Silence, Status};
use crate::config::{ByteSize, Span, read_secret};
use crate::http;

/// The peers of one Alertmanager cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Alertmanager {
    peers: Arc<[Peer]>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Peer {
    base: Url,
    name: String,
    http: reqwest::Client,
    login: Login,
    timeout: Span,
    body_max: ByteSize,
}

/// How to log in; the secrets are read for every request, so that they can be changed.
#[derive(Debug, Clone)]
enum Login {
    Open,
    Bearer(PathBuf),
    Basic(String, PathBuf),
}

/// A label that must have a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    name: String,
    value: String,
}

impl Matcher {
    /// `name="value"`. An empty value also matches where there is no such label.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }

    /// As Alertmanager reads it.
    fn text(&self) -> String {
        let mut text = format!("{}=\"", self.name);
        for c in self.value.chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
        text
    }
}

impl Alertmanager {
    /// Reads the certificates; asks nothing yet.
    ///
    /// # Errors
    /// An address or the certificates cannot be used.
    pub fn new(config: &Config) -> Result<Self, OpenError> {
        let http = match &config.ca_file {
            None => http::client(config.timeout.0).map_err(|e| OpenError::Tls(e.to_string()))?,
            Some(file) => {
                let bad = |why: String| OpenError::Ca(format!("{}: {why}", file.display()));
                let pem = std::fs::read(file).map_err(|error| bad(error.to_string()))?;
                if !String::from_utf8_lossy(&pem).contains("BEGIN CERTIFICATE") {
                    return Err(bad(String::from("it holds no certificate")));
                }
                http::client_trusting(config.timeout.0, &pem)
                    .map_err(|error| bad(error.to_string()))?
            }
        };
        let login = match (&config.token_file, &config.basic) {
            (Some(file), _) => Login::Bearer(file.clone()),
            (None, Some(basic)) => {
                Login::Basic(basic.username.clone(), basic.password_file.clone())
            }
            (None, None) => Login::Open,
        };
        let peers = config.urls.iter().map(|url| {
            let bad = |why: String| OpenError::Url {
                url: url.clone(),
                why,
            };
            let mut base = Url::parse(url).map_err(|error| bad(error.to_string()))?;
            if !base.path().ends_with('/') {
                base.set_path(&format!("{}/", base.path()));
            }
            Ok(Peer {
                name: base.as_str().trim_end_matches('/').to_owned(),
                base,
                http: http.clone(),
                login: login.clone(),
                timeout: config.timeout,
                body_max: config.body_max,
            })
        });
        let peers = peers.collect::<Result<_, OpenError>>()?;
        Ok(Self { peers })
    }

    /// All of them.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Asks one peer after the other until one answers.
    ///
    /// # Errors
    /// Nobody does: what the last one said.
    pub async fn first<T>(
        &self,
        ask: impl AsyncFn(&Peer) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let mut last = ReadError::NotConfigured;
        for peer in self.peers.iter() {
            match ask(peer).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Peer {
    /// Its address, without credentials.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn status(&self) -> Result<Status, ReadError> {
        self.ask("api/v2/status", &[]).await
    }

    /// Names of its receivers.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn receivers(&self) -> Result<Vec<String>, ReadError> {
        let found: Vec<Named> = self.ask("api/v2/receivers", &[]).await?;
        Ok(found.into_iter().map(|receiver| receiver.name).collect())
    }

    /// Alerts that have not ended and match, suppressed ones too, for whichever receiver.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn alerts(&self, matchers: &[Matcher]) -> Result<Vec<Alert>, ReadError> {
        let query = filters(matchers);
        self.ask("api/v2/alerts", &query).await
    }

    /// Alerts that have not ended, suppressed ones too, in the groups that are sent to `receiver`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn groups(&self, receiver: &str) -> Result<Vec<Group>, ReadError> {
        let query = [("receiver", quoted(receiver))];
        let groups: Vec<Group> = self.ask("api/v2/alerts/groups", &query).await?;
        let ours = |group: &Group| group.receiver() == receiver;
        Ok(groups.into_iter().filter(ours).collect())
    }

    /// Silences whose matchers are among the given ones; all of them for none. Expired ones too.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn silences(&self, matchers: &[Matcher]) -> Result<Vec<Silence>, ReadError> {
        let query = filters(matchers);
        self.ask("api/v2/silences", &query).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, ReadError> {
        let url = self.base.join(path).map_err(|error| self.broken(&error))?;
        let request = self.login(self.http.get(url).query(query))?;
        let mut response = request.send().await.map_err(|e| self.transport(e))?;
        let status = response.status();
        match status.as_u16() {
            status @ (429 | 500..) => {
                return Err(ReadError::Unwell {
                    peer: self.name.clone(),
                    status,
                });
            }
            _ if status.is_success() => {}
            status => {
                return Err(ReadError::Refused {
                    peer: self.name.clone(),
                    status,
                });
            }
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.transport(e))? {
            if body.len() + chunk.len() > self.body_max.get() {
                return Err(ReadError::TooLarge {
                    peer: self.name.clone(),
                    limit: self.body_max,
                });
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|error| ReadError::Unreadable {
            peer: self.name.clone(),
            why: Untrusted::new(error.to_string()).one_line(200),
        })
    }

    fn login(&self, request: RequestBuilder) -> Result<RequestBuilder, ReadError> {
        let read = |file: &PathBuf| {
            read_secret(file).map_err(|error| ReadError::Credentials(error.to_string()))
        };
        Ok(match &self.login {
            Login::Open => request,
            Login::Bearer(file) => request.bearer_auth(read(file)?.expose()),
            Login::Basic(user, file) => request.basic_auth(user, Some(read(file)?.expose())),
        })
    }

    fn transport(&self, error: reqwest::Error) -> ReadError {
        if error.is_timeout() {
            return ReadError::TimedOut {
                peer: self.name.clone(),
                within: self.timeout,
            };
        }
        let error = error.without_url();
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        match causes.last() {
            Some(root) => self.broken(root),
            None => self.broken(&error),
        }
    }

    fn broken(&self, why: &dyn std::error::Error) -> ReadError {
        ReadError::Unreachable {
            peer: self.name.clone(),
            why: Untrusted::new(why.to_string()).one_line(200),
        }
    }
}

fn filters(matchers: &[Matcher]) -> Vec<(&'static str, String)> {
    let texts = matchers.iter().map(Matcher::text);
    texts.map(|text| ("filter", text)).collect()
}

/// Alertmanager takes the name of a receiver for a regular expression.
fn quoted(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_and_receivers_are_quoted() {
        let text = |value: &str| Matcher::equal("a", value).text();
        assert_eq!(text("plain"), r#"a="plain""#);
        assert_eq!(text("say \"x\"\\\n"), r#"a="say \"x\"\\\n""#);
        assert_eq!(quoted("team.x+(1)"), r"team\.x\+\(1\)");
    }
}
