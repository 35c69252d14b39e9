//! `GET /api/v1/alerts/{fingerprint}/rulings`: what triage decided for one alert, and on what state.

use std::collections::VecDeque;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use incident::{Ruling, keys};
use serde::Serialize;

use super::read::{Named, ReadError, decode};
use crate::fingerprint::as_sent;
use crate::state::Hook;

/// Stored values read at once.
const SCAN_STEP: usize = 200;

#[derive(Debug, Serialize)]
struct Rulings {
    fingerprint: String,
    /// The newest ruling.
    current: Ruling,
    /// Oldest first; the newest ones where there are more than a page holds.
    history: VecDeque<Ruling>,
    /// Older rulings that were left out.
    left_out: usize,
}

pub(crate) async fn rulings(State(hook): State<Hook>, Named(fingerprint): Named) -> Response {
    match hook.ask(read(&hook, &fingerprint)).await {
        Ok(rulings) => Json(rulings).into_response(),
        Err(error) => hook.refuse(&error),
    }
}

async fn read(hook: &Hook, text: &str) -> Result<Rulings, ReadError> {
    let fingerprint = as_sent(text).ok_or_else(|| ReadError::Ask {
        field: "fingerprint",
        why: "a fingerprint is 16 hex digits".into(),
    })?;
    let prefix = keys::history(&fingerprint);
    let mut history: VecDeque<Ruling> = VecDeque::new();
    let (mut after, mut scanned): (Option<String>, usize) = (None, 0);
    // The newest are at the end, so the list is walked; only a page of it is kept.
    while scanned < hook.config().scan_max {
        let step = SCAN_STEP.min(hook.config().scan_max - scanned);
        let found = hook.store().list(&prefix, after.as_deref(), step).await?;
        let last_step = found.len() < step;
        scanned += found.len();
        for (key, value) in found {
            history.push_back(decode(&key, &value)?);
            if history.len() > hook.config().page_max {
                history.pop_front();
            }
            after = Some(key);
        }
        if last_step {
            break;
        }
    }
    let Some(current) = history.back().cloned() else {
        return Err(ReadError::NotFound {
            what: "ruling on alert",
            name: fingerprint.to_string(),
        });
    };
    // The ruling on an event may have been corrected since it entered the history.
    let key = keys::ruling(&current.event);
    let current = match hook.store().get(&key).await? {
        Some(found) => decode(&key, &found)?,
        None => current,
    };
    Ok(Rulings {
        fingerprint: fingerprint.to_string(),
        left_out: scanned - history.len(),
        current,
        history,
    })
}
