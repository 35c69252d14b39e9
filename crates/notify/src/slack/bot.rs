//! A bot over Slack's Web API: posts once, edits in place, and finds what it posted.
//!
//! Every message carries the key of its notice in its metadata, which people do not see. Looking reads
//! the channel's history back to a given time, and believes only what this bot wrote itself. It reads no
//! threads, because it writes none: an edit keeps one message current, and a reply for each change
//! would be a second thing to find again.

use incident::ports::{Cx, Notice, Notifier, NotifyError, Receipt, Search, Sight};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::api::{Answer, Api, CallError, asked};
use super::gate::Gate;
use super::{NAME, layout, refused, unreachable};
use crate::config::Config;

/// Tells our messages from others with metadata.
pub(super) const EVENT_TYPE: &str = "nightshift_notice";

/// A bot in one Slack channel.
#[derive(Debug)]
pub struct Bot {
    pub(super) config: Config,
    pub(super) api: Api,
    gate: Gate,
    /// Who we are there, once it was asked.
    me: OnceCell<Me>,
}

/// Who a message is from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Me {
    bot: Option<String>,
    user: Option<String>,
}

/// Where a message stands: `C0123456789/1712345678.123456`.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    channel: &'a str,
    ts: &'a str,
}

impl<'a> Place<'a> {
    /// None for a receipt of a webhook, which has no place.
    fn of(receipt: &'a Receipt) -> Option<Self> {
        let (channel, ts) = receipt.reference.split_once('/')?;
        Some(Self { channel, ts })
    }

    fn receipt(&self) -> Receipt {
        Receipt {
            notifier: NAME.to_owned(),
            reference: format!("{}/{}", self.channel, self.ts),
        }
    }
}

impl Bot {
    /// A bot; its token is read when the first message goes out.
    pub fn new(config: Config, http: reqwest::Client) -> Self {
        Self {
            gate: Gate::new(config.post_gap.0, config.queue_max),
            api: Api::new(config.clone(), http),
            me: OnceCell::new(),
            config,
        }
    }

    pub(super) fn channel(&self) -> Result<&str, NotifyError> {
        let channel = self.config.channel.as_deref();
        channel.ok_or_else(|| refused("slack.channel is not set"))
    }

    /// Sends in turn. Where Slack asks for patience, waits that long if there is time: what it asks
    /// that of was not done.
    async fn send(
        &self,
        method: &str,
        body: &Value,
        cx: &Cx,
    ) -> Result<Result<Answer, CallError>, NotifyError> {
        let mut turn = self.gate.turn(cx).await?;
        loop {
            match self.api.post(method, body, cx).await {
                Err(CallError::Limited(Some(wait))) if turn.wait(asked(wait), cx).await => {
                    tracing::debug!(method, wait_s = wait, "slack asked to wait");
                }
                other => return Ok(other),
            }
        }
    }

    async fn post_new(&self, notice: &Notice, cx: &Cx) -> Result<Receipt, NotifyError> {
        let channel = self.channel()?;
        let mut body = message(notice);
        set(&mut body, "channel", channel);
        let answer = self.send("chat.postMessage", &body, cx).await??;
        receipt(&answer.body, channel)
    }

    async fn me(&self, cx: &Cx) -> Result<&Me, CallError> {
        let ask = async || {
            let answer = self.read("auth.test", &[], cx).await?;
            let id = |field: &str| {
                let id = answer.body.get(field).and_then(Value::as_str);
                id.map(str::to_owned)
            };
            Ok(Me {
                bot: id("bot_id"),
                user: id("user_id"),
            })
        };
        self.me.get_or_try_init(ask).await
    }

    /// Reads, and waits where Slack asks for it and there is time.
    async fn read(
        &self,
        method: &str,
        query: &[(&str, String)],
        cx: &Cx,
    ) -> Result<Answer, CallError> {
        loop {
            match self.api.get(method, query, cx).await {
                Err(CallError::Limited(Some(wait))) if asked(wait) < cx.remaining() => {
                    let waited = cx.bound(cx.clock.sleep(asked(wait))).await;
                    waited.ok_or(CallError::Limited(Some(wait)))?;
                }
                other => return other,
            }
        }
    }

    async fn look(&self, search: &Search, cx: &Cx) -> Result<Sight, CallError> {
        let Ok(channel) = self.channel() else {
            return Ok(Sight::Unknown);
        };
        let me = self.me(cx).await?;
        let margin = SignedDuration::try_from(self.config.clock_margin.0);
        let margin = margin.unwrap_or(SignedDuration::MAX);
        let oldest = search.since.checked_sub(margin).unwrap_or(Timestamp::MIN);
        let mut cursor = None;
        for _ in 0..self.config.history_pages_max {
            let mut query = vec![
                ("channel", channel.to_owned()),
                ("oldest", seconds(oldest)),
                ("inclusive", "true".to_owned()),
                ("include_all_metadata", "true".to_owned()),
                ("limit", self.config.history_page.to_string()),
            ];
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page = self.read("conversations.history", &query, cx).await?.body;
            let messages = page.get("messages").and_then(Value::as_array);
            let ours = messages.into_iter().flatten().filter_map(|m| key(m, me));
            let best = ours
                .filter_map(|(key, ts)| {
                    let mut wanted = search.keys.iter().enumerate();
                    let (rank, key) = wanted.find(|(_, wanted)| wanted.as_str() == key)?;
                    Some((rank, key, ts))
                })
                .min_by_key(|(rank, ..)| *rank);
            if let Some((_, key, ts)) = best {
                let (receipt, key) = (Place { channel, ts }.receipt(), key.clone());
                return Ok(Sight::Found { receipt, key });
            }
            let more = page.get("has_more").and_then(Value::as_bool) == Some(true);
            let next = page.pointer("/response_metadata/next_cursor");
            let next = next.and_then(Value::as_str).filter(|next| !next.is_empty());
            match (more, next) {
                (false, None) => return Ok(Sight::Absent),
                (_, Some(next)) => cursor = Some(next.to_owned()),
                (true, None) => return Ok(Sight::Unknown),
            }
        }
        tracing::warn!(
            channel,
            pages = self.config.history_pages_max,
            "the channel's history is longer than slack.history_pages_max; whether a message got through stays unknown"
        );
        Ok(Sight::Unknown)
    }
}

#[async_trait::async_trait]
impl Notifier for Bot {
    fn name(&self) -> &str {
        NAME
    }

    async fn find(&self, search: &Search, cx: &Cx) -> Result<Sight, NotifyError> {
        match self.look(search, cx).await {
            // It will never let us look: that is no reason to tell nobody.
            Err(CallError::Said { error, needed }) => {
                tracing::warn!(error, ?needed, "slack does not let us look for a message");
                Ok(Sight::Unknown)
            }
            other => Ok(other?),
        }
    }

    async fn post(&self, notice: &Notice, cx: &Cx) -> Result<Receipt, NotifyError> {
        self.post_new(notice, cx).await
    }

    async fn update(
        &self,
        receipt: &Receipt,
        notice: &Notice,
        cx: &Cx,
    ) -> Result<Receipt, NotifyError> {
        // A message that came through a webhook has no name to edit it by.
        let Some(place) = Place::of(receipt) else {
            return self.post_new(notice, cx).await;
        };
        let mut body = message(notice);
        if let Some(fields) = body.as_object_mut() {
            // What only a new message can have.
            fields.retain(|name, _| {
                !matches!(name.as_str(), "mrkdwn" | "unfurl_links" | "unfurl_media")
            });
        }
        set(&mut body, "channel", place.channel);
        set(&mut body, "ts", place.ts);
        match self.send("chat.update", &body, cx).await? {
            Ok(_) => Ok(receipt.clone()),
            Err(CallError::Said { error, .. }) if is_gone(&error) => {
                tracing::info!(error, "the message cannot be edited any more; posting anew");
                self.post_new(notice, cx).await
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether the message is not there to be edited: somebody removed it, or it is another app's.
fn is_gone(error: &str) -> bool {
    matches!(
        error,
        "message_not_found" | "cant_update_message" | "edit_window_closed" | "channel_not_found"
    )
}

/// The message with its key.
fn message(notice: &Notice) -> Value {
    let mut body = layout::message(notice, false);
    if let Some(fields) = body.as_object_mut() {
        let metadata = json!({
            "event_type": EVENT_TYPE,
            "event_payload": {
                "key": notice.key().as_str(),
                "incident": notice.incident().as_str(),
                "notice": notice.label(),
                "revision": notice.revision,
            },
        });
        fields.insert("metadata".to_owned(), metadata);
    }
    body
}

fn set(body: &mut Value, field: &str, value: &str) {
    if let Some(fields) = body.as_object_mut() {
        fields.insert(field.to_owned(), value.into());
    }
}

/// Where the message is now, by the answer.
fn receipt(answer: &Value, channel: &str) -> Result<Receipt, NotifyError> {
    let field = |name: &str| answer.get(name).and_then(Value::as_str);
    let ts = field("ts").filter(|ts| is_ts(ts));
    let ts = ts.ok_or_else(|| unreachable("its answer does not say where the message is"))?;
    let channel = field("channel").unwrap_or(channel);
    let place = Place { channel, ts };
    Ok(place.receipt())
}

/// Seconds, a dot, digits; nothing else is put into a receipt.
fn is_ts(ts: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    ts.len() <= 32
        && ts
            .split_once('.')
            .is_some_and(|(secs, rest)| digits(secs) && digits(rest))
}

/// The key that a message of ours carries, and its name.
fn key<'a>(message: &'a Value, me: &Me) -> Option<(&'a str, &'a str)> {
    let text = |at: &str| message.pointer(at).and_then(Value::as_str);
    // Anybody can write our key into metadata of theirs; it must not keep us from telling people.
    let is_ours = match (&me.bot, text("/bot_id")) {
        (Some(bot), Some(by)) => bot == by,
        _ => me.user.is_some() && me.user.as_deref() == text("/user"),
    };
    if !is_ours || text("/metadata/event_type") != Some(EVENT_TYPE) {
        return None;
    }
    let key = text("/metadata/event_payload/key")?;
    let ts = text("/ts").filter(|ts| is_ts(ts))?;
    Some((key, ts))
}

/// An instant as Slack writes it.
fn seconds(at: Timestamp) -> String {
    let at = at.max(Timestamp::UNIX_EPOCH);
    format!("{}.{:06}", at.as_second(), at.subsec_microsecond())
}
