//! How an error is answered: the status follows from its kind, the body says what to do.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use incident::Untrusted;
use incident::error::{Classify, Kind};
use incident::ports::{StoreError, StreamError};
use serde::Serialize;

/// Longest message in an answer, in characters.
const MESSAGE_CHARS_MAX: usize = 400;

/// An error that can be answered.
pub(crate) trait Refuse: Classify {
    /// The status of what will never be taken. Errors that pass by themselves are 503 whatever this
    /// says: Alertmanager tries again on 5xx only.
    fn status(&self) -> StatusCode;
    /// The part of the request that is at fault; empty if none is.
    fn field(&self) -> String {
        String::new()
    }
    /// What to do about it.
    fn remedy(&self) -> &'static str;
    /// The value of the `reason` label in metrics.
    fn reason(&self) -> &'static str;
}

/// The JSON body of every answer that is not a success.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    /// Stable, with a page in docs/errors/.
    pub(crate) code: &'static str,
    /// The part of the request that is at fault; empty if none is.
    pub(crate) field: String,
    /// What is wrong, as one printable line.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) remedy: &'static str,
}

impl Problem {
    pub(crate) fn of(error: &dyn Refuse) -> Self {
        Self {
            code: error.code().0,
            field: Untrusted::new(error.field()).one_line(MESSAGE_CHARS_MAX),
            message: Untrusted::new(error.to_string()).one_line(MESSAGE_CHARS_MAX),
            remedy: error.remedy(),
        }
    }
}

/// The status an error gets.
pub(crate) fn status(error: &dyn Refuse) -> StatusCode {
    match error.kind() {
        Kind::Transient | Kind::Overloaded { .. } | Kind::Cancelled | Kind::Exhausted => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Kind::Permanent => error.status(),
    }
}

/// The whole answer; a 503 asks for patience of `retry_after`.
pub(crate) fn answer(error: &dyn Refuse, retry_after: Duration) -> Response {
    let status = status(error);
    let mut response = (status, Json(Problem::of(error))).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let secs = HeaderValue::from(retry_after.as_secs().max(1));
        response.headers_mut().insert(header::RETRY_AFTER, secs);
    }
    response
}

impl Refuse for StoreError {
    fn status(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Corrupt { .. } => "see the page of this code for how to remove the broken value",
            _ => "try again; if it lasts, look at the store",
        }
    }

    fn reason(&self) -> &'static str {
        "store"
    }
}

impl Refuse for StreamError {
    // A limit of the stream is ours to keep, not the sender's: 5xx, so that nothing is dropped.
    fn status(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Full { .. } => {
                "nothing is lost: send it again; add dispatchers or raise the limit"
            }
            _ => "nothing is lost: send it again; if it lasts, look at the stream",
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Full { .. } => "stream_full",
            Self::Limit { .. } => "stream_limit",
            Self::LeaseLost { .. } | Self::Unavailable(_) => "stream_unavailable",
        }
    }
}
