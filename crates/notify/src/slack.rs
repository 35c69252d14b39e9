//! Slack's incoming webhook.
//!
//! An incoming webhook can only post: it tells nobody what it posted, cannot look and cannot edit. So
//! [`Notifier::find`] never knows, and [`Notifier::update`] posts a follow-up that says which
//! incident it belongs to. After an unknown outcome (the answer was lost) a message may therefore
//! come twice; the journal of whoever posts keeps that to the one message in flight.

mod blocks;
mod layout;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

use async_trait::async_trait;
use incident::ports::{Cx, Notice, Notifier, NotifyError, Receipt, Search, Sight};
use incident::untrusted::Untrusted;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode, Url};
use runtime::config::read_secret;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::config::Config;

const NAME: &str = "slack";
/// Bytes of an answer that are read: Slack answers with a word.
const ANSWER_MAX: usize = 1024;

/// Posts to one Slack channel.
#[derive(Debug)]
pub struct Slack {
    config: Config,
    http: reqwest::Client,
    /// When the last message went out, in time of the clock's `elapsed`.
    last: Mutex<Option<Duration>>,
}

impl Slack {
    /// A notifier; the webhook's address is read when the first message goes out.
    pub fn new(config: Config, http: reqwest::Client) -> Self {
        Self {
            config,
            http,
            last: Mutex::new(None),
        }
    }

    /// The webhook's address.
    fn url(&self) -> Result<Url, NotifyError> {
        let file = self.config.url_file.as_ref();
        let file = file.ok_or_else(|| refused("slack.url_file is not set"))?;
        let secret = read_secret(file).map_err(|error| refused(&error.to_string()))?;
        // Nothing of the address may stand in an error: it is the secret.
        let url = Url::parse(secret.expose())
            .map_err(|_| refused("the file under slack.url_file holds no address"))?;
        let here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if url.scheme() == "https" || (url.scheme() == "http" && here) {
            Ok(url)
        } else {
            Err(refused("the webhook's address must begin with https://"))
        }
    }

    /// Waits for its turn and sends. Turns are taken one at a time.
    async fn send(&self, body: &Value, cx: &Cx) -> Result<Receipt, NotifyError> {
        let url = self.url()?;
        let turn = async {
            let mut last = self.last.lock().await;
            if let Some(last) = *last {
                let due = last.saturating_add(self.config.post_gap.0);
                let wait = due.saturating_sub(cx.clock.elapsed());
                cx.clock.sleep(wait).await;
            }
            let result = self.call(url, body).await;
            *last = Some(cx.clock.elapsed());
            result
        };
        match cx.bound(turn).await {
            Some(result) => result,
            None => Err(unreachable("no answer by the deadline")),
        }
    }

    async fn call(&self, url: Url, body: &Value) -> Result<Receipt, NotifyError> {
        let request = self
            .http
            .post(url)
            .timeout(self.config.timeout.0)
            .json(body);
        let answer = request.send().await.map_err(lost)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Receipt {
                notifier: NAME.to_owned(),
                reference: String::new(),
            });
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            let wait = answer.headers().get(RETRY_AFTER);
            let wait = wait.and_then(|value| value.to_str().ok()?.trim().parse().ok());
            return Err(NotifyError::Limited {
                notifier: NAME.to_owned(),
                retry_after_s: wait,
            });
        }
        let said = excerpt(answer).await;
        let why = format!("it answered {} {said:?}", status.as_u16());
        Err(if status.is_server_error() {
            unreachable(&why)
        } else {
            refused(&why)
        })
    }
}

#[async_trait]
impl Notifier for Slack {
    fn name(&self) -> &str {
        NAME
    }

    async fn find(&self, _search: &Search, _cx: &Cx) -> Result<Sight, NotifyError> {
        Ok(Sight::Unknown)
    }

    async fn post(&self, notice: &Notice, cx: &Cx) -> Result<Receipt, NotifyError> {
        self.send(&layout::message(notice, false), cx).await
    }

    async fn update(
        &self,
        _receipt: &Receipt,
        notice: &Notice,
        cx: &Cx,
    ) -> Result<Receipt, NotifyError> {
        self.send(&layout::message(notice, true), cx).await
    }
}

/// The beginning of an answer's body, as one line.
async fn excerpt(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_MAX {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                let room = (ANSWER_MAX - bytes.len()).min(chunk.len());
                bytes.extend_from_slice(chunk.get(..room).unwrap_or_default());
            }
            Ok(None) | Err(_) => break,
        }
    }
    Untrusted::new(String::from_utf8_lossy(&bytes)).one_line(120)
}

/// The request or its answer was lost. The error's text would carry the address, which is the secret.
fn lost(error: reqwest::Error) -> NotifyError {
    let what = if error.is_timeout() {
        "no answer in time"
    } else {
        "the connection failed"
    };
    tracing::debug!(error = %error.without_url(), "a message to Slack was lost");
    unreachable(what)
}

fn refused(why: &str) -> NotifyError {
    NotifyError::Refused {
        notifier: NAME.to_owned(),
        why: why.to_owned(),
    }
}

fn unreachable(why: &str) -> NotifyError {
    NotifyError::Unreachable {
        notifier: NAME.to_owned(),
        why: why.to_owned(),
    }
}
