//! Breaks lines to a width of columns.

/// Columns a character takes on a terminal: two for East Asian wide ones and most pictographs.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Columns a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// Cuts a text to `max` columns; a cut ends in an ellipsis.
pub(super) fn cut(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += columns(c);
        if used > max {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// Breaks `text` into lines of at most `max` columns, at spaces where there are any.
pub(super) fn wrap(text: &str, max: usize) -> Vec<String> {
    let max = max.max(1);
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        loop {
            let current = lines
                .last_mut()
                .expect("lines starts with one and only grows");
            let gap = usize::from(!current.is_empty());
            if width(current) + gap + width(word) <= max {
                if gap == 1 {
                    current.push(' ');
                }
                current.push_str(word);
                break;
            }
            if !current.is_empty() {
                lines.push(String::new());
                continue;
            }
            let head = fitting(word, max);
            let (now, later) = word.split_at(head);
            current.push_str(now);
            word = later;
            if word.is_empty() {
                break;
            }
            lines.push(String::new());
        }
    }
    lines
}

/// Bytes of the longest head of `word` that fits into `max` columns; at least one character.
fn fitting(word: &str, max: usize) -> usize {
    let mut used = 0;
    for (at, c) in word.char_indices() {
        used += columns(c);
        if used > max && at > 0 {
            return at;
        }
    }
    word.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_never_overflow() {
        let check = |text: &str, max, expect: &[&str]| assert_eq!(wrap(text, max), expect);
        check("one two three", 7, &["one two", "three"]);
        check("unbreakable", 4, &["unbr", "eaka", "ble"]);
        check("a unbreakable", 4, &["a", "unbr", "eaka", "ble"]);
        check("", 4, &[""]);
        check("日本語", 4, &["日本", "語"]);
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
    }
}
