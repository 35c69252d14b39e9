//! Finding out where and how an agent is called, and why a call did not get through.

use a2a_types as sdk;
use incident::ports::{AgentCard, Skill};
use reqwest::header;

use crate::config::origin;
use crate::wire;

use super::RemoteAgent;
use super::fault::{Fault, one_line};

/// Largest card that is read.
const CARD_BYTES_MAX: usize = 256 * 1024;
/// How much of an answer is read that is only shown to people.
const EXCERPT_BYTES_MAX: usize = 2 * 1024;

/// What the card said.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) card: AgentCard,
    pub(super) url: String,
    pub(super) tenant: Option<String>,
}

impl RemoteAgent {
    /// Reads the card and checks that this is the agent we mean and that we can talk to it.
    pub(super) async fn fetch(&self) -> Result<Known, Fault> {
        let path = wire::agent_path(&self.unknown.name);
        let url = format!("{}{path}.well-known/agent-card.json", self.base_url);
        let mut request = self.http.get(&url).header(header::ACCEPT, wire::JSON);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let mut response = request.send().await.map_err(|error| self.lost(&error))?;
        let status = response.status();
        if !status.is_success() {
            let body = excerpt(&mut response).await;
            return Err(self
                .judge
                .http(status.as_u16(), &format!("its card at {url}"), &body));
        }
        let (body, whole) = read(&mut response, CARD_BYTES_MAX)
            .await
            .map_err(|error| self.lost(&error))?;
        if !whole {
            let why = format!("its card at {url} is longer than {CARD_BYTES_MAX} bytes");
            return Err(self.judge.misfit(why));
        }
        let card: sdk::AgentCard = serde_json::from_slice(&body).map_err(|error| {
            self.judge
                .misfit(format!("its card at {url} is no A2A 1.0 card: {error}"))
        })?;
        self.check(&card, &url)
            .map_err(|why| self.judge.misfit(why))
    }

    fn check(&self, card: &sdk::AgentCard, url: &str) -> Result<Known, String> {
        let name = &self.unknown.name;
        if card.name != *name {
            let found = one_line(&card.name);
            return Err(format!(
                "its card at {url} is that of {found:?}; correct the address or the name"
            ));
        }
        let fits = |interface: &&sdk::AgentInterface| {
            interface
                .protocol_binding
                .eq_ignore_ascii_case(sdk::TRANSPORT_PROTOCOL_JSONRPC)
                && interface.protocol_version == wire::VERSION
        };
        let Some(interface) = card.supported_interfaces.iter().find(fits) else {
            return Err(format!(
                "its card at {url} offers no JSONRPC interface of version 1.0"
            ));
        };
        if card.capabilities.streaming != Some(true) {
            return Err(format!("its card at {url} does not offer streaming"));
        }
        self.check_origin(&interface.url)?;
        let skills = card.skills.iter().map(|skill| Skill {
            id: one_line(&skill.id),
            name: one_line(&skill.name),
            description: one_line(&skill.description),
        });
        Ok(Known {
            card: AgentCard {
                name: name.clone(),
                description: one_line(&card.description),
                skills: skills.collect(),
            },
            url: interface.url.clone(),
            tenant: interface.tenant.clone(),
        })
    }

    /// The token goes where the configuration says, not where a card says.
    fn check_origin(&self, named: &str) -> Result<(), String> {
        let ours = origin(&self.base_url).map_err(|why| format!("{:?} {why}", self.base_url))?;
        let theirs = origin(named)
            .map_err(|why| format!("its card names {:?}, which {why}", one_line(named)))?;
        if ours.origin() == theirs.origin() {
            return Ok(());
        }
        Err(format!(
            "its card names {}, another origin than {}; set a2a.public_url of that agent",
            one_line(named),
            self.base_url
        ))
    }

    /// Why a call did not get through. The SDK hides the HTTP answer unless it is JSON-RPC, so a
    /// harmless question is asked the same way and its answer looked at.
    pub(super) async fn explain(&self, known: &Known, error: &sdk::A2AError) -> Fault {
        let params = serde_json::json!({ "id": "task-that-never-was" });
        let question =
            sdk::JsonRpcRequest::new("why".into(), sdk::jsonrpc::methods::GET_TASK, Some(params));
        let mut request = self
            .http
            .post(&known.url)
            .header(wire::VERSION_HEADER, wire::VERSION)
            .json(&question);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return self.lost(&error),
        };
        let status = response.status();
        let body = excerpt(&mut response).await;
        let speaks = serde_json::from_str::<sdk::JsonRpcResponse>(&body).is_ok();
        if status.is_success() || speaks {
            return self.judge.broken(&one_line(&error.message));
        }
        self.judge.http(status.as_u16(), &known.url, &body)
    }

    fn lost(&self, error: &reqwest::Error) -> Fault {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        self.judge.broken(&one_line(&text))
    }
}

async fn excerpt(response: &mut reqwest::Response) -> String {
    match read(response, EXCERPT_BYTES_MAX).await {
        Ok((body, _)) => String::from_utf8_lossy(&body).into_owned(),
        Err(_) => String::new(),
    }
}

/// At most `max` bytes of a body, and whether that was all.
async fn read(
    response: &mut reqwest::Response,
    max: usize,
) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = max - body.len();
        if chunk.len() > room {
            body.extend_from_slice(chunk.get(..room).unwrap_or_default());
            return Ok((body, false));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, true))
}
