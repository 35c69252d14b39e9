//! `GET /api/v1/backlog`: how much there is to do, for KEDA's metrics-api and for people.
//!
//! A stream that cannot be asked makes the whole answer a 503: a wrong zero would scale in, an error
//! only holds.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::try_join_all;
use incident::ports::StreamError;
use incident::{Severity, Stream};
use serde::Serialize;

use super::read::ReadError;
use crate::refusal::Refuse;
use crate::state::Hook;

#[derive(Debug, Serialize)]
struct Answer {
    /// Everything that is waiting or claimed.
    total: u64,
    /// Dead letters of all streams.
    dead: u64,
    /// The oldest age of all.
    oldest_age_s: f64,
    /// `events`, `critical`, `warning`, `info`.
    streams: BTreeMap<&'static str, Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    stream: String,
    waiting: u64,
    claimed: u64,
    dead: u64,
    /// 0 when nothing is waiting or claimed.
    oldest_age_s: f64,
    total: u64,
}

pub(crate) async fn backlog(State(hook): State<Hook>) -> Response {
    let work = hook.work().iter();
    let work = work.map(|(severity, stream): (&Severity, _)| (severity.lane(), stream.as_ref()));
    let streams = std::iter::once(("events", hook.events())).chain(work);
    let asked = try_join_all(streams.map(|(name, stream)| line(name, stream)));
    let timeout = hook.config().store_timeout;
    match hook.cx(timeout).bound(asked).await {
        Some(Ok(lines)) => Json(sum(lines.into_iter().collect())).into_response(),
        Some(Err(error)) => hook.refuse(&error as &dyn Refuse),
        None => hook.refuse(&ReadError::Slow(timeout)),
    }
}

async fn line(
    name: &'static str,
    stream: &dyn Stream,
) -> Result<(&'static str, Line), StreamError> {
    let backlog = stream.backlog().await?;
    let line = Line {
        stream: stream.name().to_owned(),
        waiting: backlog.waiting,
        claimed: backlog.claimed,
        dead: backlog.dead,
        oldest_age_s: backlog.oldest_age.unwrap_or_default().as_secs_f64(),
        total: backlog.total(),
    };
    Ok((name, line))
}

fn sum(streams: BTreeMap<&'static str, Line>) -> Answer {
    let oldest = streams.values().map(|line| line.oldest_age_s);
    Answer {
        total: streams.values().map(|line| line.total).sum(),
        dead: streams.values().map(|line| line.dead).sum(),
        oldest_age_s: oldest.fold(0.0, f64::max),
        streams,
    }
}
