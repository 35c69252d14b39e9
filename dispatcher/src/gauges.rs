//! Measures how much there is to do, on a timer.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use incident::Pace;

use crate::service::Inner;

impl Inner {
    pub(crate) async fn serve_gauges(&self) {
        loop {
            self.measure().await;
            if !self.pause(self.config.backlog_every.0).await {
                return;
            }
        }
    }

    /// The lane that a stream of this dispatcher is.
    pub(crate) fn lane_of(&self, stream: &str) -> &'static str {
        let lane = self.work.iter().find(|(_, lane)| lane.name() == stream);
        lane.map_or(Pace::EVENTS, |(severity, _)| severity.lane())
    }

    async fn measure(&self) {
        let mut ages = BTreeMap::new();
        let lanes = self
            .work
            .iter()
            .map(|(severity, stream)| (Some(*severity), stream));
        for (severity, stream) in std::iter::once((None, &self.events)).chain(lanes) {
            let lane = self.lane_of(stream.name());
            let exchanged = tokio::select! {
                biased;
                () = self.shutdown.drain.wait() => return,
                exchanged = self.paces.exchange(self.store.as_ref(), lane) => exchanged,
            };
            if let Err(error) = exchanged {
                tracing::debug!(lane, %error, "cannot keep how long work takes");
            }
            let backlog = tokio::select! {
                biased;
                () = self.shutdown.drain.wait() => return,
                backlog = stream.backlog() => backlog,
            };
            match backlog {
                Ok(backlog) => {
                    let left = self
                        .paces
                        .known(lane)
                        .remaining(&backlog, Pace::usual(lane));
                    self.gauges.set(stream.name(), lane, &backlog, left);
                    if let (Some(severity), Some(age)) = (severity, backlog.oldest_age) {
                        ages.insert(severity, age);
                    }
                }
                Err(error) => {
                    tracing::warn!(stream = stream.name(), %error, "cannot measure a backlog");
                }
            }
        }
        *self.ages.lock().unwrap_or_else(PoisonError::into_inner) = ages;
    }
}
