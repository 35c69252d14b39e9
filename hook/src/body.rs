//! Reading a request body within a size and a time.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use incident::error::{Classify, Code, Kind};
use incident::ports::Cx;

use crate::refusal::Refuse;

/// Why a body could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// More bytes than may be.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// What may be.
        limit: usize,
    },
    /// Did not arrive in time.
    #[error("the body did not arrive within {0:?}")]
    Slow(Duration),
    /// The connection broke, or its framing is wrong.
    #[error("the body was cut off: {0}")]
    Cut(String),
}

impl Classify for BodyError {
    fn kind(&self) -> Kind {
        match self {
            Self::TooLarge { .. } => Kind::Permanent,
            Self::Slow(_) | Self::Cut(_) => Kind::Transient,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code("E-HOOK-007"),
            Self::Slow(_) | Self::Cut(_) => Code("E-HOOK-008"),
        }
    }
}

impl Refuse for BodyError {
    fn status(&self) -> StatusCode {
        StatusCode::PAYLOAD_TOO_LARGE
    }

    fn field(&self) -> String {
        "body".into()
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => {
                "set max_alerts on the receiver in Alertmanager, or raise hook.body_max"
            }
            Self::Slow(_) | Self::Cut(_) => "send it again",
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Slow(_) => "slow_body",
            Self::Cut(_) => "cut_body",
        }
    }
}

/// The whole body, if it has at most `limit` bytes and arrives before `cx` ends.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    cx: &Cx,
) -> Result<Bytes, BodyError> {
    let within = cx.remaining();
    let told = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut stream = body.into_data_stream();
    match cx.bound(collect(&mut stream, told, limit)).await {
        Some(Err(BodyError::TooLarge { limit })) => {
            // A connection closed on unread bytes is reset, and the sender would never see why. So
            // a body that is a little too long is read to its end, and thrown away.
            let patience = limit.saturating_mul(2);
            if told.is_none_or(|told| told <= patience) {
                cx.bound(discard(&mut stream, patience)).await;
            }
            Err(BodyError::TooLarge { limit })
        }
        Some(result) => result,
        None => Err(BodyError::Slow(within)),
    }
}

async fn collect(
    stream: &mut BodyDataStream,
    told: Option<usize>,
    limit: usize,
) -> Result<Bytes, BodyError> {
    let too_large = BodyError::TooLarge { limit };
    if told.is_some_and(|told| told > limit) {
        return Err(too_large);
    }
    let mut next = async || match stream.next().await {
        Some(Ok(bytes)) => Ok(Some(bytes)),
        Some(Err(error)) => Err(BodyError::Cut(error.to_string())),
        None => Ok(None),
    };
    let Some(first) = next().await? else {
        return Ok(Bytes::new());
    };
    if first.len() > limit {
        return Err(too_large);
    }
    let Some(mut more) = next().await? else {
        return Ok(first);
    };
    let mut whole = BytesMut::with_capacity(told.unwrap_or_default().max(first.len() * 2));
    whole.extend_from_slice(&first);
    loop {
        if whole.len() + more.len() > limit {
            return Err(too_large);
        }
        whole.extend_from_slice(&more);
        match next().await? {
            Some(bytes) => more = bytes,
            None => return Ok(whole.freeze()),
        }
    }
}

async fn discard(stream: &mut BodyDataStream, bytes_max: usize) {
    let mut left = bytes_max;
    while let Some(Ok(bytes)) = stream.next().await {
        let Some(rest) = left.checked_sub(bytes.len()) else {
            return;
        };
        left = rest;
    }
}
