//! `POST /api/v1/dlq/{stream}/{id}`: a person's signed order about one dead letter.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use incident::approval::BadApproval;
use incident::error::{Classify, Code, Kind};
use incident::order::Action;
use incident::ports::StreamError;
use incident::{Order, SignedOrder, Untrusted};
use serde::Serialize;

use super::super::read::ReadError;
use super::{missing, wrong};
use crate::body::{self, BodyError};
use crate::refusal::Refuse;
use crate::state::Hook;

/// Longest order, in bytes.
const ORDER_BYTES_MAX: usize = 8 * 1024;
/// Longest name of a person in a log, in characters.
const PERSON_CHARS_MAX: usize = 80;

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("orders cannot be verified here: there is no approval key")]
    NotSetUp,
    #[error("the body is not a signed order: {0}")]
    NotAnOrder(String),
    #[error("the order is about {0}, not about the dead letter in the path")]
    Other(String),
    #[error(transparent)]
    Refused(BadApproval),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Classify for OrderError {
    fn kind(&self) -> Kind {
        match self {
            Self::Body(error) => error.kind(),
            Self::Read(error) => error.kind(),
            _ => Kind::Permanent,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NotSetUp => Code("E-HOOK-018"),
            Self::NotAnOrder(_) | Self::Other(_) => Code("E-HOOK-015"),
            Self::Refused(_) => Code("E-HOOK-016"),
            Self::Body(error) => error.code(),
            Self::Read(error) => error.code(),
        }
    }
}

impl Refuse for OrderError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotSetUp => StatusCode::NOT_IMPLEMENTED,
            Self::NotAnOrder(_) | Self::Other(_) => StatusCode::BAD_REQUEST,
            Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::Body(error) => error.status(),
            Self::Read(error) => error.status(),
        }
    }

    fn field(&self) -> String {
        match self {
            Self::NotAnOrder(_) => "body".into(),
            Self::Other(_) => "letter".into(),
            Self::Refused(BadApproval::Signature | BadApproval::ShortKey(_)) => "signature".into(),
            Self::Refused(_) => "expires_at".into(),
            Self::Body(error) => error.field(),
            Self::Read(error) => error.field(),
            Self::NotSetUp => String::new(),
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::NotSetUp => "give this role the approval key",
            Self::NotAnOrder(_) | Self::Other(_) => {
                "use `nightshift dlq redrive` or `nightshift dlq drop`; they sign an order"
            }
            Self::Refused(_) => "give the order again, with this installation's key",
            Self::Body(error) => error.remedy(),
            Self::Read(error) => error.remedy(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotSetUp => "order_not_set_up",
            Self::NotAnOrder(_) | Self::Other(_) => "order_not_an_order",
            Self::Refused(_) => "order_refused",
            Self::Body(error) => error.reason(),
            Self::Read(error) => error.reason(),
        }
    }
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    stream: String,
    id: String,
    action: Action,
}

pub(crate) async fn carry_out(
    State(hook): State<Hook>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let done = async {
        let Path((stream, id)) = path.map_err(|rejection| wrong("path", rejection.body_text()))?;
        obey(&hook, &stream, &id, request).await
    };
    match done.await {
        Ok(done) => Json(done).into_response(),
        Err(error) => hook.refuse(&error),
    }
}

async fn obey(hook: &Hook, stream: &str, id: &str, request: Request) -> Result<Done, OrderError> {
    let key = hook.approval_key().ok_or(OrderError::NotSetUp)?;
    let (short, stream) = hook.named(stream)?;
    let (parts, body) = request.into_parts();
    let cx = hook.cx(hook.config().body_timeout);
    let bytes = body::read(&parts.headers, body, ORDER_BYTES_MAX, &cx).await?;
    let order: SignedOrder = serde_json::from_slice(&bytes)
        .map_err(|error| OrderError::NotAnOrder(error.to_string()))?;
    let order = order.verify(key, hook.now()).map_err(OrderError::Refused)?;
    if order.stream != short || order.letter != id {
        let name = super::name(&order.stream, &order.letter);
        return Err(OrderError::Other(name));
    }
    let Order { action, person, .. } = order;
    let done = async {
        let done = match action {
            Action::Redrive => stream.redrive(id).await,
            Action::Drop => stream.discard(id).await,
        };
        done.map_err(|error: StreamError| OrderError::Read(ReadError::Stream(error)))
    };
    if !hook.ask(done).await? {
        return Err(OrderError::Read(missing(short, id)));
    }
    let person = Untrusted::new(person).one_line(PERSON_CHARS_MAX);
    tracing::info!(stream = short, letter = id, %action, person, "order about a dead letter carried out");
    hook.counts().dead_letter(short, action);
    Ok(Done {
        stream: short.to_owned(),
        id: id.to_owned(),
        action,
    })
}
