//! What the Prometheus HTTP API answers, as it stands in the body.

use incident::Untrusted;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Answer, Labels, ReadError, Samples};

/// The data of a successful answer.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<Answer<T>, ReadError> {
    #[derive(Deserialize)]
    struct Envelope<T> {
        data: T,
        #[serde(default)]
        warnings: Vec<String>,
    }
    let envelope: Envelope<T> = serde_json::from_slice(body)
        .map_err(|e| ReadError::Unreadable(Untrusted::new(e.to_string()).one_line(200)))?;
    Ok(Answer {
        data: envelope.data,
        warnings: envelope.warnings.into_iter().map(Untrusted::from).collect(),
    })
}

#[derive(Deserialize, Default)]
pub(super) struct Failure {
    #[serde(rename = "errorType", default)]
    pub(super) error_type: String,
    #[serde(default)]
    pub(super) error: String,
}

#[derive(Deserialize)]
pub(super) struct Matrix {
    #[serde(default)]
    pub(super) result: Vec<RawSamples>,
}

#[derive(Deserialize)]
pub(super) struct RawSamples {
    metric: Labels,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

impl From<RawSamples> for Samples {
    fn from(raw: RawSamples) -> Self {
        let point = |(at, value): (f64, String)| {
            let value = value.parse::<f64>().ok().filter(|v| v.is_finite())?;
            Some((instant(at)?, value))
        };
        Self {
            labels: raw.metric,
            points: raw.values.into_iter().filter_map(point).collect(),
        }
    }
}

/// Prometheus keeps time in milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "out-of-range seconds saturate and are refused by the next step"
)]
fn instant(at: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((at * 1000.0).round() as i64).ok()
}

#[derive(Deserialize)]
pub(super) struct Rules {
    #[serde(default)]
    pub(super) groups: Vec<RuleGroup>,
}

#[derive(Deserialize)]
pub(super) struct RuleGroup {
    #[serde(default)]
    pub(super) rules: Vec<RawRule>,
}

#[derive(Deserialize)]
pub(super) struct RawRule {
    pub(super) name: String,
    #[serde(default)]
    pub(super) query: String,
    #[serde(default)]
    pub(super) duration: f64,
}
