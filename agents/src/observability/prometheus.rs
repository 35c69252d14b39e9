//! The Prometheus HTTP API, reading only: bounded answers, named failures.
//!
//! Never: an endpoint that changes anything, a redirect, a body without a limit.

mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use incident::ports::{Cx, Entropy};
use incident::{Classify, Code, Kind, Untrusted, Window};
use jiff::Timestamp;
use runtime::Policy;
use runtime::config::{ByteSize, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::config::Config;
use wire::{Failure, Matrix, Rules, parse};

/// After so many questions in a row without any answer the rest is not asked: each would wait for
/// its time-out and use up the deadline of the whole investigation.
const SILENT_MAX: u32 = 3;
/// Longest token file that is read.
const TOKEN_MAX: u64 = 64 * 1024;

/// Why a question to Prometheus has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadError {
    /// Nobody configured one.
    #[error("no Prometheus is configured; set agents.observability.prometheus_url")]
    NotConfigured,
    /// The token file cannot be used.
    #[error("the token file cannot be read: {0}; check agents.observability.token_file")]
    Token(String),
    /// No connection, or it broke.
    #[error("Prometheus cannot be reached: {0}; check agents.observability.prometheus_url")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("Prometheus did not answer in time ({0})")]
    TimedOut(&'static str),
    /// 401, 403 or another status that the API does not document.
    #[error(
        "Prometheus answered HTTP {status}; check agents.observability.token_file and what stands between"
    )]
    Refused {
        /// The status.
        status: u16,
    },
    /// 5xx and 429.
    #[error("Prometheus failed with HTTP {status}: {why}")]
    Unwell {
        /// The status.
        status: u16,
        /// What it said.
        why: String,
    },
    /// 400 and 422: the query cannot be read or executed.
    #[error("Prometheus cannot execute the query: {0}")]
    BadQuery(String),
    /// The body is longer than the limit.
    #[error("the answer is longer than {0}; raise agents.observability.body_max")]
    TooLarge(ByteSize),
    /// The body is not what the API documents.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

impl Classify for ReadError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unwell { status: 429, .. } => Kind::Overloaded { retry_after: None },
            Self::Unreachable(_) | Self::Unwell { .. } => Kind::Transient,
            Self::TimedOut(_) => Kind::Exhausted,
            Self::NotConfigured
            | Self::Token(_)
            | Self::Refused { .. }
            | Self::BadQuery(_)
            | Self::TooLarge(_)
            | Self::Unreadable(_) => Kind::Permanent,
        }
    }

    fn code(&self) -> Code {
        Code(match self {
            Self::NotConfigured => "E-OBS-001",
            Self::Token(_) => "E-OBS-002",
            Self::Unreachable(_) => "E-OBS-003",
            Self::TimedOut(_) => "E-OBS-004",
            Self::Refused { .. } => "E-OBS-005",
            Self::Unwell { .. } => "E-OBS-006",
            Self::BadQuery(_) => "E-OBS-007",
            Self::TooLarge(_) => "E-OBS-008",
            Self::Unreadable(_) => "E-OBS-009",
        })
    }
}

/// Label names and values of one series.
pub(super) type Labels = BTreeMap<String, String>;

/// An answer and what Prometheus said to qualify it.
#[derive(Debug)]
pub(super) struct Answer<T> {
    /// The data.
    pub(super) data: T,
    /// Warnings: the answer may be partial.
    pub(super) warnings: Vec<Untrusted>,
}

/// One series of a matrix.
#[derive(Debug)]
pub(super) struct Samples {
    /// Its labels.
    pub(super) labels: Labels,
    /// Finite samples in order of time.
    pub(super) points: Vec<(Timestamp, f64)>,
}

/// An alerting rule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    /// Its expression.
    pub(super) query: String,
    /// Its `for`.
    pub(super) held_for: Duration,
}

/// What the exporter says of a metric.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Metadata {
    /// `counter`, `gauge`, `histogram`, `summary` or `unknown`.
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    /// Mostly empty.
    #[serde(default)]
    pub(super) unit: String,
}

/// A range query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range<'a> {
    /// PromQL.
    pub(super) query: &'a str,
    /// First and last instant.
    pub(super) window: Window,
    /// Between points.
    pub(super) step: Duration,
}

/// One Prometheus, for one incident.
#[derive(Debug)]
pub(super) struct Prometheus<'a> {
    base: reqwest::Url,
    http: &'a reqwest::Client,
    entropy: &'a dyn Entropy,
    token: Option<Secret>,
    body_max: ByteSize,
    timeout: Duration,
    silent: AtomicU32,
}

impl<'a> Prometheus<'a> {
    /// Reads the credentials; asks nothing yet.
    pub(super) async fn open(
        config: &Config,
        http: &'a reqwest::Client,
        entropy: &'a dyn Entropy,
    ) -> Result<Self, ReadError> {
        let url = config
            .prometheus_url
            .as_deref()
            .ok_or(ReadError::NotConfigured)?;
        let mut base =
            reqwest::Url::parse(url).map_err(|e| ReadError::Unreachable(e.to_string()))?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let token = match &config.token_file {
            Some(path) => Some(read_token(path).await?),
            None => None,
        };
        Ok(Self {
            base,
            http,
            entropy,
            token,
            body_max: config.body_max,
            timeout: config.request_timeout.0,
            silent: AtomicU32::new(0),
        })
    }

    /// A range query; samples that are not finite are dropped.
    pub(super) async fn range(
        &self,
        cx: &Cx,
        range: Range<'_>,
    ) -> Result<Answer<Vec<Samples>>, ReadError> {
        let form = [
            ("query", range.query.to_owned()),
            ("start", seconds(range.window.start)),
            ("end", seconds(range.window.end)),
            ("step", format!("{:.3}", range.step.as_secs_f64())),
            ("timeout", format!("{}ms", self.timeout.as_millis())),
        ];
        self.matrix(cx, "api/v1/query_range", &form).await
    }

    /// The raw samples behind a range selector at one instant.
    pub(super) async fn raw(
        &self,
        cx: &Cx,
        query: &str,
        at: Timestamp,
    ) -> Result<Answer<Vec<Samples>>, ReadError> {
        let form = [
            ("query", query.to_owned()),
            ("time", seconds(at)),
            ("timeout", format!("{}ms", self.timeout.as_millis())),
        ];
        self.matrix(cx, "api/v1/query", &form).await
    }

    async fn matrix(
        &self,
        cx: &Cx,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<Answer<Vec<Samples>>, ReadError> {
        let answer: Answer<Matrix> = self.ask(cx, path, form).await?;
        let data = answer.data.result.into_iter().map(Samples::from).collect();
        Ok(Answer {
            data,
            warnings: answer.warnings,
        })
    }

    /// The label sets of the series that match any of `matchers` in the window, at most `limit`.
    pub(super) async fn series(
        &self,
        cx: &Cx,
        matchers: &[String],
        window: Window,
        limit: usize,
    ) -> Result<Answer<Vec<Labels>>, ReadError> {
        let mut form = vec![
            ("start", seconds(window.start)),
            ("end", seconds(window.end)),
            ("limit", limit.to_string()),
        ];
        form.extend(matchers.iter().map(|m| ("match[]", m.clone())));
        self.ask(cx, "api/v1/series", &form).await
    }

    /// Type and unit of metrics by name; at most `limit` metrics.
    pub(super) async fn metadata(
        &self,
        cx: &Cx,
        limit: usize,
    ) -> Result<BTreeMap<String, Metadata>, ReadError> {
        let path = format!("api/v1/metadata?limit_per_metric=1&limit={limit}");
        let answer: Answer<BTreeMap<String, Vec<Metadata>>> = self.ask(cx, &path, &[]).await?;
        let first = |(name, mut all): (String, Vec<Metadata>)| Some((name, all.pop()?));
        Ok(answer.data.into_iter().filter_map(first).collect())
    }

    /// The alerting rule of this name, if Prometheus has one.
    pub(super) async fn rule(&self, cx: &Cx, alert: &str) -> Result<Option<Rule>, ReadError> {
        let answer: Answer<Rules> = self.ask(cx, "api/v1/rules?type=alert", &[]).await?;
        let rules = answer.data.groups.into_iter().flat_map(|group| group.rules);
        Ok(rules
            .filter(|rule| rule.name == alert)
            .map(|rule| Rule {
                query: rule.query,
                held_for: Duration::try_from_secs_f64(rule.duration).unwrap_or_default(),
            })
            .next())
    }

    /// One question, asked again by the policy for reads. An empty form is a GET.
    async fn ask<T: DeserializeOwned>(
        &self,
        cx: &Cx,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<Answer<T>, ReadError> {
        if self.silent.load(Ordering::Relaxed) >= SILENT_MAX {
            let why = format!("it was silent {SILENT_MAX} times in a row and is not asked again");
            return Err(ReadError::Unreachable(why));
        }
        let tries = Policy::READ.run(cx, self.entropy, || self.once(path, form));
        let answer = cx.bound(tries).await;
        let answer = answer.unwrap_or(Err(ReadError::TimedOut("the deadline of the incident")));
        match &answer {
            Err(ReadError::Unreachable(_) | ReadError::TimedOut(_)) => {
                self.silent.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.silent.store(0, Ordering::Relaxed),
        }
        answer
    }

    async fn once<T: DeserializeOwned>(
        &self,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<Answer<T>, ReadError> {
        let url = self
            .base
            .join(path)
            .map_err(|e| ReadError::Unreachable(e.to_string()))?;
        let mut request = if form.is_empty() {
            self.http.get(url)
        } else {
            self.http.post(url).form(form)
        };
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let response = request.send().await.map_err(transport)?;
        let status = response.status();
        let body = self.body(response).await?;
        if status.is_success() {
            return parse(&body);
        }
        let said = serde_json::from_slice::<Failure>(&body).unwrap_or_default();
        let why = Untrusted::new(said.error).one_line(200);
        Err(match status.as_u16() {
            400 | 422 if !why.is_empty() => ReadError::BadQuery(why),
            503 if said.error_type == "timeout" => ReadError::TimedOut("its own query limit"),
            status @ (429 | 500..) => {
                let why = if why.is_empty() {
                    "without a reason".to_owned()
                } else {
                    why
                };
                ReadError::Unwell { status, why }
            }
            status => ReadError::Refused { status },
        })
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, ReadError> {
        let limit = self.body_max.get();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if body.len() + chunk.len() > limit {
                return Err(ReadError::TooLarge(self.body_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

async fn read_token(path: &std::path::Path) -> Result<Secret, ReadError> {
    use tokio::io::AsyncReadExt as _;
    let bad = |error: std::io::Error| ReadError::Token(error.to_string());
    let file = tokio::fs::File::open(path).await.map_err(bad)?;
    let mut text = String::new();
    file.take(TOKEN_MAX)
        .read_to_string(&mut text)
        .await
        .map_err(bad)?;
    if text.trim().is_empty() {
        return Err(ReadError::Token("it is empty".to_owned()));
    }
    Ok(Secret::new(text))
}

/// The cause of a broken exchange, without the address (a report is not the place for it).
fn transport(error: reqwest::Error) -> ReadError {
    if error.is_timeout() {
        return ReadError::TimedOut("agents.observability.request_timeout");
    }
    let error = error.without_url();
    let root = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    let why = root.last().map(ToString::to_string).unwrap_or_default();
    ReadError::Unreachable(Untrusted::new(why).one_line(200))
}

fn seconds(at: Timestamp) -> String {
    let millis = at.as_millisecond();
    format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000))
}
