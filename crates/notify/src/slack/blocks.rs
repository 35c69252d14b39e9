//! Block Kit within its limits.
//!
//! Slack's: 50 blocks, 3,000 characters in a section, about 13,200 in all (the last is not in its
//! documentation). Ours stay below, counted in UTF-16 units.

use serde_json::{Value, json};

use super::text::units;

/// Blocks of one message.
pub(super) const BLOCKS_MAX: usize = 45;
/// One block's text.
pub(super) const SECTION_MAX: usize = 2900;
/// All text of a message.
pub(super) const TOTAL_MAX: usize = 11_000;
/// Kept back for the footer, which always fits.
const FOOTER_RESERVE: usize = 1500;

/// The blocks of one message, in order.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    blocks: Vec<Value>,
    used: usize,
}

impl Blocks {
    /// Adds a section of whole lines, as many as fit; what is left out is counted in its last line.
    /// A section of which nothing fits is left out.
    pub(super) fn section(&mut self, lines: &[String]) {
        self.section_within(lines, SECTION_MAX);
    }

    /// The same, within `max`, so that what comes later has room.
    pub(super) fn section_within(&mut self, lines: &[String], max: usize) {
        let room = (TOTAL_MAX - FOOTER_RESERVE).saturating_sub(self.used);
        let room = room.min(max).min(SECTION_MAX);
        if let Some(text) = fit(lines, room).filter(|_| self.blocks.len() + 1 < BLOCKS_MAX) {
            self.used += units(&text);
            self.blocks
                .push(json!({ "type": "section", "text": mrkdwn(&text) }));
        }
    }

    /// Adds the small print and ends the message.
    pub(super) fn footer(mut self, lines: &[String]) -> Vec<Value> {
        if let Some(text) = fit(lines, FOOTER_RESERVE) {
            self.blocks
                .push(json!({ "type": "context", "elements": [mrkdwn(&text)] }));
        }
        self.blocks
    }
}

/// Formatted text in which Slack itself looks for no links and names.
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

/// As many whole lines as fit into `room`.
fn fit(lines: &[String], room: usize) -> Option<String> {
    const MORE: usize = 24;
    let all = lines.join("\n");
    if units(&all) <= room {
        return (!all.is_empty()).then_some(all);
    }
    let mut used = MORE;
    let fitting = lines.iter().take_while(|line| {
        used += units(line) + 1;
        used <= room
    });
    let kept: Vec<&str> = fitting.map(String::as_str).collect();
    let left_out = lines.len() - kept.len();
    (!kept.is_empty()).then(|| format!("{}\n… {left_out} more", kept.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_whatever_is_added() {
        let mut blocks = Blocks::default();
        for n in 0..200 {
            blocks.section(&vec!["\u{1f534}x".repeat(20); n % 90]);
        }
        let blocks = blocks.footer(&["y".repeat(400), "z".repeat(2000)]);
        let texts: Vec<String> = blocks.iter().map(text_of).collect();
        assert!(blocks.len() <= BLOCKS_MAX);
        assert!(
            texts
                .iter()
                .all(|text| (1..=SECTION_MAX).contains(&units(text)))
        );
        assert!(texts.iter().map(|text| units(text)).sum::<usize>() <= TOTAL_MAX);
        assert!(texts.last().unwrap().ends_with("… 1 more"));
    }

    fn text_of(block: &Value) -> String {
        let text = block
            .pointer("/text/text")
            .or_else(|| block.pointer("/elements/0/text"));
        text.and_then(Value::as_str).unwrap().to_owned()
    }
}
