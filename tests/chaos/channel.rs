//! The channel people read, and how often each notice stands in it.

use std::path::Path;

use anyhow::Result;
use tests::slack::SlackApi;

/// A Slack that counts on its own side.
#[derive(Debug)]
pub(crate) struct Channel {
    slack: SlackApi,
    /// The product's `[slack]` table.
    pub(crate) toml: String,
}

/// How often things were posted; an edit is no post.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Posts {
    pub(crate) messages: u64,
    /// Messages beyond the first with the same key or about the same incident, whichever are more.
    pub(crate) repeated: u64,
}

impl Channel {
    pub(crate) async fn open(folder: &Path) -> Result<Self> {
        let slack = SlackApi::start().await?;
        let toml = slack.section(folder, "1ms")?;
        Ok(Self { slack, toml })
    }

    pub(crate) fn posts(&self) -> Posts {
        let beyond = |counts: Vec<u32>| -> u64 {
            let beyond = counts.into_iter().map(|count| count.saturating_sub(1));
            beyond.map(u64::from).sum()
        };
        let by_key: Vec<u32> = self.slack.posts_by_key().into_values().collect();
        let by_incident: Vec<u32> = self.slack.posts_by_incident().into_values().collect();
        Posts {
            messages: by_key.iter().copied().map(u64::from).sum(),
            repeated: beyond(by_key).max(beyond(by_incident)),
        }
    }
}
