//! The methods, as Slack answers them.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State as Shares};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Json, Router};
use incident::ports::Clock as _;
use runtime::{SystemClock, TaskKind};
use serde_json::{Map, Value, json};

use super::state::{BOT, State, USER};
use super::{CHANNEL, Fault, Shared, lock};

/// Slack's own limit.
const BLOCKS_MAX: usize = 50;
/// Messages in one page of history at most.
const PAGE_MAX: usize = 999;

pub(super) fn router(state: Shared) -> Router {
    Router::new()
        .route("/api/{method}", any(call))
        .with_state(state)
}

/// A word of Slack's for what is wrong.
type Said = &'static str;

async fn call(
    Shares(state): Shares<Shared>,
    Path(method): Path<String>,
    verb: Method,
    headers: HeaderMap,
    Query(query): Query<Map<String, Value>>,
    body: Bytes,
) -> Response {
    let args = if verb == Method::GET {
        Value::Object(query)
    } else {
        serde_json::from_slice(&body).unwrap_or_default()
    };
    let fault = lock(&state).begin(&method, &args);
    match fault {
        None => act(&state, &method, &verb, &headers, &args),
        Some(Fault::Limited { retry_after_s }) => limited(retry_after_s),
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            (status, "<html>upstream</html>").into_response()
        }
        Some(Fault::Says(word)) => no(word),
        Some(Fault::AnswerLost) => {
            act(&state, &method, &verb, &headers, &args);
            broken()
        }
        Some(Fault::NoAnswer) => {
            act(&state, &method, &verb, &headers, &args);
            std::future::pending::<Infallible>().await;
            broken()
        }
        Some(Fault::Slow(wait)) => {
            // Slack goes on when nobody waits any more.
            let (shared, verb) = (state.clone(), verb.clone());
            let (tell, told) = tokio::sync::oneshot::channel();
            state.late.spawn(TaskKind::Work, "slow answer", async move {
                SystemClock::new().sleep(wait).await;
                drop(tell.send(act(&shared, &method, &verb, &headers, &args)));
            });
            told.await.unwrap_or_else(|_| broken())
        }
    }
}

/// An answer that breaks off before its end.
fn broken() -> Response {
    let broken = std::io::Error::other("the connection breaks");
    let parts = futures_util::stream::iter([Ok(Bytes::from_static(b"{\"o")), Err(broken)]);
    (StatusCode::OK, Body::from_stream(parts)).into_response()
}

fn limited(retry_after_s: u64) -> Response {
    let headers = [("retry-after", retry_after_s.to_string())];
    let body = Json(json!({ "ok": false, "error": "ratelimited" }));
    (StatusCode::TOO_MANY_REQUESTS, headers, body).into_response()
}

fn no(word: Said) -> Response {
    Json(json!({ "ok": false, "error": word })).into_response()
}

/// Does what is asked, by Slack's rules.
fn act(state: &Shared, method: &str, verb: &Method, headers: &HeaderMap, args: &Value) -> Response {
    let mut state = lock(state);
    let given = headers.get("authorization").and_then(|v| v.to_str().ok());
    if given != Some(&format!("Bearer {}", state.token)) {
        return no("invalid_auth");
    }
    let writes = method.starts_with("chat.");
    let is_json = headers
        .get("content-type")
        .and_then(|v| v.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"));
    if writes && !(verb == Method::POST && is_json) {
        return no("invalid_arguments");
    }
    let scopes: Vec<&str> = state.scopes.iter().map(String::as_str).collect();
    let scopes = scopes.join(",");
    let needed = match method {
        "chat.postMessage" | "chat.update" => Some("chat:write"),
        "conversations.history" => Some("channels:history"),
        _ => None,
    };
    if let Some(needed) = needed.filter(|needed| !state.scopes.contains(*needed)) {
        let body =
            json!({ "ok": false, "error": "missing_scope", "needed": needed, "provided": scopes });
        return Json(body).into_response();
    }
    let answer = match method {
        "auth.test" => Ok(json!({
            "ok": true, "url": "https://night.slack.example/", "team": "Night", "user": "nightshift",
            "team_id": "T0NIGHT0001", "user_id": USER, "bot_id": BOT,
        })),
        "chat.postMessage" => {
            if let Some(wait) = state.too_soon() {
                return limited(wait);
            }
            post(&mut state, args)
        }
        "chat.update" => update(&mut state, args),
        "conversations.history" => history(&state, args),
        _ => Err("unknown_method"),
    };
    match answer {
        Ok(body) => ([("x-oauth-scopes", scopes)], Json(body)).into_response(),
        Err(word) => no(word),
    }
}

fn text<'a>(args: &'a Value, field: &str) -> Option<&'a str> {
    args.get(field).and_then(Value::as_str)
}

fn in_channel(state: &State, args: &Value) -> Result<(), Said> {
    if text(args, "channel") != Some(CHANNEL) {
        return Err("channel_not_found");
    }
    state.is_member.then_some(()).ok_or("not_in_channel")
}

/// The parts of a message that are kept, checked as Slack checks them.
fn content(args: &Value) -> Result<Value, Said> {
    let blocks = args.get("blocks").and_then(Value::as_array);
    let has_text = text(args, "text").is_some_and(|text| !text.is_empty());
    if !has_text && blocks.is_none_or(Vec::is_empty) {
        return Err("no_text");
    }
    let bad_block = |block: &Value| {
        let shown = block
            .pointer("/text/text")
            .or(block.pointer("/elements/0/text"));
        let length = shown
            .and_then(Value::as_str)
            .map_or(0, |text| text.encode_utf16().count());
        block.get("type").is_none() || length > 3000
    };
    if blocks.is_some_and(|blocks| blocks.len() > BLOCKS_MAX || blocks.iter().any(bad_block)) {
        return Err("invalid_blocks");
    }
    if let Some(metadata) = args.get("metadata") {
        let fits = metadata.get("event_type").is_some_and(Value::is_string)
            && metadata.get("event_payload").is_some_and(Value::is_object);
        if !fits {
            return Err("invalid_metadata_format");
        }
    }
    let kept = ["text", "blocks", "metadata"];
    let kept = kept
        .iter()
        .filter_map(|&field| Some((field.to_owned(), args.get(field)?.clone())));
    Ok(Value::Object(kept.collect()))
}

fn post(state: &mut State, args: &Value) -> Result<Value, Said> {
    in_channel(state, args)?;
    let body = content(args)?;
    let ts = state.post(body.clone());
    Ok(json!({ "ok": true, "channel": CHANNEL, "ts": ts, "message": body }))
}

fn update(state: &mut State, args: &Value) -> Result<Value, Said> {
    if text(args, "channel") != Some(CHANNEL) {
        return Err("channel_not_found");
    }
    let body = content(args)?;
    let ts = text(args, "ts").ok_or("invalid_arguments")?;
    let found = state.messages.iter_mut().find(|message| message.ts == ts);
    let message = found.ok_or("message_not_found")?;
    if !message.is_ours() {
        return Err("cant_update_message");
    }
    message.body = body;
    message.edits += 1;
    Ok(json!({ "ok": true, "channel": CHANNEL, "ts": ts, "text": message.text() }))
}

/// Newest first, a page at a time; the cursor is the name of the last message shown.
fn history(state: &State, args: &Value) -> Result<Value, Said> {
    in_channel(state, args)?;
    let with_metadata = text(args, "include_all_metadata") == Some("true");
    let limit = text(args, "limit").map_or(Ok(100), str::parse);
    let limit: usize = limit.map_err(|_| "invalid_limit")?;
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err("invalid_limit");
    }
    let micros = |ts: &str| {
        ts.replace('.', "")
            .parse::<i64>()
            .map_err(|_| "invalid_ts_oldest")
    };
    let oldest = text(args, "oldest").map_or(Ok(0), micros)?;
    let before = text(args, "cursor").map_or(Ok(i64::MAX), micros);
    let before = before.map_err(|_| "invalid_cursor")?;
    let mut shown = Vec::new();
    let mut last = None;
    let mut more = false;
    for message in state.messages.iter().rev() {
        let at = micros(&message.ts)?;
        if at >= before || at < oldest {
            continue;
        }
        if shown.len() == limit {
            more = true;
            break;
        }
        let mut body = message.body.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("type".to_owned(), "message".into());
            fields.insert("ts".to_owned(), message.ts.clone().into());
            fields.insert("bot_id".to_owned(), message.bot.clone().into());
            if !with_metadata {
                fields.remove("metadata");
            }
        }
        shown.push(body);
        last = Some(message.ts.clone());
    }
    let cursor = last.filter(|_| more).unwrap_or_default();
    Ok(json!({
        "ok": true, "messages": shown, "has_more": more, "response_metadata": { "next_cursor": cursor },
    }))
}
