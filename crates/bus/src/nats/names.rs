//! What everything is called on the server.
//!
//! A stream `incident:events` is the JetStream stream `incident-events`; beside it the bucket
//! `incident-events-dead` holds its dead letters. Four buckets serve all streams of an installation:
//! leases, remembered keys, the store, and nothing else.

use incident::digest::Digest;

/// Names of one installation.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
}

/// A bucket of keys and values: a stream whose subjects are the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    name: String,
    /// The JetStream stream.
    pub(super) stream: String,
}

impl Bucket {
    fn new(name: String) -> Self {
        let stream = format!("KV_{name}");
        Self { name, stream }
    }

    pub(super) fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    /// The key at a subject of this bucket.
    pub(super) fn key<'s>(&self, subject: &'s str) -> Option<&'s str> {
        let rest = subject.strip_prefix("$KV.")?;
        rest.strip_prefix(self.name.as_str())?.strip_prefix('.')
    }
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self { prefix }
    }

    /// The JetStream stream of `stream`.
    pub(super) fn stream(&self, stream: &str) -> String {
        let mut name = self.prefix.clone();
        for byte in stream.bytes() {
            match byte {
                b':' => name.push('-'),
                byte if byte.is_ascii_alphanumeric() || byte == b'_' => name.push(char::from(byte)),
                byte => escape(&mut name, byte),
            }
        }
        name
    }

    /// Where the entries of a JetStream stream are sent.
    pub(super) fn entries(stream: &str) -> String {
        format!("nightshift.{stream}")
    }

    pub(super) fn dead(stream: &str) -> Bucket {
        Bucket::new(format!("{stream}-dead"))
    }

    pub(super) fn leases(&self) -> Bucket {
        Bucket::new(format!("{}nightshift-leases", self.prefix))
    }

    pub(super) fn keys(&self) -> Bucket {
        Bucket::new(format!("{}nightshift-keys", self.prefix))
    }

    pub(super) fn store(&self) -> Bucket {
        Bucket::new(format!("{}nightshift-store", self.prefix))
    }
}

fn escape(out: &mut String, byte: u8) {
    out.push('=');
    out.push_str(&incident::digest::hex(&[byte]));
}

/// What stands for an entry's key where it is compared only.
pub(super) fn fingerprint(key: &str) -> String {
    Digest::of(key.as_bytes()).short(40).to_owned()
}

/// A key of the store as part of a subject: one token for each part between slashes. Any byte that a
/// subject cannot have is escaped; the way back is [`decode`].
pub(super) fn encode(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 8);
    for (at, part) in key.split('/').enumerate() {
        if at > 0 {
            out.push('.');
        }
        if part.is_empty() {
            // Alone it can stand for nothing else.
            out.push('=');
        }
        for byte in part.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
                out.push(char::from(byte));
            } else {
                escape(&mut out, byte);
            }
        }
    }
    out
}

/// The key that [`encode`] made this of; none if it was made by somebody else.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut key = Vec::with_capacity(text.len());
    for (at, part) in text.split('.').enumerate() {
        if at > 0 {
            key.push(b'/');
        }
        if part == "=" {
            continue;
        }
        let mut bytes = part.bytes();
        while let Some(byte) = bytes.next() {
            if byte == b'=' {
                let (high, low) = (bytes.next()?, bytes.next()?);
                let digits = [high, low];
                let digits = std::str::from_utf8(&digits).ok()?;
                key.push(u8::from_str_radix(digits, 16).ok()?);
            } else {
                key.push(byte);
            }
        }
    }
    String::from_utf8(key).ok()
}

/// A filter for all keys that start with `prefix`, and some more.
pub(super) fn filter(prefix: &str) -> String {
    match prefix.rsplit_once('/') {
        Some((whole, _)) => format!("{}.>", encode(whole)),
        None => String::from(">"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(key: &str, expect: &str) {
        assert_eq!(encode(key), expect);
        assert_eq!(decode(expect).as_deref(), Some(key));
    }

    #[test]
    fn keys_are_written_as_subjects() {
        check("incident/inc-1", "incident.inc-1");
        check("a//b/", "a.=.b.=");
        check("a.b=*>/ é", "a=2eb=3d=2a=3e.=20=c3=a9");
        check("", "=");
        let names = Names::new("");
        assert_eq!(names.stream("incident:work:info"), "incident-work-info");
        assert_eq!(names.stream("a-b c"), "a=2db=20c");
        assert_eq!(Names::new("x_").leases().stream, "KV_x_nightshift-leases");
        let store = names.store();
        let subject = store.subject("c.a");
        assert_eq!(subject, "$KV.nightshift-store.c.a");
        assert_eq!(store.key(&subject), Some("c.a"));
        assert_eq!(names.keys().key(&subject), None);
    }

    proptest! {
        #[test]
        fn every_key_has_a_subject_of_its_own(key in any::<String>(), cut in any::<prop::sample::Index>()) {
            let subject = encode(&key);
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=.".contains(&byte);
            prop_assert!(subject.bytes().all(fits));
            prop_assert!(subject.split('.').all(|token| !token.is_empty()));
            prop_assert_eq!(decode(&subject), Some(key.clone()));
            // A filter finds everything with the prefix.
            let end = cut.index(key.len() + 1);
            if let Some(prefix) = key.get(..end) {
                let filter = filter(prefix);
                let whole = filter.strip_suffix('>').unwrap();
                prop_assert!(subject.starts_with(whole), "{subject} without {filter}");
            }
        }
    }
}
