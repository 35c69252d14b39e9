//! Makes text harmless for where it is shown.
//!
//! Every string of a report goes through here, ours too: ours carry names from outside. Between two
//! back-ticks stands code; each form shows it in its own way.

use incident::Untrusted;

/// No sentence of a report is longer than this; the rest is cut with an ellipsis.
const LINE_CHARS: usize = 2_000;
/// No address is longer than this.
const LINK_CHARS: usize = 2_000;

/// One printable line.
pub(super) fn line(text: &str) -> String {
    Untrusted::new(text).one_line(LINE_CHARS)
}

/// One line of code or diff: white space stays, what cannot be seen becomes visible.
pub(super) fn code_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(LINE_CHARS) {
        match c {
            '\t' => out.push_str("    "),
            c if c.is_control() || is_hidden(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Characters that reorder, hide or forge what a reader sees.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Breaks what a chat or a browser would act on if the text were pasted there as it is. A visible
/// dot does it, because a diff must not hide anything.
pub(super) fn defuse(text: &str) -> String {
    const AFTER_ANGLE: [&str; 9] = [
        "script",
        "/script",
        "!here",
        "!channel",
        "!everyone",
        "!subteam",
        "@",
        "#c",
        "iframe",
    ];
    const AFTER_AT: [&str; 5] = ["channel", "here", "everyone", "all", "group"];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.strip_prefix(c).unwrap_or_default();
        out.push(c);
        let starts = |words: &[&str]| {
            words.iter().any(|word| {
                rest.get(..word.len())
                    .is_some_and(|head| head.eq_ignore_ascii_case(word))
            })
        };
        if (c == '<' && starts(&AFTER_ANGLE)) || (c == '@' && starts(&AFTER_AT)) {
            out.push('·');
        }
    }
    out
}

/// For a terminal.
pub(super) fn terminal(text: &str) -> String {
    defuse(&line(text))
}

/// A part of a line: prose, or code that stood between back-ticks.
pub(super) enum Part<'a> {
    Prose(&'a str),
    Code(&'a str),
}

/// Splits a line at pairs of back-ticks; a lone one is prose.
pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        match after.split_once('`') {
            Some((code, tail)) if !code.trim().is_empty() => {
                parts.push(Part::Prose(before));
                parts.push(Part::Code(code));
                rest = tail;
            }
            _ => {
                let cut = before.len() + 1;
                let (head, tail) = rest.split_at(cut);
                parts.push(Part::Prose(head));
                rest = tail;
            }
        }
    }
    parts.push(Part::Prose(rest));
    parts
}

/// For HTML text and for attribute values in double quotes.
pub(super) fn html_plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '@' => out.push_str("&#64;"),
            c => out.push(c),
        }
    }
    out
}

/// One line for HTML, code in `<code>`.
pub(super) fn html(text: &str) -> String {
    let text = line(text);
    let parts = parts(&text);
    let rendered = parts.iter().map(|part| match part {
        Part::Prose(text) => html_plain(text),
        Part::Code(text) => format!("<code>{}</code>", html_plain(text)),
    });
    rendered.collect()
}

/// One line for Markdown, code in code spans.
pub(super) fn markdown(text: &str) -> String {
    let text = line(text);
    let parts = parts(&text);
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Prose(text) => prose(text, &mut out),
            Part::Code(text) => {
                out.push('`');
                out.push_str(&defuse(text));
                out.push('`');
            }
        }
    }
    out
}

/// Marks are escaped; what would link or call somebody is broken by an invisible space.
fn prose(text: &str, out: &mut String) {
    const BREAK: char = '\u{200b}';
    let mut previous: Option<char> = out.chars().next_back();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let line_start = previous.is_none();
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '[' | ']' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            '_' if !(word(previous) && word(next)) => out.push_str("\\_"),
            '#' | '-' | '+' | '=' | ':' if line_start => {
                out.push('\\');
                out.push(c);
            }
            '.' | ')' if out.chars().all(|c| c.is_ascii_digit()) && !out.is_empty() => {
                out.push('\\');
                out.push(c);
            }
            '.' if out.to_ascii_lowercase().ends_with("www") => {
                out.push(BREAK);
                out.push(c);
            }
            '@' => {
                out.push(c);
                out.push(BREAK);
            }
            '#' | '!' if next.is_some_and(|n| n.is_ascii_digit() || n == '[') => {
                out.push(c);
                out.push(BREAK);
            }
            '-' if out.to_ascii_lowercase().ends_with("gh") => {
                out.push(BREAK);
                out.push(c);
            }
            ':' if next == Some('/') => {
                out.push(c);
                out.push(BREAK);
            }
            c => out.push(c),
        }
        previous = Some(c);
    }
}

/// A fenced block whose fence is longer than any run of back-ticks inside.
pub(super) fn fence(kind: &str, lines: &[String]) -> String {
    let longest = lines
        .iter()
        .map(|line| longest_run(line))
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let body: Vec<String> = lines.iter().map(|line| defuse(line)).collect();
    format!("{fence}{kind}\n{}\n{fence}", body.join("\n"))
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A code span whose marks are longer than any run of back-ticks inside.
pub(super) fn span(text: &str) -> String {
    let text = defuse(&line(text));
    let ticks = "`".repeat(longest_run(&text) + 1);
    if text.starts_with('`') || text.ends_with('`') {
        format!("{ticks} {text} {ticks}")
    } else {
        format!("{ticks}{text}{ticks}")
    }
}

/// An address that may be opened: http or https, with a host, without credentials. Every character
/// that is not plainly part of an address is percent-encoded.
pub(super) fn address(link: &Untrusted) -> Option<String> {
    let raw = link.expose().trim();
    let (scheme, rest) = raw.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") || raw.len() > LINK_CHARS {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let host_is_plain = host
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']'));
    if host.is_empty() || !host_is_plain {
        return None;
    }
    let mut out = format!("{scheme}://{host}");
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'.' | b'_' | b'/' | b'?' | b'#' | b'=' | b'&' | b'%' | b'+' | b',' | b':'
            | b';' => {
                out.push(char::from(byte));
            }
            other => {
                out.push('%');
                out.push_str(&incident::digest::hex(&[other]).to_uppercase());
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_marks_links_and_mentions_are_inert() {
        let check = |input: &str, expect: &str| assert_eq!(markdown(input), expect);
        check(
            "plain http_requests_rate 0.2 %",
            "plain http_requests_rate 0.2 %",
        );
        check(
            "**bold** _it_ [x](y) ![i](j)",
            "\\*\\*bold\\*\\* \\_it\\_ \\[x\\](y) !\u{200b}\\[i\\](j)",
        );
        check(
            "@channel fixes #12 GH-3",
            "@\u{200b}channel fixes #\u{200b}12 GH\u{200b}-3",
        );
        check("<!here> <script>", "&lt;!here&gt; &lt;script&gt;");
        check(
            "see https://x.y www.x.y",
            "see https:\u{200b}//x.y www\u{200b}.x.y",
        );
        check("# head", "\\# head");
        check("1. item", "1\\. item");
        check("run `a_b` now", "run `a_b` now");
        check("lone ` tick", "lone \\` tick");
        check("two\nlines", "two lines");
    }

    #[test]
    fn only_plain_web_addresses_can_be_opened() {
        let check = |input: &str, expect: Option<&str>| {
            assert_eq!(address(&Untrusted::new(input)).as_deref(), expect);
        };
        check(
            "http://p:9090/graph?g0.expr=up%3E1",
            Some("http://p:9090/graph?g0.expr=up%3E1"),
        );
        check(
            "https://x.y/a b<c>\"'`",
            Some("https://x.y/a%20b%3Cc%3E%22%27%60"),
        );
        check("HTTPS://x.y", Some("https://x.y"));
        check("javascript:alert(1)", None);
        check("javascript://x.y/%0aalert(1)", None);
        check("data:text/html,x", None);
        check("https://user:pass@x.y/", None);
        check("https:///x", None);
        check("//x.y/z", None);
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        let lines = ["a ```` b".to_owned(), "<script>".to_owned()];
        assert_eq!(
            fence("diff", &lines),
            "`````diff\na ```` b\n<·script>\n`````"
        );
        assert_eq!(span("a`b"), "``a`b``");
    }
}
