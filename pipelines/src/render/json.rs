//! JSON: the document itself.

use incident::Report;

/// The document as indented JSON. Characters that could hide something or break out of a page it is
/// put into are written as escapes; a parser reads the same document.
pub fn json(report: &Report) -> String {
    let plain = serde_json::to_string_pretty(report)
        .expect("a report has text keys and finite numbers only");
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        let ours = c.is_ascii() && !matches!(c, '<' | '>' | '@' | '&' | '\u{7f}');
        let letter = c.is_alphanumeric() || matches!(c, '…' | '·' | '“' | '”' | '’' | '–' | '—');
        if ours || letter {
            out.push(c);
        } else {
            let mut units = [0_u16; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str("\\u");
                out.push_str(&incident::digest::hex(&unit.to_be_bytes()));
            }
        }
    }
    out
}
