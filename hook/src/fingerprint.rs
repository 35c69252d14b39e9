//! Alertmanager's label fingerprint, for bodies that come without it, and its receiver quoting.

use incident::Fingerprint;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;
const SEPARATOR: u8 = 0xff;
/// What Go's regexp quoter puts a backslash before.
const QUOTED: &str = r"\.+*?()|[]{}^$";

/// FNV-1a 64 over the label pairs in name order, each name and each value followed by `0xFF`.
pub fn fingerprint<'a>(sorted: impl IntoIterator<Item = (&'a str, &'a str)>) -> Fingerprint {
    let mut hash = OFFSET;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    for (name, value) in sorted {
        for text in [name, value] {
            text.bytes().for_each(&mut add);
            add(SEPARATOR);
        }
    }
    Fingerprint::from_stored(format!("{hash:016x}"))
}

/// The fingerprint that was sent, if it is one.
pub(crate) fn as_sent(text: &str) -> Option<Fingerprint> {
    let good = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    good.then(|| Fingerprint::from_stored(text.to_ascii_lowercase()))
}

/// Alertmanager sends the receiver's name through a regex quoter: `team.x` arrives as `team\.x`.
pub(crate) fn unquote(receiver: &str) -> String {
    let mut out = String::with_capacity(receiver.len());
    let mut chars = receiver.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next) if c == '\\' && QUOTED.contains(*next) => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiver_is_unquoted() {
        for (quoted, plain) in [
            ("incident-webhook", "incident-webhook"),
            (r"team\.x", "team.x"),
            (r"a\\b", r"a\b"),
            (r"\(\[\{\^\$\|\?\*\+", "([{^$|?*+"),
            (r"plain\q", r"plain\q"),
            (r"end\", r"end\"),
        ] {
            assert_eq!(unquote(quoted), plain);
        }
    }

    #[test]
    fn only_sixteen_hex_digits_are_a_fingerprint() {
        let text = |sent: &str| as_sent(sent).map(|f| f.to_string());
        assert_eq!(
            text("9226ED7D0febc033").as_deref(),
            Some("9226ed7d0febc033")
        );
        for bad in [
            "",
            "9226ed7d0febc03",
            "9226ed7d0febc0333",
            "../../../../etc/",
            "9226ed7d0febc03g",
        ] {
            assert_eq!(text(bad), None, "{bad}");
        }
    }

    #[test]
    fn no_labels_hash_to_the_offset() {
        assert_eq!(fingerprint([]).as_str(), "cbf29ce484222325");
    }
}
