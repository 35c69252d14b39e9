//! Mending what the consumer lost, finishing what somebody began, forgetting what is over.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use incident::keys;
use incident::ports::Cancel as _;
use runtime::TaskKind;
use serde_json::json;

use super::link::Failure;
use super::make::{self, ConsumerInfo};
use super::record::{Record, State};
use super::scan::Scan;
use super::stream::{JetStream, Standing};
use super::{AT_ONCE, Server};

/// Equal looks before a difference between stream and consumer is believed: the two numbers are not
/// taken at the same moment.
const LOOKS: u32 = 3;

/// What the last look at stream and consumer saw.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    messages: u64,
    last_seq: u64,
    delivered: (u64, u64),
}

/// Looks that saw the same.
#[derive(Debug, Default)]
struct Looks {
    last: Look,
    count: u32,
}

/// Sweeps `stream` until the last handle on it is gone or the drain.
pub(super) fn start(server: &Arc<Server>, stream: &JetStream) {
    let drain = server.supervisor.shutdown().drain.clone();
    let (clock, pause) = (server.clock.clone(), server.config.sweep.0);
    let (server_seen, alive) = (Arc::downgrade(server), Arc::downgrade(&stream.alive));
    let (name, consumer, takeover) = (
        stream.name.clone(),
        stream.consumer.clone(),
        stream.takeover.clone(),
    );
    server
        .supervisor
        .spawn(TaskKind::Work, "bus-sweep", async move {
            let mut looks = Looks::default();
            while !drain.is_cancelled() {
                tokio::select! {
                    biased;
                    () = drain.wait() => return,
                    () = clock.sleep(pause) => {}
                }
                let (Some(server), Some(alive)) = (server_seen.upgrade(), alive.upgrade()) else {
                    return;
                };
                if server.link.is_closed() {
                    return;
                }
                let stream = JetStream::new(server, &name, &consumer, takeover.clone(), alive);
                if let Err(failure) = stream.mended(|| stream.sweep()).await {
                    tracing::debug!(stream = name, %failure, "the stream was not swept");
                    continue;
                }
                if let Err(failure) = stream.compare(&mut looks).await {
                    tracing::debug!(stream = name, %failure, "stream and consumer not compared");
                }
            }
        });
}

impl JetStream {
    async fn sweep(&self) -> Result<(), Failure> {
        self.finish_exits().await?;
        self.check_marks().await?;
        let due = self.server.due_traces(self.server.config.sweep_rows);
        let link = &self.server.link;
        let erasing: Vec<_> = due
            .iter()
            .map(|trace| link.erase(&trace.stream, trace.seq))
            .collect();
        let erased: Vec<_> = stream::iter(erasing).buffered(AT_ONCE).collect().await;
        tracing::trace!(stream = self.name, traces = erased.len(), "swept");
        Ok(())
    }

    /// Removes the marks of entries that are put back no more.
    async fn check_marks(&self) -> Result<(), Failure> {
        let filter = self.leases.subject(&format!("{}.l.*", self.stream));
        let link = &self.server.link;
        let subjects = link.subjects(&self.leases.stream, &filter).await?;
        for subject in subjects.into_iter().take(self.server.config.sweep_rows) {
            let id = subject.rsplit('.').next().unwrap_or_default();
            let Some(mark) = link.last(&self.leases.stream, &subject).await? else {
                continue;
            };
            let is_wanted = match self.standing(id).await?.map(|s| s.record.state) {
                Some(State::Later { mark: seq, .. }) => seq == mark.seq,
                // Somebody is about to put it back.
                Some(State::Claimed { until }) => !self.server.now().await?.is_past(until),
                Some(State::Dead { .. } | State::Done) | None => false,
            };
            if !is_wanted {
                link.erase(&self.leases.stream, mark.seq).await?;
            }
        }
        Ok(())
    }

    /// Makes the consumer anew if it does not deliver everything, or counts what is not there. The
    /// records of the entries say what it then means that all are delivered again.
    async fn compare(&self, looks: &mut Looks) -> Result<(), Failure> {
        let server = &self.server;
        let verb = format!("CONSUMER.INFO.{}.{}", self.stream, keys::GROUP);
        let info = server.link.info(&self.stream).await?;
        let group: ConsumerInfo = server.link.api(&verb, &json!({})).await?;
        let look = Look {
            messages: info.state.messages,
            last_seq: info.state.last_seq,
            delivered: (group.num_pending, group.num_ack_pending),
        };
        let counted = group.num_pending + group.num_ack_pending;
        let ack_wait = i64::try_from(make::ack_wait(server).as_nanos()).unwrap_or(i64::MAX);
        if group.config.max_deliver > 0 || group.config.ack_wait != ack_wait {
            tracing::warn!(
                stream = self.name,
                max_deliver = group.config.max_deliver,
                "somebody changed the consumer; it is changed back"
            );
            return self.renew(looks).await;
        }
        if counted == look.messages || look != looks.last {
            looks.count = u32::from(counted != look.messages);
            looks.last = look;
            return Ok(());
        }
        looks.count += 1;
        if looks.count < LOOKS {
            return Ok(());
        }
        tracing::warn!(
            stream = self.name,
            entries = look.messages,
            counted,
            "the consumer lost count of the entries; it is made anew"
        );
        self.renew(looks).await
    }

    async fn renew(&self, looks: &mut Looks) -> Result<(), Failure> {
        *looks = Looks::default();
        make::remove_consumer(&self.server, &self.stream).await?;
        make::consumer(&self.server, &self.stream).await
    }

    /// Before the first claim, and never after it: frees what an earlier process held under this name.
    pub(super) async fn take_over(&self) -> Result<(), Failure> {
        let takeover = self.takeover.clone();
        let freed = takeover.get_or_try_init(|| self.free_held()).await;
        freed.copied()
    }

    async fn free_held(&self) -> Result<(), Failure> {
        let filter = self.leases.subject(&format!("{}.e.*", self.stream));
        let scan = Scan {
            stream: &self.leases.stream,
            filter: &filter,
            from: None,
            is_bare: false,
        };
        let now = self.server.now().await?;
        let mut held = Vec::new();
        let read = scan.read(&self.server, usize::MAX, |found| {
            let Ok(record) = serde_json::from_slice::<Record>(&found.body) else {
                return;
            };
            let is_live = matches!(record.state, State::Claimed { until } if !now.is_past(until));
            if is_live && record.holder == self.consumer {
                let id = found.subject.rsplit('.').next().unwrap_or_default();
                let rev = found.seq;
                held.push((id.to_owned(), Standing { rev, record }));
            }
        });
        read.await?;
        let mut freed = 0;
        for (id, standing) in held {
            let record = standing.record.freed(now);
            match self.save(&id, &record, standing.rev).await {
                Ok(_) => {
                    freed += 1;
                    self.give_back(&record.reply, std::time::Duration::ZERO)
                        .await;
                }
                Err(Failure::Conflict) => {}
                Err(failure) => return Err(failure),
            }
        }
        if freed > 0 {
            tracing::info!(
                stream = self.name,
                freed,
                "took over what this consumer held before"
            );
        }
        Ok(())
    }
}
