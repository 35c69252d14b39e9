//! Reading stored documents, in bounded time.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use incident::Incident;
use incident::error::{Classify, Code, Kind};
use incident::ids::IncidentId;
use incident::ports::{StoreError, StreamError, Versioned};
use incident::{Report, keys};
use serde::de::DeserializeOwned;

use crate::refusal::Refuse;
use crate::state::Hook;

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("there is no {what} {name}")]
    NotFound { what: &'static str, name: String },
    #[error("{field}: {why}")]
    Ask { field: &'static str, why: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stream(StreamError),
    #[error("the store did not answer within {0}")]
    Slow(runtime::config::Span),
}

impl Classify for ReadError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } | Self::Ask { .. } => Kind::Permanent,
            Self::Store(error) => error.kind(),
            Self::Stream(error) => error.kind(),
            Self::Slow(_) => Kind::Transient,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code("E-HOOK-014"),
            Self::Ask { .. } => Code("E-HOOK-015"),
            Self::Store(error) => error.code(),
            Self::Stream(error) => error.code(),
            Self::Slow(_) => Code("E-HOOK-012"),
        }
    }
}

impl Refuse for ReadError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Ask { .. } => StatusCode::BAD_REQUEST,
            Self::Store(error) => error.status(),
            Self::Stream(error) => error.status(),
            Self::Slow(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn field(&self) -> String {
        match self {
            Self::NotFound { .. } => "path".into(),
            Self::Ask { field, .. } => (*field).into(),
            Self::Store(_) | Self::Stream(_) | Self::Slow(_) => String::new(),
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "list what there is: GET /api/v1/incidents, GET /api/v1/dlq",
            Self::Ask { .. } => "see docs/errors/E-HOOK-015.md for what can be asked",
            Self::Store(error) => error.remedy(),
            Self::Stream(error) => error.remedy(),
            Self::Slow(_) => "try again; if it lasts, look at the store",
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Ask { .. } => "bad_question",
            Self::Store(error) => error.reason(),
            Self::Stream(error) => error.reason(),
            Self::Slow(_) => "store_timeout",
        }
    }
}

/// The one name in a path, refused like everything else if it is no text.
pub(crate) struct Named(pub(crate) String);

impl FromRequestParts<Hook> for Named {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, hook: &Hook) -> Result<Self, Response> {
        match Path::from_request_parts(parts, hook).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(rejection) => Err(hook.refuse(&ReadError::Ask {
                field: "path",
                why: rejection.body_text(),
            })),
        }
    }
}

/// The incident id of a path.
pub(crate) fn incident_id(text: &str) -> Result<IncidentId, ReadError> {
    IncidentId::parse(text).map_err(|error| ReadError::Ask {
        field: "id",
        why: error.to_string(),
    })
}

/// The document at `key`.
pub(crate) fn decode<T: DeserializeOwned>(key: &str, found: &Versioned) -> Result<T, StoreError> {
    serde_json::from_slice(&found.value).map_err(|error| StoreError::Corrupt {
        key: key.to_owned(),
        why: error.to_string(),
    })
}

impl Hook {
    /// Runs a question to the store within the time it may take.
    pub(crate) async fn ask<T, E: From<ReadError>>(
        &self,
        question: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let timeout = self.config().store_timeout;
        let answer = self.cx(timeout).bound(question).await;
        answer.unwrap_or_else(|| Err(ReadError::Slow(timeout).into()))
    }

    pub(crate) async fn incident(&self, id: &IncidentId) -> Result<Incident, ReadError> {
        let key = keys::incident(id);
        match self.store().get(&key).await? {
            Some(found) => Ok(decode(&key, &found)?),
            None => Err(ReadError::NotFound {
                what: "incident",
                name: id.to_string(),
            }),
        }
    }

    pub(crate) async fn report(&self, id: &IncidentId) -> Result<Option<Report>, ReadError> {
        let key = keys::report(id);
        match self.store().get(&key).await? {
            Some(found) => Ok(Some(decode(&key, &found)?)),
            None => Ok(None),
        }
    }
}
