//! The webhook body as it was sent, read in one pass and without trust.
//!
//! Only the outermost shape can fail here. Below that every value may be of any kind: what it means
//! is decided alert by alert, so that one strange alert does not take the others with it. What is
//! beyond a limit is counted while reading and never kept, so a body cannot ask for much more
//! memory than it has bytes.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use incident::Untrusted;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// How many of each are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) alerts: usize,
    pub(crate) labels: usize,
    pub(crate) annotations: usize,
}

/// The parts of a body that matter.
#[derive(Debug, Default)]
pub(crate) struct RawBody<'a> {
    pub(crate) version: Loose<'a>,
    pub(crate) group_key: Loose<'a>,
    pub(crate) receiver: Loose<'a>,
    pub(crate) external_url: Loose<'a>,
    pub(crate) truncated: Loose<'a>,
    pub(crate) alerts: Shaped<Vec<Shaped<RawAlert<'a>>>>,
    /// Alerts beyond the limit.
    pub(crate) alerts_cut: u64,
}

/// The parts of an alert that matter.
#[derive(Debug, Default)]
pub(crate) struct RawAlert<'a> {
    pub(crate) status: Loose<'a>,
    pub(crate) labels: Shaped<Pairs<'a>>,
    pub(crate) annotations: Shaped<Pairs<'a>>,
    pub(crate) starts_at: Loose<'a>,
    pub(crate) ends_at: Loose<'a>,
    pub(crate) generator_url: Loose<'a>,
    pub(crate) fingerprint: Loose<'a>,
}

/// Something of the shape that was looked for, or word of what stood there.
#[derive(Debug, Default)]
pub(crate) enum Shaped<T> {
    #[default]
    Absent,
    Is(T),
    Wrong(&'static str),
}

/// Names and values, the most telling names first.
#[derive(Debug, Default)]
pub(crate) struct Pairs<'a> {
    /// In order: a rank and a name, each once, and the value. A list, because that is cheaper than a
    /// tree for as few as an alert has.
    pub(crate) kept: Vec<((u8, Cow<'a, str>), Loose<'a>)>,
    pub(crate) left_out: u64,
}

/// What an alert usually has of labels.
const PAIRS_USUAL: usize = 16;

impl<'a> Pairs<'a> {
    /// Takes a pair, and drops the least telling one if there are more than `max`. Of one name the
    /// last value counts, as everywhere in JSON.
    fn take(&mut self, name: (u8, Cow<'a, str>), value: Loose<'a>, max: usize) {
        match self.kept.binary_search_by(|(known, _)| known.cmp(&name)) {
            Ok(place) => {
                if let Some((_, known)) = self.kept.get_mut(place) {
                    *known = value;
                }
            }
            Err(place) => self.kept.insert(place, (name, value)),
        }
        if self.kept.len() > max {
            self.kept.pop();
            self.left_out += 1;
        }
    }
}

/// A value of any kind.
#[derive(Debug, Default)]
pub(crate) enum Loose<'a> {
    /// Not there, or `null`.
    #[default]
    Absent,
    Text(Cow<'a, str>),
    /// A number or a flag, as JSON writes it.
    Scalar(String),
    Wrong(&'static str),
}

impl Loose<'_> {
    /// What stands there, for a message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Absent => "nothing".into(),
            Self::Text(text) => format!("{:?}", Untrusted::new(text.as_ref()).one_line(60)),
            Self::Scalar(scalar) => scalar.clone(),
            Self::Wrong(kind) => (*kind).into(),
        }
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::Scalar(_) | Self::Wrong(_) => None,
        }
    }
}

/// Names that say what an alert is about; kept first when there are too many.
const LABELS_FIRST: [&str; 20] = [
    "alertname",
    "severity",
    "cluster",
    "namespace",
    "pod",
    "container",
    "service",
    "deployment",
    "statefulset",
    "daemonset",
    "job_name",
    "workload",
    "node",
    "instance",
    "job",
    "app",
    "team",
    "reason",
    "device",
    "prometheus",
];
/// The annotations that people write first.
const ANNOTATIONS_FIRST: [&str; 6] = [
    "summary",
    "description",
    "message",
    "runbook_url",
    "dashboard_url",
    "value",
];

fn rank(first: &[&str], name: &str) -> u8 {
    let place = first.iter().position(|known| *known == name);
    place.map_or(u8::MAX, |place| u8::try_from(place).unwrap_or(u8::MAX))
}

/// Reads the outermost shape.
pub(crate) fn parse(text: &str, kept: Kept) -> Result<RawBody<'_>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let body = BodySeed(kept).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(body)
}

const ARRAY: &str = "an array";
const OBJECT: &str = "an object";

fn skip_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// The visitor methods for values that are not what was looked for.
macro_rules! other_kinds {
    ($($kind:ident)*) => { $(other_kinds!(@ $kind);)* };
    (@ scalars) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Shaped::Wrong("a flag"))
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Shaped::Wrong("a number"))
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Shaped::Wrong("a number"))
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Shaped::Wrong("a number"))
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Shaped::Wrong("text"))
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Shaped::Absent)
        }
    };
    (@ array) => {
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            skip_seq(seq).map(|()| Shaped::Wrong(ARRAY))
        }
    };
    (@ object) => {
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            skip_map(map).map(|()| Shaped::Wrong(OBJECT))
        }
    };
}

impl<'de> Deserialize<'de> for Loose<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Loose<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Loose::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Loose::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Loose::Scalar(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Loose::Scalar(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Loose::Scalar(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Loose::Scalar(value.to_string()))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Loose::Absent)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                skip_seq(seq).map(|()| Loose::Wrong(ARRAY))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                skip_map(map).map(|()| Loose::Wrong(OBJECT))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A name: borrowed where the text has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<'a>(PhantomData<&'a ()>);
        impl<'de> Visitor<'de> for Text<'de> {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text(PhantomData))
    }
}

#[derive(Clone, Copy)]
struct PairsSeed {
    first: &'static [&'static str],
    max: usize,
}

impl<'de> DeserializeSeed<'de> for PairsSeed {
    type Value = Shaped<Pairs<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PairsSeed {
    type Value = Shaped<Pairs<'de>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names and values")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Pairs {
            kept: Vec::with_capacity(PAIRS_USUAL.min(self.max)),
            left_out: 0,
        };
        while let Some(Name(name)) = map.next_key()? {
            let value = map.next_value()?;
            pairs.take((rank(self.first, &name), name), value, self.max);
        }
        Ok(Shaped::Is(pairs))
    }
    other_kinds!(scalars array);
}

#[derive(Clone, Copy)]
struct AlertSeed(Kept);

impl<'de> DeserializeSeed<'de> for AlertSeed {
    type Value = Shaped<RawAlert<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AlertSeed {
    type Value = Shaped<RawAlert<'de>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an alert")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let labels = PairsSeed {
            first: &LABELS_FIRST,
            max: self.0.labels,
        };
        let annotations = PairsSeed {
            first: &ANNOTATIONS_FIRST,
            max: self.0.annotations,
        };
        let mut alert = RawAlert::default();
        while let Some(Name(name)) = map.next_key()? {
            match name.as_ref() {
                "status" => alert.status = map.next_value()?,
                "labels" => alert.labels = map.next_value_seed(labels)?,
                "annotations" => alert.annotations = map.next_value_seed(annotations)?,
                "startsAt" => alert.starts_at = map.next_value()?,
                "endsAt" => alert.ends_at = map.next_value()?,
                "generatorURL" => alert.generator_url = map.next_value()?,
                "fingerprint" => alert.fingerprint = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Shaped::Is(alert))
    }
    other_kinds!(scalars array);
}

/// Alerts up to the limit, and how many were beyond it.
struct AlertsSeed(Kept);

type Alerts<'a> = (Vec<Shaped<RawAlert<'a>>>, u64);

impl<'de> DeserializeSeed<'de> for AlertsSeed {
    type Value = Shaped<Alerts<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AlertsSeed {
    type Value = Shaped<Alerts<'de>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("alerts")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut alerts = Vec::new();
        let mut cut = 0;
        while alerts.len() < self.0.alerts {
            match seq.next_element_seed(AlertSeed(self.0))? {
                Some(alert) => alerts.push(alert),
                None => return Ok(Shaped::Is((alerts, cut))),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            cut += 1;
        }
        Ok(Shaped::Is((alerts, cut)))
    }
    other_kinds!(scalars object);
}

struct BodySeed(Kept);

impl<'de> DeserializeSeed<'de> for BodySeed {
    type Value = RawBody<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed {
    type Value = RawBody<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a webhook body")
    }
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
        // The default would repeat the whole text in the message.
        Err(E::custom("text, expected a webhook body"))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut body = RawBody::default();
        while let Some(Name(name)) = map.next_key()? {
            match name.as_ref() {
                "version" => body.version = map.next_value()?,
                "groupKey" => body.group_key = map.next_value()?,
                "receiver" => body.receiver = map.next_value()?,
                "externalURL" => body.external_url = map.next_value()?,
                "truncatedAlerts" => body.truncated = map.next_value()?,
                "alerts" => match map.next_value_seed(AlertsSeed(self.0))? {
                    Shaped::Is((alerts, cut)) => {
                        body.alerts = Shaped::Is(alerts);
                        body.alerts_cut = cut;
                    }
                    Shaped::Wrong(kind) => body.alerts = Shaped::Wrong(kind),
                    Shaped::Absent => body.alerts = Shaped::Absent,
                },
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(body)
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Err(E::custom("null, expected a webhook body"))
    }
}
