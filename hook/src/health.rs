//! `GET /readyz`: ready means that an alert sent now would be stored.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use incident::Untrusted;
use incident::error::{Classify, Code, Kind};
use incident::ports::Cancel as _;

use crate::gate::GateError;
use crate::refusal::{self, Refuse};
use crate::state::Hook;

/// Why the hook is not ready.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NotReady {
    #[error("alerts cannot be stored: {0}")]
    CannotStore(String),
    #[error("alerts cannot be stored: the probe took longer than {0}")]
    Slow(runtime::config::Span),
}

impl Classify for NotReady {
    fn kind(&self) -> Kind {
        Kind::Transient
    }

    fn code(&self) -> Code {
        Code("E-HOOK-013")
    }
}

impl Refuse for NotReady {
    fn status(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn remedy(&self) -> &'static str {
        "look at the stream and the store; readiness comes back with them"
    }

    fn reason(&self) -> &'static str {
        "not_ready"
    }
}

/// The newest answer of the probe and when it was given.
pub(crate) type LastProbe = Option<(Duration, Result<(), NotReady>)>;

/// Asks without credentials, so the answer names no cause; the log does.
pub(crate) async fn ready(State(hook): State<Hook>) -> Response {
    if hook.draining().is_cancelled() {
        return refusal::answer(&GateError::Draining, hook.config().retry_after.0);
    }
    match probe(&hook).await {
        Ok(()) => (StatusCode::OK, "ready\n").into_response(),
        Err(error) => {
            let shown = if hook.credentials().is_open() {
                error
            } else {
                NotReady::CannotStore("see the log for the cause".into())
            };
            refusal::answer(&shown, hook.config().retry_after.0)
        }
    }
}

/// One probe at a time; its answer stands for a moment, so that whoever may ask without credentials
/// cannot make the store busy.
async fn probe(hook: &Hook) -> Result<(), NotReady> {
    let timeout = hook.config().ready_timeout;
    let ask = async {
        let mut last = hook.last_probe().lock().await;
        let now = hook.clock().elapsed();
        if let Some((at, result)) = &*last
            && now.saturating_sub(*at) < hook.config().ready_cache.0
        {
            return result.clone();
        }
        let result = match hook.cx(timeout).bound(hook.ask_ready()).await {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err(NotReady::CannotStore(Untrusted::new(why).one_line(200))),
            None => Err(NotReady::Slow(timeout)),
        };
        if let Err(error) = &result {
            tracing::warn!(code = %error.code(), %error, "not ready");
        }
        *last = Some((hook.clock().elapsed(), result.clone()));
        result
    };
    // Twice the time: the one that waits for somebody else's probe still gets its answer.
    let patience = runtime::config::Span(timeout.0.saturating_mul(2));
    let asked = hook.cx(patience).bound(ask).await;
    asked.unwrap_or(Err(NotReady::Slow(timeout)))
}
