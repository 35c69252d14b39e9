//! Whether the channel can be used: for `nightshift doctor`. Nothing is posted.

use incident::ports::Cx;
use serde_json::Value;

use super::api::CallError;
use super::bot::Bot;

/// Lets the bot post and edit.
const WRITE: &str = "chat:write";
/// Let the bot look for its messages, in channels of either kind.
const HISTORY: [&str; 2] = ["channels:history", "groups:history"];

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Posting, editing and looking work.
    Good(String),
    /// Posting works, something else does not.
    Lame(String),
    /// Nobody will be told.
    Bad(String),
}

impl Bot {
    /// Asks Slack who we are, what we may do, and whether we may read the channel.
    pub async fn examine(&self, cx: &Cx) -> Finding {
        let channel = match self.channel() {
            Ok(channel) => channel,
            Err(error) => return Finding::Bad(error.to_string()),
        };
        let answer = match self.api.get("auth.test", &[], cx).await {
            Ok(answer) => answer,
            Err(error) => return Finding::Bad(format!("Slack does not let us in: {error}")),
        };
        let has = |scope: &str| {
            let scopes = answer.scopes.as_ref();
            // A proxy may take the header away; then the calls themselves must tell.
            scopes.is_none_or(|scopes| scopes.iter().any(|has| has == scope))
        };
        if !has(WRITE) {
            return Finding::Bad(format!(
                "the token lacks the scope {WRITE}; add it to the app and install it anew"
            ));
        }
        let word = |field: &str| {
            let word = answer.body.get(field).and_then(Value::as_str);
            let word = incident::untrusted::Untrusted::new(word.unwrap_or("?"));
            word.one_line(60)
        };
        let who = format!("{} at {}, channel {channel}", word("user"), word("team"));
        let blind = |why: &str| {
            Finding::Lame(format!(
                "{who}; {why}, so after a crash a message may come twice"
            ))
        };
        if !HISTORY.iter().any(|scope| has(scope)) {
            let needed = HISTORY.join(" or ");
            return blind(&format!("the token lacks the scope {needed}"));
        }
        let query = [("channel", channel.to_owned()), ("limit", "1".to_owned())];
        match self.api.get("conversations.history", &query, cx).await {
            Ok(_) => Finding::Good(format!("{who}; nothing was posted")),
            Err(CallError::Said {
                error,
                needed: Some(needed),
            }) if error == "missing_scope" => blind(&format!(
                "the token lacks the scope {needed} for this channel"
            )),
            Err(error) => Finding::Bad(format!("{who}: {error}")),
        }
    }
}
