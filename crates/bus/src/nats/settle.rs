//! What the holder of a lease says, and what follows from it.
//!
//! First the record changes, by compare-and-set against the lease's token: that decides. Then the
//! server is told. If that does not reach it, the server delivers the entry once more, and whoever
//! meets it finds in the record what is to be done.

use std::time::Duration;

use bytes::Bytes;
use incident::ports::{Cause, DeadLetter, Lease, StreamError};

use super::envelope;
use super::link::{Failure, Write};
use super::record::State;
use super::stream::{About, EntryId, JetStream, Standing};

/// Longest text of a cause in a dead letter that would not fit otherwise.
const SHORT_CAUSE_CHARS: usize = 256;

/// What the holder says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb<'a> {
    Extend,
    Ack,
    Retry { delay: Duration, cause: &'a Cause },
    Bury { cause: &'a Cause },
}

impl JetStream {
    pub(super) async fn settle(&self, lease: &Lease, verb: Verb<'_>) -> Result<(), StreamError> {
        let lost = || StreamError::LeaseLost {
            id: lease.id.clone(),
        };
        let Some(id) = EntryId::parse(&lease.id) else {
            return Err(lost());
        };
        let settled = self.mended(|| self.decide(id, lease, verb)).await;
        match settled {
            Ok(true) => Ok(()),
            Ok(false) => Err(lost()),
            Err(failure) => Err(self.error(failure)),
        }
    }

    /// Whether the lease was held.
    async fn decide(&self, id: EntryId, lease: &Lease, verb: Verb<'_>) -> Result<bool, Failure> {
        let clock = &self.server.clock;
        let until = clock.elapsed().saturating_add(self.server.link.timeout());
        loop {
            let Some(standing) = self.standing(&lease.id).await? else {
                return Ok(false);
            };
            if !standing.record.is_held_by(lease.token) {
                return Ok(false);
            }
            match self.settle_once(id, &lease.id, standing, verb).await {
                // The record changed, maybe only because of a late sweep.
                Err(Failure::Conflict) if clock.elapsed() < until => {}
                other => return other.map(|()| true),
            }
        }
    }

    async fn settle_once(
        &self,
        id: EntryId,
        name: &str,
        standing: Standing,
        verb: Verb<'_>,
    ) -> Result<(), Failure> {
        let now = self.server.now().await?;
        let record = &standing.record;
        let reply = record.reply.clone();
        match verb {
            Verb::Extend => {
                let next = record.extended(now, &self.rules);
                self.save(name, &next, standing.rev).await?;
                self.tell(&reply, "+WPI").await;
            }
            Verb::Ack => {
                // Whoever appended it may have died before the key was remembered.
                self.remember(&record.remembered, id.nanos / 1000).await?;
                self.finish(name, &standing).await?;
                self.confirm(&reply).await;
            }
            Verb::Bury { cause } => {
                let record = record.dead(cause.clone(), now);
                let rev = self.save(name, &record, standing.rev).await?;
                self.finish_burial(name, Standing { rev, record }, &reply)
                    .await?;
            }
            Verb::Retry { delay, cause } => {
                let mut next = record.put_back(cause, now, delay, &self.rules);
                if let State::Later { mark, .. } = &mut next.state {
                    let write = Write {
                        subject: self.about("l", name),
                        ..Write::default()
                    };
                    *mark = self.server.link.write(write).await?.seq;
                }
                let rev = self.save(name, &next, standing.rev).await?;
                if matches!(next.state, State::Dead { .. }) {
                    let standing = Standing { rev, record: next };
                    self.finish_burial(name, standing, &reply).await?;
                } else {
                    self.give_back(&reply, delay).await;
                }
            }
        }
        Ok(())
    }

    /// Notes that an entry is never delivered again.
    async fn finish(&self, id: &str, standing: &Standing) -> Result<(), Failure> {
        let done = standing.record.with(State::Done);
        let rev = self.save(id, &done, standing.rev).await?;
        self.server.forget_later(&self.leases.stream, rev);
        Ok(())
    }

    /// Makes a dead letter of an entry whose record says that it is dead, unless it is one already.
    pub(super) async fn finish_burial(
        &self,
        id: &str,
        standing: Standing,
        reply: &str,
    ) -> Result<(), Failure> {
        let link = &self.server.link;
        let taken_out = link.last(&self.leases.stream, &self.about("x", id)).await?;
        if taken_out.is_none()
            && let Some((letter, payload)) = self.letter(id, &standing).await?
        {
            self.write_letter(&letter, &payload).await?;
            self.remember(
                &standing.record.remembered,
                letter.appended_at.as_microsecond(),
            )
            .await?;
        }
        match self.finish(id, &standing).await {
            // Somebody else finished it.
            Ok(()) | Err(Failure::Conflict) => {}
            Err(failure) => return Err(failure),
        }
        self.confirm(reply).await;
        Ok(())
    }

    /// The dead letter of an entry that is still in the stream.
    async fn letter(
        &self,
        id: &str,
        standing: &Standing,
    ) -> Result<Option<(DeadLetter, Bytes)>, Failure> {
        let (Some(entry), State::Dead { at, last }) = (EntryId::parse(id), &standing.record.state)
        else {
            return Ok(None);
        };
        let found = self.server.link.at(&self.stream, entry.seq).await?;
        let Some(found) = found.filter(|found| found.time == entry.appended_at()) else {
            return Ok(None);
        };
        let (about, payload) = envelope::unpack(&found.body).unwrap_or_else(|| {
            let about = About {
                key: id.to_owned(),
                ..About::default()
            };
            (about, found.body.clone())
        });
        let letter = DeadLetter {
            id: id.to_owned(),
            stream: self.name.clone(),
            key: about.key,
            payload: Vec::new(),
            attempts: standing.record.attempt,
            first: standing.record.first.clone(),
            last: last.clone(),
            appended_at: entry.appended_at(),
            buried_at: jiff::Timestamp::from_microsecond(*at).unwrap_or_default(),
        };
        Ok(Some((letter, payload)))
    }

    async fn write_letter(&self, letter: &DeadLetter, payload: &[u8]) -> Result<(), Failure> {
        let mut letter = letter.clone();
        for is_short in [false, true] {
            if is_short {
                let causes = letter.first.iter_mut().chain([&mut letter.last]);
                for cause in causes {
                    cause.text = cause.text.chars().take(SHORT_CAUSE_CHARS).collect();
                }
            }
            let write = Write {
                subject: self.dead.subject(&letter.id),
                expect: Some(0),
                body: envelope::pack(&letter, payload).map_err(Failure::Unavailable)?,
                ..Write::default()
            };
            match self.server.link.write(write).await {
                Err(Failure::TooLarge { .. }) if !is_short => {}
                // It is there already.
                Ok(_) | Err(Failure::Conflict) => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Removes the mark of an entry that was put back.
    pub(super) async fn unmark(&self, mark: u64) {
        let erased = self.server.link.erase(&self.leases.stream, mark).await;
        if let Err(failure) = erased {
            tracing::debug!(stream = self.name, %failure, "the sweep removes the mark");
        }
    }

    /// Tells the server that an entry is done, and waits until it knows.
    pub(super) async fn confirm(&self, reply: &str) {
        self.tell(reply, "+ACK").await;
    }

    /// Asks the server to deliver an entry again after `delay`.
    pub(super) async fn give_back(&self, reply: &str, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let word = match nanos {
            0 => String::from("-NAK"),
            nanos => format!("-NAK {{\"delay\": {nanos}}}"),
        };
        self.tell(reply, &word).await;
    }

    async fn tell(&self, reply: &str, word: &str) {
        if reply.is_empty() {
            return;
        }
        let body = Bytes::from(word.to_owned());
        let told = self.server.link.request(reply.to_owned(), body).await;
        if let Err(failure) = told {
            tracing::debug!(stream = self.name, word, %failure, "the server will ask again");
        }
    }
}
