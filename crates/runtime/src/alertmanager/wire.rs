//! What Alertmanager answers. What is unknown is passed over, what is missing or `null` is empty, and
//! a time that cannot be read is no time: one strange field does not hide all the others.

use std::collections::BTreeMap;
use std::time::Duration;

use incident::Untrusted;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// Go's zero time, 0001-01-01T00:00:00Z, in seconds: "no time".
const ZERO_SECOND: i64 = -62_135_596_800;
/// What Alertmanager uses where its configuration does not say.
const RESOLVE_TIMEOUT: Duration = Duration::from_mins(5);

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    let time = text.parse::<Timestamp>().ok();
    Ok(time.filter(|time| time.as_second() != ZERO_SECOND))
}

/// One alert that Alertmanager holds and that has not ended.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Alert {
    /// Digest of the labels, as Alertmanager computed it.
    #[serde(deserialize_with = "or_default")]
    pub fingerprint: String,
    /// Label names and values.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, Untrusted>,
    /// Annotation names and values.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, Untrusted>,
    /// When it began.
    #[serde(deserialize_with = "time")]
    pub starts_at: Option<Timestamp>,
    /// When it counts as ended unless it is sent again.
    #[serde(deserialize_with = "time")]
    pub ends_at: Option<Timestamp>,
    /// When it was last sent.
    #[serde(deserialize_with = "time")]
    pub updated_at: Option<Timestamp>,
    /// The Prometheus page of the expression.
    #[serde(rename = "generatorURL", deserialize_with = "or_default")]
    pub generator_url: Untrusted,
    /// Active or suppressed, and by what.
    #[serde(deserialize_with = "or_default")]
    pub status: AlertState,
    #[serde(deserialize_with = "or_default")]
    receivers: Vec<Named>,
}

impl Alert {
    /// Names of the receivers that it is routed to.
    pub fn receivers(&self) -> impl Iterator<Item = &str> {
        self.receivers.iter().map(|receiver| receiver.name.as_str())
    }
}

/// What Alertmanager makes of an alert.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AlertState {
    /// `active`, `suppressed` or `unprocessed`.
    #[serde(deserialize_with = "or_default")]
    pub state: String,
    /// Ids of silences.
    #[serde(deserialize_with = "or_default")]
    pub silenced_by: Vec<String>,
    /// Fingerprints of the alerts that inhibit it.
    #[serde(deserialize_with = "or_default")]
    pub inhibited_by: Vec<String>,
    /// Time intervals that mute it; none from an Alertmanager before 0.28, which does not tell, and
    /// told truly only for the alerts of a group.
    pub muted_by: Option<Vec<String>>,
}

impl AlertState {
    /// Whether people are told of it: active, not silenced, not inhibited, not muted.
    pub fn is_told(&self) -> bool {
        self.state == "active"
            && self.silenced_by.is_empty()
            && self.inhibited_by.is_empty()
            && self.muted_by.as_ref().is_none_or(Vec::is_empty)
    }
}

/// Alerts that are sent together to one receiver.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Group {
    /// The labels they share.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, Untrusted>,
    /// The alerts.
    #[serde(deserialize_with = "or_default")]
    pub alerts: Vec<Alert>,
    #[serde(deserialize_with = "or_default")]
    receiver: Named,
}

impl Group {
    /// Who it is sent to.
    pub fn receiver(&self) -> &str {
        &self.receiver.name
    }
}

/// Something that has only a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
}

/// A silence.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Silence {
    /// Its id.
    #[serde(deserialize_with = "or_default")]
    pub id: String,
    /// All of them must match.
    #[serde(deserialize_with = "or_default")]
    pub matchers: Vec<SilenceMatcher>,
    /// From when on.
    #[serde(deserialize_with = "time")]
    pub starts_at: Option<Timestamp>,
    /// Until when.
    #[serde(deserialize_with = "time")]
    pub ends_at: Option<Timestamp>,
    /// Who made it.
    #[serde(deserialize_with = "or_default")]
    pub created_by: Untrusted,
    /// Why.
    #[serde(deserialize_with = "or_default")]
    pub comment: Untrusted,
    #[serde(deserialize_with = "or_default")]
    status: StateOnly,
}

impl Silence {
    /// `pending`, `active` or `expired`.
    pub fn state(&self) -> &str {
        &self.status.state
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct StateOnly {
    #[serde(deserialize_with = "or_default")]
    state: String,
}

/// One matcher of a silence.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SilenceMatcher {
    /// The label.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// The value or the expression.
    #[serde(deserialize_with = "or_default")]
    pub value: Untrusted,
    /// Whether it is an expression.
    pub is_regex: bool,
    /// Whether it must match; otherwise it must not.
    pub is_equal: bool,
}

impl Default for SilenceMatcher {
    fn default() -> Self {
        Self {
            name: String::new(),
            value: Untrusted::default(),
            is_regex: false,
            is_equal: true,
        }
    }
}

/// What an Alertmanager says of itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// When it started.
    #[serde(rename = "uptime", deserialize_with = "time")]
    pub started_at: Option<Timestamp>,
    #[serde(deserialize_with = "or_default")]
    cluster: Cluster,
    #[serde(deserialize_with = "or_default")]
    config: Text,
    #[serde(deserialize_with = "or_default")]
    version_info: Version,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Cluster {
    #[serde(deserialize_with = "or_default")]
    status: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Text {
    #[serde(deserialize_with = "or_default")]
    original: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Version {
    #[serde(deserialize_with = "or_default")]
    version: Untrusted,
}

impl Status {
    /// Its version, as one printable line.
    pub fn version(&self) -> String {
        self.version_info.version.one_line(40)
    }

    /// Whether it is still finding its peers and may not know what they know.
    pub fn is_settling(&self) -> bool {
        self.cluster.status == "settling"
    }

    /// After how long an alert that nobody sends again counts as ended.
    pub fn resolve_timeout(&self) -> Duration {
        let text = &self.config.original;
        let mut lines = text.lines().map(str::trim_start);
        let found = lines.find_map(|line| line.strip_prefix("resolve_timeout:"));
        found
            .and_then(|value| span(value.trim()))
            .unwrap_or(RESOLVE_TIMEOUT)
    }

    /// Whether its configuration mutes anybody by time.
    pub fn mutes_by_time(&self) -> bool {
        let text = &self.config.original;
        ["mute_time_intervals:", "active_time_intervals:"]
            .iter()
            .any(|field| text.contains(field))
    }
}

/// A length of time as Prometheus writes it: `1d12h30m5s10ms`.
fn span(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_prometheus_writes_them() {
        let check = |text: &str, seconds: Option<f64>| {
            assert_eq!(span(text).map(|span| span.as_secs_f64()), seconds, "{text}");
        };
        check("5m", Some(300.0));
        check("1h30m", Some(5400.0));
        check("1m30s250ms", Some(90.25));
        check("0s", Some(0.0));
        check("", None);
        check("m", None);
        check("5", None);
        check("5 m", None);
        check("99999999999999999999s", None);
    }

    #[test]
    fn a_status_says_how_long_alerts_last_and_who_is_muted() {
        let status = |original: &str| Status {
            config: Text {
                original: original.to_owned(),
            },
            ..Status::default()
        };
        let plain = status("global:\n  resolve_timeout: 90s\nroute:\n  receiver: a\n");
        assert_eq!(plain.resolve_timeout(), Duration::from_secs(90));
        assert!(!plain.mutes_by_time());
        assert_eq!(status("").resolve_timeout(), Duration::from_mins(5));
        assert!(status("route:\n  mute_time_intervals:\n  - night\n").mutes_by_time());
    }

    #[test]
    fn strange_fields_do_not_hide_the_others() {
        let text = r#"{"fingerprint":null,"labels":{"a":"b"},"annotations":null,"startsAt":"soon",
            "endsAt":"0001-01-01T00:00:00Z","updatedAt":"2026-11-20T15:55:10.256+01:00",
            "status":{"state":"active","silencedBy":null,"new":1},"receivers":[{"name":"x"},{}],"extra":[]}"#;
        let alert: Alert = serde_json::from_str(text).expect("an alert");
        assert_eq!((alert.starts_at, alert.ends_at), (None, None));
        assert_eq!(
            alert.updated_at.map(|at| at.to_string()).as_deref(),
            Some("2026-11-20T14:55:10.256Z")
        );
        assert!(alert.status.is_told());
        assert_eq!(alert.receivers().collect::<Vec<_>>(), ["x", ""]);
        let muted = r#"{"state":"active","mutedBy":["night"]}"#;
        let muted: AlertState = serde_json::from_str(muted).expect("a state");
        assert!(!muted.is_told());
    }
}
