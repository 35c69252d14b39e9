//! Measures how much there is to do, on a timer.

use std::collections::BTreeMap;
use std::sync::PoisonError;

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

    async fn measure(&self) {
        let mut ages = BTreeMap::new();
        let lanes = self
            .work
            .iter()
            .map(|(severity, stream)| (Some(*severity), stream));
        for (severity, stream) in std::iter::once((None, &self.events)).chain(lanes) {
            let backlog = tokio::select! {
                biased;
                () = self.shutdown.drain.wait() => return,
                backlog = stream.backlog() => backlog,
            };
            match backlog {
                Ok(backlog) => {
                    self.figures.backlog(stream.name(), &backlog);
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
