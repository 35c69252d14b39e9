//! Numbers inside lines of code and configuration, with their units.

/// A line with its numbers, versions and units of time taken out.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Shape {
    /// What is left, with a mark where something was.
    skeleton: String,
    /// Numbers as written, with their value in base units and the dimension of the unit.
    numbers: Vec<Number>,
    /// For each number the word it is given to, as in `MaxAttempts: 8`; empty if there is none.
    labels: Vec<String>,
    /// Versions as written: three or more numbers joined by dots, or a `v` before two.
    pub(super) versions: Vec<String>,
    /// Factor of a unit spelled out as a word, such as `Minute`; 1 if there is none.
    word_factor: f64,
    /// That word.
    word: String,
}

impl Shape {
    /// Whether both lines say the same but for their numbers.
    pub(super) fn matches(&self, other: &Self) -> bool {
        let anything = !self.numbers.is_empty() || !self.versions.is_empty();
        anything
            && self.skeleton == other.skeleton
            && self.numbers.len() == other.numbers.len()
            && self.versions.len() == other.versions.len()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dimension {
    None,
    Time,
    Bytes,
    Percent,
    Milli,
}

/// Suffixes directly behind a number. A lone `m` is a minute beside another time and a thousandth
/// beside a bare number; [`ratio`] decides.
const SUFFIXES: &[(&str, f64, Dimension)] = &[
    ("ns", 1e-9, Dimension::Time),
    ("us", 1e-6, Dimension::Time),
    ("ms", 1e-3, Dimension::Time),
    ("s", 1.0, Dimension::Time),
    ("min", 60.0, Dimension::Time),
    ("m", 60.0, Dimension::Milli),
    ("h", 3600.0, Dimension::Time),
    ("d", 86_400.0, Dimension::Time),
    ("%", 0.01, Dimension::Percent),
    ("k", 1e3, Dimension::Bytes),
    ("K", 1e3, Dimension::Bytes),
    ("kB", 1e3, Dimension::Bytes),
    ("KB", 1e3, Dimension::Bytes),
    ("Ki", 1024.0, Dimension::Bytes),
    ("KiB", 1024.0, Dimension::Bytes),
    ("M", 1e6, Dimension::Bytes),
    ("MB", 1e6, Dimension::Bytes),
    ("Mi", 1_048_576.0, Dimension::Bytes),
    ("MiB", 1_048_576.0, Dimension::Bytes),
    ("G", 1e9, Dimension::Bytes),
    ("GB", 1e9, Dimension::Bytes),
    ("Gi", 1_073_741_824.0, Dimension::Bytes),
    ("GiB", 1_073_741_824.0, Dimension::Bytes),
];

/// Units of time spelled out, as in `15 * time.Minute` or `Duration::from_secs(15)`.
const WORDS: &[(&str, f64)] = &[
    ("nanosecond", 1e-9),
    ("nanos", 1e-9),
    ("microsecond", 1e-6),
    ("micros", 1e-6),
    ("millisecond", 1e-3),
    ("millis", 1e-3),
    ("second", 1.0),
    ("secs", 1.0),
    ("minute", 60.0),
    ("mins", 60.0),
    ("hour", 3600.0),
    ("day", 86_400.0),
];

/// Takes the numbers out of a line.
pub(super) fn shape(line: &str) -> Shape {
    let mut out = Shape {
        word_factor: 1.0,
        ..Shape::default()
    };
    let mut rest = line.trim();
    let mut last: Option<char> = None;
    let mut label = "";
    while let Some(c) = rest.chars().next() {
        let inside = last.is_some_and(|l| l.is_alphanumeric() || l == '_');
        let version =
            c == 'v' && !inside && rest.chars().nth(1).is_some_and(|d| d.is_ascii_digit());
        if (c.is_ascii_digit() && !inside) || version {
            rest = take_number(rest, &mut out);
            out.labels.resize(out.numbers.len(), label.to_owned());
            (last, label) = (Some('0'), "");
            continue;
        }
        if c.is_alphabetic() && !inside {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let (word, tail) = rest.split_at(end.unwrap_or(rest.len()));
            take_word(word, &mut out);
            (rest, last, label) = (tail, word.chars().next_back(), word);
            continue;
        }
        if !matches!(c, ' ' | '\t' | ':' | '=' | '"' | '\'') {
            label = "";
        }
        out.skeleton.push(c);
        last = Some(c);
        rest = rest.strip_prefix(c).unwrap_or_default();
    }
    out
}

/// A word that spells a unit becomes a mark, if the line has no such word yet.
fn take_word(word: &str, out: &mut Shape) {
    let lower = word.to_lowercase();
    let bare = lower.strip_prefix("from_").unwrap_or(&lower);
    let unit = WORDS
        .iter()
        .find(|(name, _)| bare == *name || bare.strip_suffix('s') == Some(*name));
    match unit {
        Some((_, factor)) if out.word.is_empty() => {
            out.word.push_str(word);
            out.word_factor = *factor;
            out.skeleton.push('\u{1}');
        }
        _ => out.skeleton.push_str(word),
    }
}

/// Takes a number or version off the front of `text`; answers what follows.
fn take_number<'a>(text: &'a str, out: &mut Shape) -> &'a str {
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || *c == '_' || (*at == 0 && *c == 'v')))
        .map_or(text.len(), |(at, _)| at);
    let (raw, _) = text.split_at(end);
    let digits = raw.trim_end_matches(['.', '_']);
    let tail = text.strip_prefix(digits).unwrap_or_default();
    let dots = digits.matches('.').count();
    if dots >= 2 || digits.starts_with('v') {
        let end = tail.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '.' | '+')));
        let (more, tail) = tail.split_at(end.unwrap_or(tail.len()));
        out.versions.push(format!("{digits}{more}"));
        out.skeleton.push('\u{2}');
        return tail;
    }
    let end = tail.find(|c: char| !(c.is_alphabetic() || c == '%'));
    let (suffix, after) = tail.split_at(end.unwrap_or(tail.len()));
    let value: f64 = digits.replace('_', "").parse().unwrap_or(0.0);
    let known = SUFFIXES.iter().find(|(name, _, _)| *name == suffix);
    let (number, tail) = match known {
        Some((_, factor, dimension)) => (
            (format!("{digits}{suffix}"), value * factor, *dimension),
            after,
        ),
        None => ((digits.to_owned(), value, Dimension::None), tail),
    };
    out.numbers.push(number);
    out.skeleton.push('\u{3}');
    tail
}

/// The first number that differs, as written in both lines, and `ln(new / old)`. Never call it for
/// lines that do not match.
pub(super) fn moved(before: &Shape, after: &Shape) -> Option<((String, String), f64)> {
    let words_differ = (before.word_factor - after.word_factor).abs() > f64::EPSILON;
    before
        .numbers
        .iter()
        .zip(&after.numbers)
        .find_map(|(old, new)| {
            let words = after.word_factor / before.word_factor;
            let ratio = ratio(old, new)? * if words_differ { words } else { 1.0 };
            let text = |number: &str, shape: &Shape| {
                if words_differ {
                    format!("{number} {}", shape.word).trim_end().to_owned()
                } else {
                    number.to_owned()
                }
            };
            let differs = (ratio - 1.0).abs() > 1e-9;
            differs.then(|| ((text(&old.0, before), text(&new.0, after)), clamp_ln(ratio)))
        })
}

/// A number that both lines give to the same name, with different values: its name, both as written,
/// and `ln(new / old)`. For lines that do not match otherwise.
pub(super) fn renamed(before: &Shape, after: &Shape) -> Option<(String, (String, String), f64)> {
    let labelled = |shape: &Shape| -> Vec<(String, Number)> {
        let pairs = shape.labels.iter().zip(&shape.numbers);
        pairs
            .filter(|(label, _)| !label.is_empty())
            .map(|(label, number)| (label.clone(), number.clone()))
            .collect()
    };
    let new = labelled(after);
    labelled(before).into_iter().find_map(|(label, old)| {
        let (_, new) = new.iter().find(|(name, _)| *name == label)?;
        let ratio = ratio(&old, new)?;
        let differs = (ratio - 1.0).abs() > 1e-9;
        differs.then(|| (label, (old.0.clone(), new.0.clone()), clamp_ln(ratio)))
    })
}

type Number = (String, f64, Dimension);

/// `new / old` where their units can be compared.
fn ratio(old: &Number, new: &Number) -> Option<f64> {
    use Dimension::{Milli, None as Bare, Time};
    let thousandth = |n: &Number| n.1 / 60.0 / 1000.0;
    let (from, to) = match (old.2, new.2) {
        (a, b) if a == b => (old.1, new.1),
        (Milli, Time) | (Time, Milli) => (old.1, new.1),
        (Milli, Bare) => (thousandth(old), new.1),
        (Bare, Milli) => (old.1, thousandth(new)),
        _ => return None,
    };
    match (from > 0.0, to > 0.0) {
        (true, true) => Some(to / from),
        (true, false) => Some(0.0),
        (false, true) => Some(f64::INFINITY),
        (false, false) => None,
    }
}

fn clamp_ln(ratio: f64) -> f64 {
    ratio.ln().clamp(-10.0, 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks `ln(new / old)`; none if the lines do not differ in a number alone.
    fn check(old: &str, new: &str, expect: Option<(&str, &str, f64)>) {
        let (before, after) = (shape(old), shape(new));
        let found = before
            .matches(&after)
            .then(|| moved(&before, &after))
            .flatten();
        match (found, expect) {
            (Some(((from, to), ln)), Some((a, b, ratio))) => {
                assert_eq!((from.as_str(), to.as_str()), (a, b));
                assert!((ln.exp() - ratio).abs() < 1e-4 * ratio.max(1.0), "{ln}");
            }
            (None, None) => {}
            (found, expect) => panic!("{old:?} -> {new:?}: {found:?}, not {expect:?}"),
        }
    }

    #[test]
    fn a_number_that_moved_is_found_with_its_unit() {
        check("pool_size = 50", "pool_size = 5", Some(("50", "5", 0.1)));
        check("  ttl: 15m", "  ttl: 15s", Some(("15m", "15s", 1.0 / 60.0)));
        check("cpu: 500m", "cpu: 2", Some(("500m", "2", 4.0)));
        check("memory: 1Gi", "memory: 256Mi", Some(("1Gi", "256Mi", 0.25)));
        check(
            "x := 15 * time.Minute",
            "x := 15 * time.Second",
            Some(("15 Minute", "15 Second", 1.0 / 60.0)),
        );
        check(
            "from_secs(5)",
            "from_millis(50)",
            Some(("5 from_secs", "50 from_millis", 0.01)),
        );
        check(
            "max(3, 10_000)",
            "max(3, 20_000)",
            Some(("10_000", "20_000", 2.0)),
        );
        check("retries: 3", "retries: 0", Some(("3", "0", 4.54e-5)));
    }

    #[test]
    fn other_lines_are_not_numbers_that_moved() {
        check("pool_size = 50", "queue_size = 5", None);
        check("let a = b;", "let a = c;", None);
        check("pool_size = 50", "pool_size = 50", None);
        check("memory: 1Gi", "memory: 3s", None);
        check("uses http2 here", "uses http3 here", None);
    }

    #[test]
    fn a_number_keeps_its_name_when_the_line_is_rewritten() {
        let check = |old: &str, new: &str, expect: Option<(&str, &str, &str)>| {
            let found = renamed(&shape(old), &shape(new));
            let found = found
                .as_ref()
                .map(|(label, (a, b), _)| (label.as_str(), a.as_str(), b.as_str()));
            assert_eq!(found, expect);
        };
        check(
            "Policy{Attempts: 8, Delay: 5}",
            "Policy{Attempts: 2}",
            Some(("Attempts", "8", "2")),
        );
        check("Policy{Attempts: 8, Delay: 5}", "Policy{Attempts: 8}", None);
        check("f(8)", "g(2)", None);
    }

    #[test]
    fn versions_are_not_numbers() {
        let shape = shape("image: shop/api:1.4.2-rc1 # v2");
        assert_eq!(shape.versions, ["1.4.2-rc1", "v2"]);
        assert!(shape.numbers.is_empty());
    }
}
