//! Dead letters. They stay until somebody takes them out.
//!
//! A letter is taken out by writing that it is, once: whoever writes it first is told `true`, and from
//! then on the letter is not listed. What follows (for a redriven one a new entry, then the removal of
//! the letter) is done by the same caller, or, if it died, by whoever looks next; doing it twice
//! changes nothing.

use bytes::Bytes;
use incident::ports::{DeadLetter, StreamError};
use serde::{Deserialize, Serialize};

use super::envelope;
use super::link::{Failure, Found, Write};
use super::stream::{EntryId, JetStream};

/// How a letter is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Exit {
    Redrive,
    Discard,
}

impl JetStream {
    /// The letters after the one with the id `after`, oldest first.
    pub(super) async fn letters(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Failure> {
        let link = &self.server.link;
        self.finish_exits().await?;
        let mut from = 1;
        if let Some(after) = after.filter(|id| EntryId::parse(id).is_some())
            && let Some(found) = link
                .last(&self.dead.stream, &self.dead.subject(after))
                .await?
        {
            from = found.seq + 1;
        }
        let all = self.dead.subject(">");
        let mut letters = Vec::new();
        while letters.len() < limit {
            let Some(found) = link.next(&self.dead.stream, &all, from).await? else {
                break;
            };
            from = found.seq + 1;
            if let Some(letter) = self.read_letter(&found) {
                letters.push(letter);
            }
        }
        Ok(letters)
    }

    fn read_letter(&self, found: &Found) -> Option<DeadLetter> {
        let read = envelope::unpack::<DeadLetter>(&found.body);
        if read.is_none() {
            let subject = &found.subject;
            tracing::warn!(stream = self.name, subject, "a dead letter is unreadable");
        }
        read.map(|(letter, payload)| DeadLetter {
            payload: payload.to_vec(),
            ..letter
        })
    }

    async fn find_letter(&self, id: &str) -> Result<Option<Found>, Failure> {
        if EntryId::parse(id).is_none() {
            return Ok(None);
        }
        let subject = self.dead.subject(id);
        self.server.link.last(&self.dead.stream, &subject).await
    }

    /// Takes a letter out; whether it was this caller who did.
    pub(super) async fn take_out(
        &self,
        id: &str,
        exit: Exit,
    ) -> Result<Result<bool, StreamError>, Failure> {
        let link = &self.server.link;
        let Some(found) = self.find_letter(id).await? else {
            return Ok(Ok(false));
        };
        if exit == Exit::Redrive
            && let Some(full) = self.is_full().await?
        {
            return Ok(Err(full));
        }
        let body = serde_json::to_vec(&exit).unwrap_or_default();
        // The plan is only there to be found by whoever finishes what is left unfinished.
        let plan = Write {
            subject: self.about("p", id),
            ..Write::default()
        };
        let plan = link.write(plan).await?.seq;
        let fact = Write {
            subject: self.about("x", id),
            expect: Some(0),
            body: Bytes::from(body),
            ..Write::default()
        };
        let fact = match link.write(fact).await {
            Ok(stored) => stored.seq,
            Err(Failure::Conflict) => return Ok(Ok(false)),
            Err(failure) => return Err(failure),
        };
        match self.finish_exit(id, exit, &found).await {
            Ok(()) => {}
            Err(Failure::Full) => {
                // It was filled up meanwhile. The letter stays.
                link.erase(&self.leases.stream, fact).await?;
                link.erase(&self.leases.stream, plan).await?;
                let full = self.is_full().await?;
                let limit = self.server.config.capacity;
                let full = full.unwrap_or(StreamError::Full {
                    entries: limit,
                    limit,
                });
                return Ok(Err(full));
            }
            // It is decided. Whoever looks next does the rest.
            Err(failure) => {
                tracing::warn!(stream = self.name, id, %failure, "a letter is taken out later");
                return Ok(Ok(true));
            }
        }
        link.erase(&self.leases.stream, plan).await?;
        Ok(Ok(true))
    }

    async fn is_full(&self) -> Result<Option<StreamError>, Failure> {
        let entries = self.server.link.info(&self.stream).await?.state.messages;
        let limit = self.server.config.capacity;
        Ok((entries >= limit).then_some(StreamError::Full { entries, limit }))
    }

    /// Does what follows from the decision to take a letter out.
    async fn finish_exit(&self, id: &str, exit: Exit, found: &Found) -> Result<(), Failure> {
        let link = &self.server.link;
        if exit == Exit::Redrive
            && let Some(letter) = self.read_letter(found)
        {
            // The key stands in nobody's way: the entry is remembered under a name of its own.
            let remembered = format!("redriven-{id}");
            if !self.is_remembered(&remembered).await? {
                let entry = self.entry(&letter.key, &remembered, &letter.payload)?;
                let stored = link.write(entry).await?;
                tracing::debug!(stream = self.name, id, seq = stored.seq, "redriven");
                self.remember(&remembered, self.server.now().await?.late)
                    .await?;
            }
        }
        link.erase(&self.dead.stream, found.seq).await?;
        Ok(())
    }

    /// Finishes what somebody decided and did not finish.
    pub(super) async fn finish_exits(&self) -> Result<(), Failure> {
        let link = &self.server.link;
        let filter = self.leases.subject(&format!("{}.p.*", self.stream));
        for subject in link.subjects(&self.leases.stream, &filter).await? {
            let Some(plan) = link.last(&self.leases.stream, &subject).await? else {
                continue;
            };
            let id = subject.rsplit('.').next().unwrap_or_default();
            let fact = link.last(&self.leases.stream, &self.about("x", id)).await?;
            let exit = fact.and_then(|fact| serde_json::from_slice(&fact.body).ok());
            if let (Some(exit), Some(found)) = (exit, self.find_letter(id).await?) {
                match self.finish_exit(id, exit, &found).await {
                    Ok(()) => {}
                    // There is no room for it yet.
                    Err(Failure::Full) => continue,
                    Err(failure) => return Err(failure),
                }
            } else if exit.is_none() && !self.is_old(&plan).await? {
                // Somebody is about to decide.
                continue;
            }
            link.erase(&self.leases.stream, plan.seq).await?;
        }
        Ok(())
    }

    /// Whether whoever wrote it has given up by now.
    async fn is_old(&self, found: &Found) -> Result<bool, Failure> {
        let now = self.server.now().await?;
        let patience = self.server.link.timeout().saturating_mul(10);
        let patience = super::time::Micros::try_from(patience.as_micros()).unwrap_or(i64::MAX);
        Ok(now.is_past(found.time.as_microsecond().saturating_add(patience)))
    }
}
