//! Values with units.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq as _;

/// A length of time, written `"60s"`, `"5m"`, `"1h 30m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            format!("{text:?} is not a length of time ({why}); write \"60s\", \"5m\" or \"250ms\"")
        };
        let span: jiff::SignedDuration = text.parse().map_err(|_| bad("it cannot be read"))?;
        Duration::try_from(span)
            .map(Self)
            .map_err(|_| bad("it is negative"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = jiff::SignedDuration::try_from(self.0).unwrap_or(jiff::SignedDuration::MAX);
        write!(f, "{span:#}")
    }
}

/// A number of bytes, written `"4MiB"`, `"64KiB"` or `1024`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// So many KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n * 1024)
    }

    /// So many MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n * 1024 * 1024)
    }

    /// As an index.
    pub fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| trimmed.strip_suffix(name).map(|digits| (digits, *unit)))
            .unwrap_or((trimmed, 1));
        let number = digits.trim().parse::<u64>().ok();
        number
            .and_then(|n| n.checked_mul(unit))
            .map(Self)
            .ok_or_else(|| {
                format!("{text:?} is not a size; write \"4MiB\", \"64KiB\" or a number of bytes")
            })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: u64| self.0 > 0 && self.0.is_multiple_of(unit);
        match UNITS.iter().find(|(_, unit)| fits(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "0B"),
        }
    }
}

macro_rules! text_value {
    ($name:ident, $schema:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Raw {
                    Text(String),
                    Number(u64),
                }
                let text = match Raw::deserialize(deserializer)? {
                    Raw::Text(text) => text,
                    Raw::Number(number) => number.to_string(),
                };
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

text_value!(
    Span,
    json_schema!({ "type": "string", "examples": ["60s", "5m", "250ms"] })
);
text_value!(
    ByteSize,
    json_schema!({ "type": ["string", "integer"], "examples": ["4MiB", "64KiB"] })
);

/// A secret: never printed, compared in constant time. It is read from a file or from the
/// environment, never from the configuration itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the secret; white space around it is dropped, as files end in a line break.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().trim().to_owned())
    }

    /// The secret itself: for a header or a key, never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same, in time that does not depend on where they differ.
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
