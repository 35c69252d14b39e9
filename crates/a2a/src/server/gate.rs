//! What every call passes before the official router sees it: credentials, size, media type and
//! protocol version. Every refusal is a JSON-RPC error, so that clients can read why.

use std::sync::Arc;

use a2a_types as sdk;
use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use runtime::config::Secret;
use serde_json::Value;

use crate::failure::Failure;
use crate::wire;

/// What the gate asks for.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    /// The bearer token; anybody passes if there is none.
    pub(super) token: Option<Arc<Secret>>,
    /// Largest body.
    pub(super) body_bytes_max: usize,
}

/// Lets a request through or answers it.
pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if !gate.knows(&parts.headers) {
        let error = Failure::Unauthenticated.error(
            "authorization: the bearer token is missing or wrong; send the token this server was given (a2a.token_file)",
        );
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (challenge, refuse(StatusCode::UNAUTHORIZED, None, &error)).into_response();
    }
    let Ok(body) = to_bytes(body, gate.body_bytes_max).await else {
        let error = sdk::A2AError::invalid_request(format!(
            "the body is longer than {} bytes or broke off; send less (a2a.request_bytes_max)",
            gate.body_bytes_max
        ));
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, None, &error);
    };
    if let Some(found) = foreign_media_type(&parts.headers) {
        let error = sdk::A2AError::new(
            sdk::error_code::CONTENT_TYPE_NOT_SUPPORTED,
            format!(
                "content-type: {found:?} is not application/json; send JSON-RPC as application/json"
            ),
        );
        return refuse(StatusCode::OK, Some(&body), &error);
    }
    let version = version_of(&parts.headers, &parts.uri);
    if version != wire::VERSION {
        let error = sdk::A2AError::new(
            sdk::error_code::VERSION_NOT_SUPPORTED,
            format!("A2A-Version: {version:?} is not supported; send 1.0 (none means 0.3)"),
        );
        return refuse(StatusCode::OK, Some(&body), &error);
    }
    let version = HeaderValue::from_static(wire::VERSION);
    parts.headers.insert(wire::VERSION_HEADER, version);
    let extended = asks_for_extension(&parts.headers);
    let mut response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if extended {
        let activated = HeaderValue::from_static(wire::EXTENSION);
        response
            .headers_mut()
            .insert(wire::EXTENSIONS_HEADER, activated);
    }
    response
}

impl Gate {
    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        headers
            .get(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes)
            .and_then(|value| value.split_at_checked(7))
            .is_some_and(|(scheme, shown)| {
                scheme.eq_ignore_ascii_case(b"Bearer ") && token.matches(shown)
            })
    }
}

/// A media type that is not JSON; none at all passes.
fn foreign_media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let json = matches!(essence.as_str(), wire::JSON | "application/a2a+json");
    (!json).then(|| incident::Untrusted::from(essence).one_line(80))
}

fn version_of(headers: &HeaderMap, uri: &Uri) -> String {
    let header = headers
        .get(wire::VERSION_HEADER)
        .and_then(|value| value.to_str().ok());
    let query = || {
        let pairs = uri.query().unwrap_or_default().split('&');
        pairs
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(name, value)| {
                name.eq_ignore_ascii_case(wire::VERSION_HEADER)
                    .then_some(value)
            })
    };
    let text = header.or_else(query).unwrap_or("0.3");
    incident::Untrusted::from(text).one_line(20)
}

fn asks_for_extension(headers: &HeaderMap) -> bool {
    headers
        .get_all(wire::EXTENSIONS_HEADER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.split(',').any(|uri| uri.trim() == wire::EXTENSION))
}

fn refuse(status: StatusCode, body: Option<&Bytes>, error: &sdk::A2AError) -> Response {
    let id = body
        .and_then(|body| serde_json::from_slice::<Value>(body).ok())
        .and_then(|envelope| serde_json::from_value(envelope.get("id")?.clone()).ok())
        .unwrap_or(sdk::JsonRpcId::Null);
    let answer = sdk::JsonRpcResponse::error(id, error.to_jsonrpc_error());
    (status, Json(answer)).into_response()
}
