//! The agent card: what the protocol wants known before the first call.

use std::sync::Arc;

use a2a_types as sdk;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use incident::digest::Digest;
use incident::ports::AgentCard;

use crate::wire;

/// How long callers and proxies may keep a card.
const CACHE_CONTROL: &str = "public, max-age=300";

/// A card as it goes over the wire. Public: it says what an agent can do, not what it knows.
#[derive(Debug)]
pub(super) struct Published {
    json: String,
    etag: String,
}

impl Published {
    /// The card of an agent that is reached below `public_url`.
    pub(super) fn new(card: &AgentCard, public_url: &str, guarded: bool) -> Self {
        let json = serde_json::to_string(&sdk_card(card, public_url, guarded))
            .expect("a card has string keys only");
        let etag = format!("\"{}\"", Digest::of(json.as_bytes()).short(32));
        Self { json, etag }
    }
}

/// `GET .../.well-known/agent-card.json`
pub(super) async fn serve(State(card): State<Arc<Published>>, headers: HeaderMap) -> Response {
    let seen = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| {
            let weak = |tag: &str| tag.trim().trim_start_matches("W/") == card.etag;
            tags.trim() == "*" || tags.split(',').any(weak)
        });
    let caching = [
        (header::ETAG, card.etag.clone()),
        (header::CACHE_CONTROL, CACHE_CONTROL.to_owned()),
    ];
    if seen {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let content = [(header::CONTENT_TYPE, wire::JSON)];
    (caching, content, card.json.clone()).into_response()
}

fn sdk_card(card: &AgentCard, public_url: &str, guarded: bool) -> sdk::AgentCard {
    const SCHEME: &str = "bearer";
    let url = format!(
        "{}{}",
        public_url.trim_end_matches('/'),
        wire::agent_path(&card.name)
    );
    let bearer = sdk::SecurityScheme::HttpAuth(sdk::HttpAuthSecurityScheme {
        scheme: "Bearer".to_owned(),
        description: None,
        bearer_format: None,
    });
    let modes = vec![wire::JSON.to_owned()];
    let skills = card.skills.iter().map(|skill| sdk::AgentSkill {
        id: skill.id.clone(),
        name: skill.name.clone(),
        description: skill.description.clone(),
        tags: vec!["incident".to_owned()],
        examples: None,
        input_modes: None,
        output_modes: None,
        security_requirements: None,
    });
    sdk::AgentCard {
        name: card.name.clone(),
        description: card.description.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        supported_interfaces: vec![sdk::AgentInterface::new(
            url,
            sdk::TRANSPORT_PROTOCOL_JSONRPC,
        )],
        capabilities: sdk::AgentCapabilities {
            streaming: Some(true),
            push_notifications: Some(false),
            extensions: Some(vec![sdk::AgentExtension {
                uri: wire::EXTENSION.to_owned(),
                description: Some(
                    "deadline and traceparent of a request, in its metadata".to_owned(),
                ),
                required: Some(false),
                params: None,
            }]),
            extended_agent_card: Some(false),
        },
        default_input_modes: modes.clone(),
        default_output_modes: modes,
        skills: skills.collect(),
        provider: None,
        documentation_url: None,
        icon_url: None,
        security_schemes: guarded.then(|| [(SCHEME.to_owned(), bearer)].into()),
        security_requirements: guarded.then(|| vec![[(SCHEME.to_owned(), Vec::new())].into()]),
        signatures: None,
    }
}
