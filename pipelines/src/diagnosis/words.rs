//! Words of identifiers, paths and sentences, comparable with each other.

use std::collections::{BTreeMap, BTreeSet};

use super::weights;

/// A set of stems.
pub(super) type Words = BTreeSet<String>;

/// Carry no meaning here: English glue, PromQL, and words every alert or every diff has.
const GLUE: &[&str] = &[
    "a",
    "above",
    "alert",
    "an",
    "and",
    "annotations",
    "are",
    "as",
    "at",
    "avg",
    "be",
    "below",
    "bool",
    "bucket",
    "by",
    "const",
    "critical",
    "def",
    "default",
    "else",
    "end",
    "false",
    "firing",
    "fn",
    "for",
    "from",
    "func",
    "function",
    "has",
    "have",
    "high",
    "histogram",
    "if",
    "import",
    "in",
    "increase",
    "instance",
    "int",
    "into",
    "irate",
    "is",
    "it",
    "job",
    "label",
    "le",
    "let",
    "low",
    "min",
    "more",
    "mut",
    "namespace",
    "new",
    "nil",
    "no",
    "none",
    "not",
    "null",
    "of",
    "offset",
    "on",
    "or",
    "over",
    "package",
    "per",
    "pub",
    "quantile",
    "rate",
    "return",
    "self",
    "severity",
    "static",
    "str",
    "string",
    "struct",
    "sum",
    "than",
    "that",
    "the",
    "then",
    "this",
    "to",
    "topk",
    "total",
    "true",
    "type",
    "use",
    "value",
    "var",
    "void",
    "warning",
    "was",
    "were",
    "with",
    "without",
];

/// Stems that alerts, metrics and code of every service share; they link nothing with anything.
const COMMON: &[&str] = &[
    "api", "app", "call", "client", "code", "config", "count", "data", "error", "fail", "found",
    "handler", "host", "http", "https", "id", "local", "log", "main", "messag", "name", "number",
    "ratio", "read", "request", "respons", "result", "run", "second", "server", "servic", "start",
    "status", "test", "text", "through", "time", "up", "url", "user", "xx",
];

/// Short forms people write in code, and the stem they stand for.
const SHORT: &[(&str, &str)] = &[
    ("addr", "address"),
    ("auth", "authenticat"),
    ("cfg", "config"),
    ("conf", "config"),
    ("conn", "connect"),
    ("db", "databas"),
    ("err", "error"),
    ("mem", "memory"),
    ("msg", "messag"),
    ("req", "request"),
    ("resp", "respons"),
    ("secs", "second"),
    ("svc", "servic"),
];

/// Adds the stems of `text` to `words`, which grows to at most `limit`.
pub(super) fn collect(text: &str, limit: usize, words: &mut Words) {
    tokens(text, |token| {
        if meaningful(token) && words.len() < limit {
            words.insert(stem(token));
        }
    });
}

/// The first word of `text` with this stem, in small letters, as it is written there.
pub(super) fn find(text: &str, wanted: &str) -> Option<String> {
    let mut found = None;
    tokens(text, |token| {
        if found.is_none() && meaningful(token) && stem(token) == wanted {
            found = Some(token.to_owned());
        }
    });
    found
}

/// Calls `take` for each word of a text or identifier, in small letters.
fn tokens(text: &str, mut take: impl FnMut(&str)) {
    let mut current = String::new();
    let mut last = Class::Other;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let class = Class::of(c);
        let before_lower = chars.peek().is_some_and(|next| next.is_lowercase());
        let starts = match (last, class) {
            (Class::Upper, Class::Upper) => before_lower,
            (Class::Upper, Class::Lower) => false,
            (a, b) => a != b,
        };
        if starts {
            take(&current);
            current.clear();
        }
        if class != Class::Other {
            current.extend(c.to_lowercase());
        }
        last = class;
    }
    take(&current);
}

/// The stems of `text`.
pub(super) fn of(text: &str, limit: usize) -> Words {
    let mut words = Words::new();
    collect(text, limit, &mut words);
    words
}

fn meaningful(token: &str) -> bool {
    token.chars().count() >= 2
        && token.chars().any(char::is_alphabetic)
        && GLUE.binary_search(&token).is_err()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
    Other,
}

impl Class {
    fn of(c: char) -> Self {
        match c {
            c if c.is_numeric() => Self::Digit,
            c if c.is_uppercase() => Self::Upper,
            c if c.is_alphabetic() => Self::Lower,
            _ => Self::Other,
        }
    }
}

/// Endings that go, longest first, and how many characters must be left of the word.
const ENDINGS: &[(&str, &str, usize)] = &[
    ("ations", "at", 4),
    ("ation", "at", 4),
    ("ions", "", 4),
    ("ies", "y", 2),
    ("ing", "", 4),
    ("ion", "", 4),
    ("ed", "", 4),
    ("es", "", 4),
    ("e", "", 4),
    ("s", "", 3),
];

fn stem(token: &str) -> String {
    let expanded = |t: &str| {
        let found = SHORT.iter().find(|(short, _)| *short == t);
        found.map(|(_, full)| (*full).to_owned())
    };
    if let Some(full) = expanded(token).or_else(|| expanded(token.trim_end_matches('s'))) {
        return full;
    }
    if token.ends_with("ss") {
        return token.to_owned();
    }
    for (ending, put, left_min) in ENDINGS {
        if let Some(left) = token.strip_suffix(ending)
            && left.chars().count() >= *left_min
        {
            return format!("{left}{put}");
        }
    }
    token.to_owned()
}

/// Whether a stem can link a commit with a symptom.
pub(super) fn telling(stem: &str) -> bool {
    COMMON.binary_search(&stem).is_err()
}

/// Stems that link by number but tell a reader little; shown only where there is nothing better.
const VAGUE: &[&str] = &["durat", "level", "max", "maximum", "set", "size"];

/// Whether a reader learns something from this stem.
pub(super) fn vivid(stem: &str) -> bool {
    !VAGUE.contains(&stem)
}

/// How rare each word is among the commits of a window.
#[derive(Debug, Default)]
pub(super) struct Rarity {
    commits: f64,
    words_mean: f64,
    seen: BTreeMap<String, f64>,
}

impl Rarity {
    /// Counts in how many commits each word occurs.
    pub(super) fn among<'a>(commits: impl Iterator<Item = &'a Words>) -> Self {
        let mut rarity = Self::default();
        let mut words = 0.0;
        for commit in commits {
            rarity.commits += 1.0;
            for word in commit {
                words += 1.0;
                *rarity.seen.entry(word.clone()).or_default() += 1.0;
            }
        }
        rarity.words_mean = words / rarity.commits.max(1.0);
        rarity
    }

    /// `ln(1 + (commits + background) / commits that have it)`.
    fn of(&self, word: &str) -> f64 {
        let seen = self.seen.get(word).copied().unwrap_or(1.0);
        (1.0 + (self.commits + weights::WORDS_BACKGROUND) / seen.max(1.0)).ln()
    }

    /// The weight of the words that `commit` shares with `symptom`, and those words, rarest first.
    pub(super) fn shared<'a>(&self, commit: &'a Words, symptom: &'a Words) -> (f64, Vec<&'a str>) {
        let mut shared: Vec<(&str, f64)> = commit
            .intersection(symptom)
            .filter(|word| telling(word))
            .map(|word| (word.as_str(), self.of(word)))
            .collect();
        if shared.is_empty() {
            return (weights::WORDS_NONE, Vec::new());
        }
        shared.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        let sum: f64 = shared.iter().map(|(_, rarity)| rarity).sum();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a count of words, far below 2^52"
        )]
        let length = commit.len() as f64 / self.words_mean.max(1.0);
        let discount = 1.0 - weights::WORDS_LENGTH + weights::WORDS_LENGTH * length.max(1.0);
        let weight = weights::WORDS_MAX * (1.0 - (-sum / discount / weights::WORDS_SCALE).exp());
        (weight, shared.into_iter().map(|(word, _)| word).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let words = of(text, 100);
        assert_eq!(words.iter().map(String::as_str).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn identifiers_fall_apart_into_stems() {
        check(
            "maxConnsPerHTTPServer",
            &["connect", "http", "max", "server"],
        );
        check(
            "db_pool_wait_seconds_p99",
            &["databas", "pool", "second", "wait"],
        );
        check(
            "connection-pools exhausted",
            &["connect", "exhaust", "pool"],
        );
        check("retries retry", &["retry"]);
        check("the rate of http2 5xx", &["http", "xx"]);
        check("sum by (le) (rate(x[5m]))", &[]);
    }

    #[test]
    fn a_stem_is_shown_as_it_was_written() {
        let check = |text: &str, stem: &str, expect: Option<&str>| {
            assert_eq!(find(text, stem).as_deref(), expect);
        };
        check("DbConnectionsBusy", "connect", Some("connections"));
        check("the db pool", "databas", Some("db"));
        check("the db pool", "queu", None);
    }

    #[test]
    fn the_lists_can_be_searched() {
        assert!(GLUE.is_sorted() && COMMON.is_sorted());
    }

    #[test]
    fn a_rare_word_weighs_more_than_a_common_one() {
        let commits = [of("pool timeout", 9), of("timeout", 9), of("timeout", 9)];
        let rarity = Rarity::among(commits.iter());
        let symptom = of("pool timeout", 9);
        let (rare, words) = rarity.shared(&commits[0], &symptom);
        let (common, _) = rarity.shared(&commits[1], &symptom);
        assert!(rare > common && common > 0.0);
        assert_eq!(words, ["pool", "timeout"]);
        assert!(rarity.shared(&of("colour", 9), &symptom).0 < 0.0);
    }
}
