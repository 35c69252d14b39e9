//! Fencing tokens.
//!
//! The server compares the revision of one key, so it cannot refuse a write because of a token that
//! stands at another. Therefore a writer first notes at the token, by compare-and-set, which key it is
//! about to write over which revision: its intent. Whoever takes the next token first makes every
//! noted write impossible, by writing the same value over that revision itself, and only then writes
//! the token. After that no write under an older token can arrive, however late.

use bytes::Bytes;
use incident::ports::{Fence, StoreError};
use serde::{Deserialize, Serialize};

use super::super::link::{Failure, Write};
use super::super::names;
use super::cell::Cell;
use super::{NatsStore, Stop};

/// Writes that may be noted at one token at once.
const INTENTS_MAX: usize = 32;

/// A write that is under way, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) subject: String,
    /// The revision it writes over. When the subject is at another, the write is done or cannot come.
    pub(super) rev: u64,
}

/// What stands at a token's name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tokens {
    pub(super) newest: u64,
    #[serde(default)]
    pub(super) intents: Vec<Intent>,
}

/// A token's name as it was found.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) subject: String,
    pub(super) rev: u64,
    pub(super) tokens: Tokens,
}

impl Guard {
    pub(super) fn write(&self) -> Result<Write, Failure> {
        let body = serde_json::to_vec(&self.tokens);
        let body = body.map_err(|error| Failure::Unavailable(error.to_string()))?;
        Ok(Write {
            subject: self.subject.clone(),
            expect: Some(self.rev),
            body: Bytes::from(body),
            ..Write::default()
        })
    }
}

impl NatsStore {
    pub(super) async fn guard(&self, name: &str) -> Result<Guard, Stop> {
        let subject = self.bucket.subject(&format!("f.{}", names::encode(name)));
        let found = self.server.link.last(&self.bucket.stream, &subject).await?;
        let Some(found) = found else {
            return Ok(Guard {
                subject,
                rev: 0,
                tokens: Tokens::default(),
            });
        };
        let tokens = serde_json::from_slice(&found.body).map_err(|error| StoreError::Corrupt {
            key: name.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Guard {
            subject,
            rev: found.seq,
            tokens,
        })
    }

    /// Drops the intents that cannot come any more, and those that are too many.
    pub(super) async fn prune(&self, guard: &mut Guard) -> Result<(), Stop> {
        let mut kept = Vec::new();
        for intent in std::mem::take(&mut guard.tokens.intents) {
            if self.server.store.is_spent(&intent.subject, intent.rev) {
                continue;
            }
            let found = self
                .server
                .link
                .last(&self.bucket.stream, &intent.subject)
                .await?;
            if found.map_or(0, |found| found.seq) == intent.rev {
                kept.push(intent);
            }
        }
        while kept.len() >= INTENTS_MAX {
            let oldest = kept.remove(0);
            self.thwart(&oldest).await?;
        }
        guard.tokens.intents = kept;
        Ok(())
    }

    /// Makes sure that a write that was intended is done already or cannot come.
    async fn thwart(&self, intent: &Intent) -> Result<(), Stop> {
        let link = &self.server.link;
        let found = link.last(&self.bucket.stream, &intent.subject).await?;
        if found.as_ref().map_or(0, |found| found.seq) != intent.rev {
            return Ok(());
        }
        let is_txn = self
            .bucket
            .key(&intent.subject)
            .is_some_and(|key| key.starts_with("t."));
        let written = if is_txn {
            self.abort(&intent.subject, intent.rev).await
        } else {
            let same = Cell::of(&intent.subject, found)?;
            self.write(&intent.subject, &same).await.map(|_| ())
        };
        match written {
            // It was just done.
            Ok(()) | Err(Failure::Conflict) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Takes the next token of `name`.
    pub(super) async fn next_token(&self, name: &str) -> Result<Fence, Stop> {
        let age = self.server.now().await?.early;
        let mut tries = 0;
        loop {
            let mut guard = self.guard(name).await?;
            for intent in std::mem::take(&mut guard.tokens.intents) {
                self.thwart(&intent).await?;
            }
            guard.tokens.newest += 1;
            match self.server.link.write(guard.write()?).await {
                Ok(_) => {
                    return Ok(Fence {
                        name: name.to_owned(),
                        token: guard.tokens.newest,
                    });
                }
                // Somebody noted another write, or took the token.
                Err(Failure::Conflict) => {
                    self.pause(age, tries).await;
                    tries += 1;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }
}
