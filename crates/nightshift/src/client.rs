//! The command line's way to a running Nightshift: its HTTP API.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use incident::{ApprovalToken, Incident, Report, Ruling, SignedOrder};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::Config;

/// Longest answer time of the API.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Talks to the API of the hook.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<runtime::config::Secret>,
}

/// One incident as the API returns it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Detail {
    pub(crate) incident: Incident,
    pub(crate) report: Option<Report>,
}

/// A page of dead letters.
#[derive(Debug, Deserialize)]
pub(crate) struct DeadLetters {
    pub(crate) letters: Vec<serde_json::Value>,
    pub(crate) next: Option<String>,
    pub(crate) total: u64,
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obeyed {
    Done,
    /// There is no such dead letter, or no longer.
    Gone,
}

impl Client {
    /// A client for the installation that `config` describes.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let token = config
            .api_token()
            .context("the API's token cannot be read")?;
        let base = config
            .api
            .url
            .clone()
            .unwrap_or_else(|| format!("http://{}", config.hook.listen));
        Ok(Self {
            http: runtime::http::client(TIMEOUT)?,
            base,
            token,
        })
    }

    /// A client for an API at `base`.
    pub(crate) fn at(base: String, token: Option<runtime::config::Secret>) -> Result<Self> {
        Ok(Self {
            http: runtime::http::client(TIMEOUT)?,
            base,
            token,
        })
    }

    /// Sends one request; an answer other than 2xx becomes an error with the API's own words.
    async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Response> {
        let response = self.ask(method, path, body).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }

    /// Sends one request; any answer will do.
    async fn ask(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Response> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        request.send().await.with_context(|| {
            format!("no Nightshift answers at {}; start one with `nightshift up`, or name another with api.url", self.base)
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let response = self.send(Method::GET, path, None).await?;
        let bytes = response.bytes().await?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("the API's answer to {path} cannot be read"))
    }

    /// Incidents, newest first, as raw JSON rows.
    pub(crate) async fn incidents(
        &self,
        status: Option<&str>,
        limit: usize,
    ) -> Result<Vec<serde_json::Value>> {
        #[derive(Deserialize)]
        struct Page {
            incidents: Vec<serde_json::Value>,
        }
        let filter = status
            .map(|status| format!("&status={status}"))
            .unwrap_or_default();
        let page: Page = self
            .get(&format!("/api/v1/incidents?limit={limit}{filter}"))
            .await?;
        Ok(page.incidents)
    }

    /// One incident with its report.
    pub(crate) async fn incident(&self, id: &str) -> Result<Detail> {
        self.get(&format!("/api/v1/incidents/{id}")).await
    }

    /// What triage decided for an alert, oldest first.
    pub(crate) async fn rulings(&self, fingerprint: &str) -> Result<Vec<Ruling>> {
        #[derive(Deserialize)]
        struct Page {
            history: Vec<Ruling>,
        }
        let page: Page = self
            .get(&format!("/api/v1/alerts/{fingerprint}/rulings"))
            .await?;
        Ok(page.history)
    }

    /// Hands in a person's decision.
    pub(crate) async fn decide(&self, token: &ApprovalToken) -> Result<()> {
        let body = serde_json::to_vec(token)?;
        let path = format!("/api/v1/incidents/{}/decision", token.approval.incident);
        self.send(Method::POST, &path, Some(body)).await.map(|_| ())
    }

    /// One page of dead letters, as raw JSON rows.
    pub(crate) async fn dead_letters(
        &self,
        stream: Option<&str>,
        code: Option<&str>,
        after: Option<&str>,
    ) -> Result<DeadLetters> {
        let pairs = [("stream", stream), ("code", code), ("after", after)];
        let pairs = pairs
            .iter()
            .filter_map(|(name, value)| Some((name, (*value)?)));
        let path = "/api/v1/dlq";
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.base), pairs)
            .with_context(|| format!("api.url {:?} is no address", self.base))?;
        self.get(&format!("{path}?{}", url.query().unwrap_or_default()))
            .await
    }

    /// One dead letter with its payload, as raw JSON.
    pub(crate) async fn dead_letter(&self, stream: &str, id: &str) -> Result<serde_json::Value> {
        self.get(&format!("/api/v1/dlq/{stream}/{id}")).await
    }

    /// Hands in a person's order about a dead letter.
    pub(crate) async fn order(&self, order: &SignedOrder) -> Result<Obeyed> {
        let body = serde_json::to_vec(order)?;
        let path = format!("/api/v1/dlq/{}/{}", order.order.stream, order.order.letter);
        let response = self.ask(Method::POST, &path, Some(body)).await?;
        match response.status() {
            status if status.is_success() => Ok(Obeyed::Done),
            StatusCode::NOT_FOUND => Ok(Obeyed::Gone),
            _ => Err(refused(response).await),
        }
    }

    /// Posts an Alertmanager body, as Alertmanager does.
    pub(crate) async fn webhook(&self, body: Vec<u8>) -> Result<()> {
        self.send(Method::POST, "/webhook/alertmanager", Some(body))
            .await
            .map(|_| ())
    }
}

async fn refused(response: Response) -> anyhow::Error {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    anyhow!("{}", refusal(status, &text))
}

/// The API's error body has `code`, `message` and `remedy`.
fn refusal(status: StatusCode, text: &str) -> String {
    #[derive(Deserialize)]
    struct Body {
        code: Option<String>,
        message: String,
        remedy: Option<String>,
    }
    match serde_json::from_str::<Body>(text) {
        Ok(body) => {
            let code = body
                .code
                .map(|code| format!(" ({code})"))
                .unwrap_or_default();
            let remedy = body
                .remedy
                .map(|remedy| format!(". {remedy}"))
                .unwrap_or_default();
            format!("{}{code}{remedy}", body.message)
        }
        Err(_) => format!("the API answered {status}"),
    }
}
