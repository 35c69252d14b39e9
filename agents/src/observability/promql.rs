//! Just enough PromQL: to write selectors safely and to take an alert's expression apart.
//!
//! For: escaping label values; splitting `left > threshold` at the top level, so that the left side
//! can be plotted while it is still normal; naming the series an expression reads.
//!
//! Never: evaluation. What cannot be taken apart is used whole, and Prometheus has the last word on
//! whether it is valid.

mod lex;

use std::fmt::Write as _;

use lex::{Token, tokens};

/// Selectors taken from one expression at most.
const SELECTORS_MAX: usize = 8;

/// An alert's expression, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    /// What is compared; the whole expression if nothing is.
    pub(super) subject: String,
    /// The number it is compared with, if it is one.
    pub(super) threshold: Option<f64>,
}

/// A comparison of a label with a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Matcher {
    /// Label name.
    pub(super) label: String,
    /// `=`, `!=`, `=~` or `!~`.
    pub(super) op: &'static str,
    /// The value, not escaped.
    pub(super) value: String,
}

impl Matcher {
    /// `label="value"`.
    pub(super) fn equal(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            op: "=",
            value: value.into(),
        }
    }

    /// `label=~"pattern"`.
    pub(super) fn regex(label: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            op: "=~",
            value: pattern.into(),
        }
    }

    /// `label` is one of `values`: an equality if there is one, a pattern of literals if more.
    pub(super) fn one_of(label: &str, values: &[&str]) -> Self {
        if let [value] = values {
            return Self::equal(label, *value);
        }
        let escaped: Vec<String> = values.iter().map(|v| regex::escape(v)).collect();
        Self::regex(label, escaped.join("|"))
    }
}

/// `metric{label="value",...}` with every value escaped. `metric` and label names are checked names
/// (see [`is_metric_name`]); an empty metric gives a selector of labels alone.
pub(super) fn selector(metric: &str, matchers: &[Matcher]) -> String {
    let mut out = metric.to_owned();
    if matchers.is_empty() {
        return out;
    }
    out.push('{');
    for (index, matcher) in matchers.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&matcher.label);
        out.push_str(matcher.op);
        quote(&mut out, &matcher.value);
    }
    out.push('}');
    out
}

/// A PromQL string in double quotes, which follows the escapes of Go.
fn quote(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                write!(out, "\\U{:08x}", u32::from(c)).expect("a string takes all that is written");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Whether `name` can stand in a selector as it is.
pub(super) fn is_metric_name(name: &str) -> bool {
    is_name(name, |b| b == b':')
}

/// Whether `name` can stand in a matcher as it is.
pub(super) fn is_label_name(name: &str) -> bool {
    is_name(name, |_| false)
}

fn is_name(name: &str, also: impl Fn(u8) -> bool) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_' || also(b);
    name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || b.is_ascii_digit())
        && name.len() <= 256
}

/// Takes an alert's expression apart. None if brackets or strings do not close.
pub(super) fn condition(expression: &str) -> Option<Condition> {
    let all = tokens(expression)?;
    Some(split(expression, &all, 0))
}

/// Parentheses around a whole expression that are looked through.
const NESTING_MAX: usize = 8;

fn split(text: &str, all: &[Token<'_>], depth: usize) -> Condition {
    let whole = |part: &[Token<'_>]| Condition {
        subject: slice(text, part),
        threshold: None,
    };
    // Set operators bind least: the first operand is what the alert is about, the others filter.
    let first = match all.iter().position(|t| t.depth == 0 && t.is_set_operator()) {
        Some(at) => &all[..at],
        None => all,
    };
    let comparison = first.iter().position(|t| t.depth == 0 && t.is_comparison());
    let Some(at) = comparison else {
        return match inner(first) {
            Some(part) if depth < NESTING_MAX => split(text, lift(part).as_slice(), depth + 1),
            _ => whole(first),
        };
    };
    let (left, right) = (&first[..at], after_modifiers(&first[at + 1..]));
    // A chain of comparisons ends the right side of the first.
    let right = match right.iter().position(|t| t.depth == 0 && t.is_comparison()) {
        Some(next) => &right[..next],
        None => right,
    };
    if left.is_empty() || right.is_empty() {
        return whole(first);
    }
    match (number(left), number(right)) {
        (None, threshold) => Condition {
            subject: slice(text, left),
            threshold,
        },
        (Some(threshold), None) => Condition {
            subject: slice(text, right),
            threshold: Some(threshold),
        },
        (Some(_), Some(_)) => whole(first),
    }
}

/// What stands between one pair of parentheses that encloses everything.
fn inner<'t, 'a>(part: &'t [Token<'a>]) -> Option<&'t [Token<'a>]> {
    let [open, middle @ .., close] = part else {
        return None;
    };
    let encloses = open.text == "(" && close.text == ")" && middle.iter().all(|t| t.depth > 0);
    (encloses && !middle.is_empty()).then_some(middle)
}

fn lift<'a>(part: &[Token<'a>]) -> Vec<Token<'a>> {
    part.iter()
        .map(|t| Token {
            depth: t.depth.saturating_sub(1),
            ..*t
        })
        .collect()
}

/// Drops `bool`, `on (...)`, `ignoring (...)`, `group_left (...)`, `group_right (...)`.
fn after_modifiers<'t, 'a>(mut part: &'t [Token<'a>]) -> &'t [Token<'a>] {
    loop {
        let word = part.first().map(|t| t.text.to_ascii_lowercase());
        let rest = match word.as_deref() {
            Some("bool") => &part[1..],
            Some("on" | "ignoring" | "group_left" | "group_right") => {
                let list = part.get(1).is_some_and(|t| t.text == "(");
                let end = part.iter().position(|t| t.depth == 0 && t.text == ")");
                match end.filter(|_| list) {
                    Some(end) => &part[end + 1..],
                    None => &part[1..],
                }
            }
            _ => return part,
        };
        part = rest;
    }
}

/// A number, possibly signed and in parentheses, or a product or quotient of such.
fn number(part: &[Token<'_>]) -> Option<f64> {
    if let Some(middle) = inner(part) {
        return number(&lift(middle));
    }
    let operator = |t: &&Token<'_>| t.depth == 0 && matches!(t.text, "*" | "/");
    if let Some(at) = part.iter().rposition(|t| operator(&t)) {
        let (left, right) = (number(&part[..at])?, number(&part[at + 1..])?);
        let value = if part[at].text == "*" {
            left * right
        } else {
            left / right
        };
        return Some(value).filter(|v| v.is_finite());
    }
    match part {
        [sign, rest @ ..] if sign.text == "-" => number(rest).map(|v| -v),
        [sign, rest @ ..] if sign.text == "+" => number(rest),
        [only]
            if only
                .text
                .starts_with(|c: char| c.is_ascii_digit() || c == '.') =>
        {
            only.text.parse::<f64>().ok().filter(|v| v.is_finite())
        }
        _ => None,
    }
}

fn slice(text: &str, part: &[Token<'_>]) -> String {
    let bounds = part.first().zip(part.last());
    bounds
        .and_then(|(first, last)| text.get(first.start..last.start + last.text.len()))
        .unwrap_or_default()
        .to_owned()
}

/// The vector selectors an expression reads, written anew: metric name and matchers.
pub(super) fn selectors(expression: &str) -> Vec<(String, Vec<Matcher>)> {
    let Some(all) = tokens(expression) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (index, token) in all.iter().enumerate() {
        let braces = |at: usize| all.get(at).is_some_and(|t| t.text == "{");
        let entry = if token.text == "{" && !index.checked_sub(1).is_some_and(|i| named(&all, i)) {
            (String::new(), matchers(&all[index + 1..]))
        } else if named(&all, index) {
            let list = if braces(index + 1) {
                matchers(&all[index + 2..])
            } else {
                Vec::new()
            };
            (token.text.to_owned(), list)
        } else {
            continue;
        };
        let useful = !entry.0.is_empty() || !entry.1.is_empty();
        if useful && !found.contains(&entry) && found.len() < SELECTORS_MAX {
            found.push(entry);
        }
    }
    found
}

/// Whether the token at `index` is the name of a metric: a word that is no keyword, no function
/// (followed by a parenthesis) and not inside braces, brackets or a list of labels.
fn named(all: &[Token<'_>], index: usize) -> bool {
    let Some(token) = all.get(index).filter(|t| t.is_word()) else {
        return false;
    };
    // A function is followed by a parenthesis, an aggregation by that or by its grouping.
    let next = all.get(index + 1).map(|t| t.text.to_ascii_lowercase());
    let call = matches!(next.as_deref(), Some("(" | "by" | "without"));
    !token.is_keyword() && !token.in_labels && !call && is_metric_name(token.text)
}

/// The matchers up to the closing brace.
fn matchers(rest: &[Token<'_>]) -> Vec<Matcher> {
    let end = rest.iter().position(|t| t.text == "}").unwrap_or(0);
    rest[..end]
        .split(|t| t.text == ",")
        .filter_map(|part| {
            let [label, op, value] = part else {
                return None;
            };
            let op = ["=", "!=", "=~", "!~"]
                .into_iter()
                .find(|known| *known == op.text)?;
            let value = lex::unquote(value.text)?;
            is_label_name(label.text).then(|| Matcher {
                label: label.text.to_owned(),
                op,
                value,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
