//! Storing entries, each key once.
//!
//! The server itself refuses a key that it saw within its window, but forgets the keys of what was
//! acknowledged when it is started again. So every key gets a record of its own as well, after its
//! entry was stored and before the caller is told. If the caller dies in between, the record is made
//! when the entry is acknowledged at the latest.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use incident::ports::{Appended, Entry, StreamError};

use super::link::{Failure, Write};
use super::names::{self, Names};
use super::stream::{About, JetStream};
use super::{AT_ONCE, envelope};

/// Of the largest message, what is kept free for what stands beside the bytes of an entry.
const BESIDE_BYTES: usize = 16 << 10;

impl JetStream {
    /// Stores a batch, or says why not.
    pub(super) async fn append_all(&self, batch: &[Entry]) -> Result<Vec<Appended>, StreamError> {
        Entry::check_batch(batch)?;
        self.check_sizes(batch)?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let prints: Vec<String> = batch
            .iter()
            .map(|entry| names::fingerprint(&entry.key))
            .collect();
        let stored = self.mended(|| self.store(batch, &prints)).await;
        stored.map_err(|failure| self.error(failure))?
    }

    /// Largest payload that the server takes now.
    fn payload_max(&self) -> usize {
        let limit = self.server.link.max_payload();
        let room = limit.map_or(usize::MAX, |max| max.saturating_sub(BESIDE_BYTES));
        room.min(Entry::PAYLOAD_BYTES_MAX)
    }

    fn check_sizes(&self, batch: &[Entry]) -> Result<(), StreamError> {
        let max = self.payload_max();
        let Some(entry) = batch.iter().find(|entry| entry.payload.len() > max) else {
            return Ok(());
        };
        let limit = self.server.link.max_payload().unwrap_or_default();
        Err(StreamError::Limit {
            key: entry.key.clone(),
            why: format!(
                "the payload has {} bytes; max_payload of the nats server is {limit}, which leaves \
                 {max}: raise max_payload there",
                entry.payload.len()
            ),
        })
    }

    async fn unknown<'b>(&self, prints: &[(usize, &'b str)]) -> Result<BTreeSet<&'b str>, Failure> {
        let looks = prints.iter().map(|(_, print)| async move {
            let known = self.is_remembered(print).await?;
            Ok::<_, Failure>((!known).then_some(*print))
        });
        let looks: Vec<_> = looks.collect();
        let found: Vec<Option<&str>> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn store(
        &self,
        batch: &[Entry],
        prints: &[String],
    ) -> Result<Result<Vec<Appended>, StreamError>, Failure> {
        // The first of each key.
        let mut seen = BTreeSet::new();
        let distinct: Vec<(usize, &str)> = prints
            .iter()
            .enumerate()
            .map(|(at, print)| (at, print.as_str()))
            .filter(|(_, print)| seen.insert(*print))
            .collect();
        let (unknown, info) =
            future::try_join(self.unknown(&distinct), self.server.link.info(&self.stream)).await?;
        let mut appended = vec![Appended::Duplicate; batch.len()];
        let fresh: Vec<(usize, &str)> = distinct
            .into_iter()
            .filter(|(_, print)| unknown.contains(print))
            .collect();
        if fresh.is_empty() {
            return Ok(Ok(appended));
        }
        let (entries, limit) = (info.state.messages, self.server.config.capacity);
        if entries + fresh.len() as u64 > limit {
            return Ok(Err(StreamError::Full { entries, limit }));
        }
        let mut writes = Vec::with_capacity(fresh.len());
        for (at, print) in &fresh {
            let Some(entry) = batch.get(*at) else {
                continue;
            };
            writes.push(self.entry(&entry.key, print, &entry.payload)?);
        }
        let stored = self.server.link.write_all(writes).await;
        let mut remember = Vec::with_capacity(fresh.len());
        for ((at, print), stored) in fresh.iter().zip(stored) {
            let stored = match stored {
                Err(Failure::Full) => return Ok(Err(StreamError::Full { entries, limit })),
                stored => stored?,
            };
            if let Some(appended) = appended.get_mut(*at)
                && !stored.duplicate
            {
                *appended = Appended::Stored;
            }
            remember.push(Write {
                subject: self.key_subject(print),
                // A stored entry is remembered from now on, also if a forgotten one left its key.
                expect: stored.duplicate.then_some(0),
                ..Write::default()
            });
        }
        for remembered in self.server.link.write_all(remember).await {
            match remembered {
                Ok(_) | Err(Failure::Conflict) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(Ok(appended))
    }

    /// The message that stores an entry.
    pub(super) fn entry(
        &self,
        key: &str,
        remembered: &str,
        payload: &[u8],
    ) -> Result<Write, Failure> {
        let about = About {
            key: key.to_owned(),
            remembered: remembered.to_owned(),
        };
        Ok(Write {
            subject: Names::entries(&self.stream),
            id: Some(remembered.to_owned()),
            body: envelope::pack(&about, payload).map_err(Failure::Unavailable)?,
            ..Write::default()
        })
    }
}
