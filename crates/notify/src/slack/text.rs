//! Text for Slack: what others wrote is shown as they wrote it, and does nothing.

use incident::untrusted::Untrusted;

/// Keeps two characters from forming a token; not visible.
const JOINER: char = '\u{2060}';

/// One line of at most `chars` characters in which nothing is markup: no mention, link, emoji,
/// emphasis or code.
pub(super) fn plain(text: &str, chars: usize) -> String {
    let line = Untrusted::new(text).one_line(chars);
    let mut out = String::with_capacity(line.len() + 16);
    let mut before = ' ';
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        let after = rest.peek().copied().unwrap_or(' ');
        match c {
            '*' => out.push('∗'),
            '~' => out.push('∼'),
            '`' => out.push('ˋ'),
            // Only at the edge of a word does it mean emphasis; inside it belongs to a name.
            '_' if !before.is_alphanumeric() || !after.is_alphanumeric() => out.push('ˍ'),
            '@' | '#' => out.extend([c, JOINER]),
            // `:name:` is an emoji, `scheme://` a link.
            ':' if after == '/' || after == '+' || after.is_ascii_lowercase() => {
                out.extend([c, JOINER]);
            }
            // `name.tld` is a link to most clients.
            '.' if before.is_alphanumeric() && after.is_ascii_alphabetic() => {
                out.extend([c, JOINER]);
            }
            _ => escape(c, &mut out),
        }
        before = c;
    }
    out
}

/// A block of code: markup inside it does nothing, and it cannot be left early.
pub(super) fn code(lines: &[String]) -> String {
    let mut out = String::from("```\n");
    for line in lines {
        let mut rest = line.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '`' => out.push('ˋ'),
                '@' => out.extend([c, JOINER]),
                ':' if rest.peek() == Some(&'/') => out.extend([c, JOINER]),
                _ => escape(c, &mut out),
            }
        }
        out.push('\n');
    }
    out.push_str("```");
    out
}

/// The three characters that Slack's own escapes are for.
fn escape(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        c => out.push(c),
    }
}

/// Length as Slack's limits are safest counted.
pub(super) fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(input: &str, expect: &str) {
        assert_eq!(plain(input, 200).replace(JOINER, "|"), expect, "{input:?}");
    }

    #[test]
    fn nothing_is_markup() {
        check(
            "<!channel> <@U123> <#C1|x>",
            "&lt;!channel&gt; &lt;@|U123&gt; &lt;#|C1|x&gt;",
        );
        check(
            "@here look at https://evil.example.com/x",
            "@|here look at https:|//evil.|example.|com/x",
        );
        check("<https://evil|click>", "&lt;https:|//evil|click&gt;");
        check(
            "*bold* _it_ ~no~ `code` :boom:",
            "∗bold∗ ˍitˍ ∼no∼ ˋcodeˋ :|boom:",
        );
        check(
            "http_requests_total at 10:41:12, 3.5 %",
            "http_requests_total at 10:41:12, 3.5 %",
        );
        check("a\nb &amp; c", "a b &amp;amp; c");
    }

    #[test]
    fn code_cannot_be_left() {
        let text = code(&["+```".to_owned(), "<!here> & @x".to_owned()]);
        assert_eq!(text.matches("```").count(), 2);
        assert!(text.contains("&lt;!here&gt; &amp; @"));
    }

    proptest! {
        #[test]
        fn no_token_survives(text in "\\PC{0,80}|(<|>|@|#|!|here|channel|https?://|[*_~`]|[a-z.:]){0,30}") {
            let shown = plain(&text, 200);
            prop_assert!(!shown.contains(['<', '>', '*', '~', '`']));
            for token in ["@here", "@channel", "@everyone", "://"] {
                prop_assert!(!shown.contains(token));
            }
            // Every ampersand is an escape.
            for (at, _) in shown.match_indices('&') {
                let tail = shown.get(at..).unwrap_or_default();
                prop_assert!(["&amp;", "&lt;", "&gt;"].iter().any(|e| tail.starts_with(e)));
            }
        }
    }
}
