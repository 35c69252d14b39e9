//! `GET /api/v1/backlog`: how much there is to do and how many dispatchers that asks for, for KEDA's
//! metrics-api and for people. The same numbers are told as metrics.
//!
//! A stream that cannot be asked makes the whole answer a 503: a wrong zero would scale in, an error
//! only holds.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::try_join_all;
use incident::error::Classify as _;
use incident::ports::StoreError;
use incident::{Pace, Severity, Stream, keys};
use runtime::CancelToken;
use runtime::backlog::Gauges;
use serde::Serialize;

use super::read::{ReadError, decode};
use crate::scaling::{self, Load, Want};
use crate::state::Hook;

#[derive(Debug, Serialize)]
struct Answer {
    /// `want` and what it follows from.
    #[serde(flatten)]
    want: Want,
    /// Everything that is waiting or claimed.
    total: u64,
    /// Dead letters of all streams.
    dead: u64,
    /// The oldest age of all.
    oldest_age_s: f64,
    /// What is left to do in all streams, one piece after the other.
    work_s: f64,
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
    /// What one entry is expected to take.
    mean_s: f64,
    /// What is left to do, one entry after the other.
    work_s: f64,
}

/// One stream as it was measured.
struct Measured {
    lane: &'static str,
    severity: Option<Severity>,
    stream: String,
    load: Load,
}

pub(crate) async fn backlog(State(hook): State<Hook>) -> Response {
    match measure(&hook).await {
        Ok(measured) => Json(answer(&hook, measured)).into_response(),
        Err(error) => hook.refuse(&error),
    }
}

/// Keeps the metrics of the backlog up to date until `drain`.
pub(crate) async fn serve_gauges(hook: Hook, gauges: Gauges, drain: CancelToken) {
    loop {
        let measured = tokio::select! {
            biased;
            () = drain.wait() => return,
            measured = measure(&hook) => measured,
        };
        match measured {
            Ok(measured) => {
                for one in measured {
                    gauges.set(&one.stream, one.lane, &one.load.backlog, one.load.left);
                }
            }
            Err(error) => {
                tracing::debug!(code = %error.code(), %error, "cannot measure the backlog");
            }
        }
        tokio::select! {
            biased;
            () = drain.wait() => return,
            () = hook.clock().sleep(hook.config().scaling.every.0) => {}
        }
    }
}

/// Asks every stream, within the time for one question.
async fn measure(hook: &Hook) -> Result<Vec<Measured>, ReadError> {
    let work = hook.work().iter();
    let work = work.map(|(severity, stream): (&Severity, _)| (Some(*severity), stream.as_ref()));
    let streams = std::iter::once((None, hook.events())).chain(work);
    let asked = streams.map(|(severity, stream)| one(hook, severity, stream));
    hook.ask(try_join_all(asked)).await
}

async fn one(
    hook: &Hook,
    severity: Option<Severity>,
    stream: &dyn Stream,
) -> Result<Measured, ReadError> {
    let lane = severity.map_or(Pace::EVENTS, Severity::lane);
    let backlog = stream.backlog().await.map_err(ReadError::Stream)?;
    let key = keys::pace(lane);
    let pace = match hook.store().get(&key).await? {
        // An estimate that cannot be read is none.
        Some(stored) => decode(&key, &stored).unwrap_or_else(|error: StoreError| {
            tracing::warn!(code = %error.code(), %error, "how long work takes cannot be read");
            Pace::default()
        }),
        None => Pace::default(),
    };
    Ok(Measured {
        lane,
        severity,
        stream: stream.name().to_owned(),
        load: Load::new(backlog, &pace, lane),
    })
}

fn answer(hook: &Hook, measured: Vec<Measured>) -> Answer {
    let mut streams = BTreeMap::new();
    let (mut events, mut work) = (None, BTreeMap::new());
    for one in measured {
        let backlog = &one.load.backlog;
        let line = Line {
            stream: one.stream,
            waiting: backlog.waiting,
            claimed: backlog.claimed,
            dead: backlog.dead,
            oldest_age_s: backlog.oldest_age.unwrap_or_default().as_secs_f64(),
            total: backlog.total(),
            mean_s: one.load.mean.as_secs_f64(),
            work_s: one.load.left.as_secs_f64(),
        };
        streams.insert(one.lane, line);
        match one.severity {
            None => events = Some(one.load),
            Some(severity) => drop(work.insert(severity, one.load)),
        }
    }
    let events = events.expect("the events are among the streams that are asked");
    let want = scaling::want(&events, &work, hook.capacity(), &hook.config().scaling);
    let oldest = streams.values().map(|line: &Line| line.oldest_age_s);
    Answer {
        want,
        total: streams.values().map(|line| line.total).sum(),
        dead: streams.values().map(|line| line.dead).sum(),
        oldest_age_s: oldest.fold(0.0, f64::max),
        work_s: streams.values().map(|line| line.work_s).sum(),
        streams,
    }
}
