//! PromQL tokens, with how deep in brackets each stands.

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// The token as written.
    pub(super) text: &'a str,
    /// Where it begins, in bytes.
    pub(super) start: usize,
    /// Brackets around it. A bracket itself counts as outside.
    pub(super) depth: usize,
    /// Whether it stands where only label names, matchers or durations stand.
    pub(super) in_labels: bool,
}

impl Token<'_> {
    pub(super) fn is_word(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
    }

    pub(super) fn is_set_operator(&self) -> bool {
        ["and", "or", "unless"]
            .iter()
            .any(|word| self.text.eq_ignore_ascii_case(word))
    }

    pub(super) fn is_comparison(&self) -> bool {
        matches!(self.text, ">" | "<" | ">=" | "<=" | "==" | "!=")
    }

    pub(super) fn is_keyword(&self) -> bool {
        const WORDS: [&str; 15] = [
            "and",
            "or",
            "unless",
            "by",
            "without",
            "on",
            "ignoring",
            "group_left",
            "group_right",
            "bool",
            "offset",
            "atan2",
            "inf",
            "nan",
            "default",
        ];
        WORDS
            .iter()
            .any(|word| self.text.eq_ignore_ascii_case(word))
    }

    /// Whether a list in parentheses after this word holds label names.
    fn takes_labels(&self) -> bool {
        [
            "by",
            "without",
            "on",
            "ignoring",
            "group_left",
            "group_right",
        ]
        .iter()
        .any(|word| self.text.eq_ignore_ascii_case(word))
    }
}

/// Splits `text`; comments vanish. None if a string or bracket does not close.
pub(super) fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut out: Vec<Token<'_>> = Vec::new();
    let mut open: Vec<(char, bool)> = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            c if c.is_whitespace() => c.len_utf8(),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            _ => token_length(rest, c)?,
        };
        let (word, tail) = rest.split_at(length);
        let start = text.len() - rest.len();
        rest = tail;
        if c.is_whitespace() || c == '#' {
            continue;
        }
        if matches!(c, ')' | '}' | ']') {
            let (opener, _) = open.pop()?;
            if !matches!((opener, c), ('(', ')') | ('{', '}') | ('[', ']')) {
                return None;
            }
        }
        let inside = open.last().is_some_and(|(_, labels)| *labels);
        out.push(Token {
            text: word,
            start,
            depth: open.len(),
            in_labels: inside,
        });
        if matches!(c, '(' | '{' | '[') {
            let before = out.len().checked_sub(2).and_then(|i| out.get(i));
            let labels = c != '(' || before.is_some_and(Token::takes_labels);
            open.push((c, inside || labels));
        }
    }
    open.is_empty().then_some(out)
}

fn token_length(rest: &str, first: char) -> Option<usize> {
    let run = |keep: fn(char) -> bool| rest.find(|c| !keep(c)).unwrap_or(rest.len());
    Some(match first {
        '"' | '\'' | '`' => string_length(rest, first)?,
        'a'..='z' | 'A'..='Z' | '_' | ':' => {
            run(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        }
        '0'..='9' | '.' => number_length(rest),
        '=' | '!' | '<' | '>' => {
            let second = rest.chars().nth(1);
            1 + usize::from(matches!(
                (first, second),
                (_, Some('=')) | ('=' | '!', Some('~'))
            ))
        }
        other => other.len_utf8(),
    })
}

/// Digits, a point, an exponent with its sign, a unit.
fn number_length(rest: &str) -> usize {
    let mut previous = ' ';
    for (at, c) in rest.char_indices() {
        let sign = matches!(c, '+' | '-') && matches!(previous, 'e' | 'E');
        if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign) {
            return at;
        }
        previous = c;
    }
    rest.len()
}

fn string_length(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The value of a string token. None for an escape that is not among the common ones.
pub(super) fn unquote(token: &str) -> Option<String> {
    let quote = token
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let inner = token.strip_prefix(quote)?.strip_suffix(quote)?;
    if quote == '`' {
        return Some(inner.to_owned());
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            c @ ('\\' | '"' | '\'') => c,
            _ => return None,
        });
    }
    Some(out)
}
