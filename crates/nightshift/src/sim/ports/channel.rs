//! The Notifier port: a channel in memory that keeps everything people ever read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use incident::IncidentId;
use incident::digest::Digest;
use incident::ports::{Cx, Notice, NoticeKind, Notifier, NotifyError, Receipt, Search, Sight};

use super::super::breaks::Break;
use super::super::gate::{Fate, Gate};

/// A message as people read it.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Message {
    pub(in crate::sim) incident: IncidentId,
    /// The key it carries now.
    pub(in crate::sim) key: Digest,
    pub(in crate::sim) label: &'static str,
    pub(in crate::sim) revision: u32,
    /// Its readers are told that they may see it twice.
    pub(in crate::sim) maybe_repeat: bool,
    /// Keys that it was posted with: one for each time.
    pub(in crate::sim) posted: Digest,
}

/// A channel, outside of every node.
#[derive(Debug)]
pub(in crate::sim) struct Channel {
    pub(in crate::sim) name: &'static str,
    /// Whether it can look and edit.
    pub(in crate::sim) looks: bool,
    messages: Mutex<Vec<Message>>,
}

impl Channel {
    pub(in crate::sim) fn new(name: &'static str, looks: bool) -> Arc<Self> {
        Arc::new(Self {
            name,
            looks,
            messages: Mutex::default(),
        })
    }

    pub(in crate::sim) fn messages(&self) -> MutexGuard<'_, Vec<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receipt(&self, place: usize) -> Receipt {
        Receipt {
            notifier: self.name.to_owned(),
            reference: if self.looks {
                place.to_string()
            } else {
                String::new()
            },
        }
    }
}

/// The channel as one node reaches it.
#[derive(Debug)]
pub(in crate::sim) struct GatedChannel {
    gate: Gate,
    channel: Arc<Channel>,
}

impl GatedChannel {
    pub(in crate::sim) fn notifier(gate: Gate, channel: &Arc<Channel>) -> Arc<dyn Notifier> {
        Arc::new(Self {
            gate,
            channel: Arc::clone(channel),
        })
    }

    /// A client sends nothing after the end of its context.
    fn in_time(fate: Fate, cx: &Cx) -> Result<Fate, NotifyError> {
        let left = cx.remaining();
        if left.is_zero() {
            return Err(away("it is too late"));
        }
        Ok(fate.within(left))
    }
}

/// What the outside does with one message.
#[derive(Debug, Clone)]
struct Telling {
    gate: Gate,
    channel: Arc<Channel>,
    message: Message,
    /// Whether a proposal waits for somebody.
    asks: bool,
}

impl Telling {
    fn new(this: &GatedChannel, notice: &Notice) -> Self {
        let asks = match &notice.kind {
            NoticeKind::Report(report) => {
                matches!(
                    report.change,
                    incident::report::ChangeOutcome::AwaitingApproval { .. }
                )
            }
            NoticeKind::Opened(_) | NoticeKind::Closed(_) => false,
        };
        Self {
            gate: this.gate.clone(),
            channel: Arc::clone(&this.channel),
            message: Message {
                incident: notice.incident().clone(),
                key: notice.key(),
                label: notice.label(),
                revision: notice.revision,
                maybe_repeat: notice.maybe_repeat,
                posted: notice.key(),
            },
            asks,
        }
    }

    fn post(&self) -> Receipt {
        let (message, world) = (&self.message, &self.gate.world);
        world.watch.note(
            self.channel.name,
            "  posted",
            message.key.short(12),
            message.revision.into(),
        );
        let before = self
            .channel
            .messages()
            .iter()
            .any(|known| known.posted == message.key);
        world.watch.check(
            "at most one post for a notice, but one that says so",
            !before || message.maybe_repeat,
            || {
                format!(
                    "{} heard {} of {} again, with no word of it",
                    self.channel.name, message.label, message.incident
                )
            },
        );
        let place = {
            let mut messages = self.channel.messages();
            messages.push(message.clone());
            messages.len() - 1
        };
        self.heard();
        self.channel.receipt(place)
    }

    fn update(&self, receipt: Receipt) -> Receipt {
        let place: Option<usize> = receipt.reference.parse().ok();
        let Some(place) = place.filter(|_| self.channel.looks) else {
            return self.post();
        };
        let (message, world) = (&self.message, &self.gate.world);
        world.watch.note(
            self.channel.name,
            "  edited",
            message.key.short(12),
            message.revision.into(),
        );
        if let Some(known) = self.channel.messages().get_mut(place) {
            let posted = known.posted.clone();
            *known = Message {
                posted,
                ..self.message.clone()
            };
        }
        self.heard();
        receipt
    }

    fn heard(&self) {
        if self.asks {
            self.gate.world.ask_people(&self.message.incident);
        }
    }
}

fn away(why: &str) -> NotifyError {
    NotifyError::Unreachable {
        notifier: String::from("slack"),
        why: why.to_owned(),
    }
}

#[async_trait]
impl Notifier for GatedChannel {
    fn name(&self) -> &str {
        self.channel.name
    }

    async fn find(&self, search: &Search, _cx: &Cx) -> Result<Sight, NotifyError> {
        let about = search.keys.first().map_or("", |key| key.short(12));
        let effect = || {
            let (channel, keys) = (Arc::clone(&self.channel), search.keys.clone());
            let blind = self.gate.world.broken == Some(Break::NoLookBeforeAct);
            async move {
                if !channel.looks {
                    return Ok(Sight::Unknown);
                }
                let messages = channel.messages();
                let mut keys = keys.iter().filter(|_| !blind);
                let found = keys.find_map(|key| {
                    let place = messages.iter().position(|message| message.key == *key)?;
                    Some((channel.receipt(place), key.clone()))
                });
                Ok(found.map_or(Sight::Absent, |(receipt, key)| Sight::Found {
                    receipt,
                    key,
                }))
            }
        };
        self.gate.call("find message", about, away, effect).await
    }

    async fn post(&self, notice: &Notice, cx: &Cx) -> Result<Receipt, NotifyError> {
        // No client sends a post again by itself, and a server does not sit on one for minutes.
        let fate = self.gate.before("post", notice.label()).await.once();
        let fate = Self::in_time(fate, cx)?;
        let telling = Telling::new(self, notice);
        let effect = || {
            let telling = telling.clone();
            async move { Ok(telling.post()) }
        };
        self.gate.make(fate, away, effect).await
    }

    async fn update(
        &self,
        receipt: &Receipt,
        notice: &Notice,
        cx: &Cx,
    ) -> Result<Receipt, NotifyError> {
        let fate = self.gate.before("edit", notice.label()).await.once();
        let fate = Self::in_time(fate, cx)?;
        let telling = Telling::new(self, notice);
        let effect = || {
            let (telling, receipt) = (telling.clone(), receipt.clone());
            async move { Ok(telling.update(receipt)) }
        };
        self.gate.make(fate, away, effect).await
    }
}
