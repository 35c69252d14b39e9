//! Slack's incoming webhook.
//!
//! An incoming webhook can only post: it tells nobody what it posted, cannot look and cannot edit. So
//! [`Notifier::find`] never knows, and [`Notifier::update`] posts a follow-up that says which
//! incident it belongs to. After an unknown outcome (the answer was lost) a message may therefore
//! come twice; the journal of whoever posts keeps that to the one message in flight.

use async_trait::async_trait;
use incident::ports::{Cx, Notice, Notifier, NotifyError, Receipt, Search, Sight};
use incident::untrusted::Untrusted;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode, Url};
use runtime::config::read_secret;
use serde_json::Value;

use super::gate::Gate;
use super::{Loss, NAME, away, layout, limited, refused, unreachable};
use crate::config::{Config, keeps_secrets};

/// Bytes of an answer that are read: Slack answers with a word.
const ANSWER_MAX: usize = 1024;

/// Posts to one Slack channel.
#[derive(Debug)]
pub struct Webhook {
    config: Config,
    http: reqwest::Client,
    gate: Gate,
}

impl Webhook {
    /// A notifier; the webhook's address is read when the first message goes out.
    pub fn new(config: Config, http: reqwest::Client) -> Self {
        Self {
            gate: Gate::new(config.post_gap.0, config.queue_max),
            config,
            http,
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
        if keeps_secrets(&url) {
            Ok(url)
        } else {
            Err(refused("the webhook's address must begin with https://"))
        }
    }

    /// Waits for its turn and sends. Turns are taken one at a time.
    async fn send(&self, body: &Value, cx: &Cx) -> Result<Receipt, NotifyError> {
        let url = self.url()?;
        let turn = self.gate.turn(cx).await?;
        if cx.remaining().is_zero() {
            return Err(away("the deadline has passed"));
        }
        let result = cx.bound(self.call(url, body)).await;
        drop(turn);
        result.unwrap_or_else(|| Err(unreachable("no answer by the deadline")))
    }

    async fn call(&self, url: Url, body: &Value) -> Result<Receipt, NotifyError> {
        let request = self
            .http
            .post(url)
            .timeout(self.config.timeout.0)
            .json(body);
        let answer = request.send().await.map_err(Loss::of)?;
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
            return Err(limited(wait));
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
impl Notifier for Webhook {
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
