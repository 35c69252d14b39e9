//! The channel people read, and how often each notice stands in it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tests::fakes::{self, Fake, Heard};

/// A fake Slack.
#[derive(Debug)]
pub(crate) struct Channel {
    _slack: Fake,
    heard: Heard,
    url_file: PathBuf,
}

/// How often things were posted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Posts {
    /// Messages; an edit is none.
    pub(crate) messages: u64,
    /// Messages beyond the first with the same key.
    pub(crate) repeated: u64,
}

impl Channel {
    pub(crate) async fn open(folder: &Path) -> Result<Self> {
        let (slack, heard) = fakes::slack().await?;
        let url_file = folder.join("slack-url");
        std::fs::write(&url_file, format!("{}/hook", slack.url))?;
        Ok(Self {
            _slack: slack,
            heard,
            url_file,
        })
    }

    /// The product's `[slack]` table.
    pub(crate) fn toml(&self) -> String {
        format!("[slack]\nurl_file = \"{}\"\n", self.url_file.display())
    }

    pub(crate) fn posts(&self) -> Posts {
        let counts: Vec<u64> = self.heard.bodies().into_values().map(u64::from).collect();
        Posts {
            messages: counts.iter().sum(),
            repeated: counts.iter().map(|count| count.saturating_sub(1)).sum(),
        }
    }
}
