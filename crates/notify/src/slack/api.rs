//! Calls of Slack's Web API, and what an answer means.

use std::fmt;
use std::time::Duration;

use incident::ports::{Cx, NotifyError};
use incident::untrusted::Untrusted;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use runtime::config::{Secret, read_secret};
use serde_json::Value;

use super::{Loss, away, limited, refused, unreachable};
use crate::config::{Config, keeps_secrets};

/// Says which scopes the token has.
const SCOPES: &str = "x-oauth-scopes";

/// Slack's API with this installation's token.
#[derive(Debug)]
pub(super) struct Api {
    config: Config,
    http: reqwest::Client,
}

/// An answer that says `ok`.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Value,
    /// The token's scopes, if the answer says.
    pub(super) scopes: Option<Vec<String>>,
}

/// Why there is no such answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallError {
    /// Too many calls; seconds to wait, if it was said.
    Limited(Option<u64>),
    /// Slack says no, with its word for it.
    Said {
        error: String,
        /// The scope that is missing, if that is why.
        needed: Option<String>,
    },
    /// We do not call: the token cannot be used.
    Token(String),
    /// Nothing was sent.
    Away(String),
    /// No answer, or none that can be read: it may have been done.
    Lost(String),
}

impl CallError {
    /// The remedy for a word of Slack's, where one is known.
    fn remedy(error: &str) -> &'static str {
        match error {
            "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked"
            | "token_expired" => "; put a valid bot token into slack.token_file",
            "missing_scope" | "not_allowed_token_type" => {
                "; add the scope to the app and install it anew"
            }
            "channel_not_found" | "not_in_channel" => "; invite the bot to slack.channel",
            "is_archived" => "; name a channel that is in use under slack.channel",
            _ => "",
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(_) => f.write_str("it asks to wait"),
            Self::Said { error, needed } => {
                let needed = needed.as_ref();
                let needed = needed.map_or_else(String::new, |scope| format!(" ({scope})"));
                write!(f, "it said {error:?}{needed}{}", Self::remedy(error))
            }
            Self::Token(why) | Self::Away(why) | Self::Lost(why) => f.write_str(why),
        }
    }
}

impl From<CallError> for NotifyError {
    fn from(error: CallError) -> Self {
        let why = error.to_string();
        match error {
            CallError::Limited(wait) => limited(wait),
            CallError::Said { .. } | CallError::Token(_) => refused(&why),
            CallError::Away(_) => away(&why),
            CallError::Lost(_) => unreachable(&why),
        }
    }
}

impl From<Loss> for CallError {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::NoConnection => Self::Away("no connection".to_owned()),
            Loss::NoAnswer => Self::Lost("no answer".to_owned()),
        }
    }
}

impl Api {
    pub(super) fn new(config: Config, http: reqwest::Client) -> Self {
        Self { config, http }
    }

    /// A method that does something.
    pub(super) async fn post(
        &self,
        method: &str,
        body: &Value,
        cx: &Cx,
    ) -> Result<Answer, CallError> {
        let request = self.http.post(self.url(method)?);
        let request = request
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(body.to_string());
        self.call(request, cx).await
    }

    /// A method that only reads; those take no JSON.
    pub(super) async fn get(
        &self,
        method: &str,
        query: &[(&str, String)],
        cx: &Cx,
    ) -> Result<Answer, CallError> {
        self.call(self.http.get(self.url(method)?).query(query), cx)
            .await
    }

    fn url(&self, method: &str) -> Result<Url, CallError> {
        let base = self.config.api_url.trim_end_matches('/');
        let url = Url::parse(&format!("{base}/{method}")).ok();
        url.filter(keeps_secrets).ok_or_else(|| {
            CallError::Token("the token is not sent to slack.api_url, which is no https://".into())
        })
    }

    fn token(&self) -> Result<Secret, CallError> {
        let file = self.config.token_file.as_ref();
        let file = file.ok_or_else(|| CallError::Token("slack.token_file is not set".into()))?;
        let token = read_secret(file).map_err(|error| CallError::Token(error.to_string()))?;
        let printable = token.expose().chars().all(|c| c.is_ascii_graphic());
        printable.then_some(token).ok_or_else(|| {
            CallError::Token("the file under slack.token_file holds more than a token".into())
        })
    }

    async fn call(&self, request: RequestBuilder, cx: &Cx) -> Result<Answer, CallError> {
        let token = self.token()?;
        // Who was stopped for a while and wakes up late must not send what others have given up.
        let left = cx.remaining();
        if left.is_zero() || cx.cancel.is_cancelled() {
            return Err(CallError::Away("the deadline has passed".to_owned()));
        }
        let request = request
            .bearer_auth(token.expose())
            .timeout(self.config.timeout.0.min(left));
        let call = async {
            let answer = request.send().await.map_err(Loss::of)?;
            self.read(answer).await
        };
        let late = || CallError::Lost("no answer by the deadline".to_owned());
        cx.bound(call).await.unwrap_or_else(|| Err(late()))
    }

    async fn read(&self, mut answer: Response) -> Result<Answer, CallError> {
        let status = answer.status();
        let header = |name: &str| answer.headers().get(name)?.to_str().ok();
        let wait = header(RETRY_AFTER.as_str()).and_then(|wait| wait.trim().parse().ok());
        let scopes = header(SCOPES).map(|scopes| scopes.split(',').map(|s| s.trim().to_owned()));
        let scopes = scopes.map(Iterator::collect);
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(CallError::Limited(wait));
        }
        let mut bytes = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Err(Loss::of(error).into()),
            }
            if bytes.len() > self.config.answer_max.get() {
                let max = self.config.answer_max;
                let why = format!("its answer is larger than slack.answer_max, which is {max}");
                return Err(CallError::Lost(why));
            }
        }
        let body = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
        let ok = body.get("ok").and_then(Value::as_bool);
        match ok {
            Some(true) if status.is_success() => Ok(Answer { body, scopes }),
            Some(false) => Err(said(&body, wait)),
            _ => {
                let said = Untrusted::new(String::from_utf8_lossy(&bytes)).one_line(120);
                let why = format!("it answered {} {said:?}", status.as_u16());
                // What is not Slack's own answer says nothing about what Slack did.
                Err(CallError::Lost(why))
            }
        }
    }
}

/// What an answer with `"ok": false` means.
fn said(body: &Value, wait: Option<u64>) -> CallError {
    let word = |field: &str| {
        let word = body.get(field).and_then(Value::as_str)?;
        Some(Untrusted::new(word).one_line(80))
    };
    let error = word("error").unwrap_or_else(|| "no reason".to_owned());
    match error.as_str() {
        "ratelimited" | "rate_limited" => CallError::Limited(wait),
        // Slack's own trouble; of `fatal_error` it says that part of it may have been done.
        "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org" => CallError::Lost(format!("it said {error:?}")),
        _ => CallError::Said {
            needed: word("needed"),
            error,
        },
    }
}

/// The wait that Slack asked for; at least a second, so that nobody asks in circles.
pub(super) fn asked(wait: u64) -> Duration {
    Duration::from_secs(wait.max(1))
}
