//! The real Alertmanager as the sender: alerts go to its API, its webhooks come through a relay that
//! writes down what it was promised.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use incident::ports::{Clock, Entropy as _};
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use serde_json::{Value, json};
use tests::alertmanager::Alertmanager;
use tests::fakes::Fake;
use tests::fleet::{Alert, Fleet};
use tests::nightshift::Install;
use tests::relay;
use tests::wait::until;

use crate::ledger::Ledger;
use crate::schedule::entropy;

/// Between the first alerts of two services.
const SERVICE_EVERY: Duration = Duration::from_secs(2);
/// Alerts of one service.
const ALERTS: usize = 3;
/// Longest wait until Alertmanager has told of every alert.
const TOLD_WITHIN: Duration = Duration::from_secs(90);

/// A running Alertmanager with alerts that go on firing.
#[derive(Debug)]
pub(crate) struct RealSender {
    ledger: Ledger,
    services: Arc<AtomicUsize>,
    supervisor: Supervisor,
    shutdown: Shutdown,
    _alertmanager: Alertmanager,
    _relay: Fake,
}

impl RealSender {
    pub(crate) async fn start(
        folder: &Path,
        install: &Install,
        ledger: Ledger,
        fleet: Fleet,
        seed: u64,
    ) -> Result<Self> {
        let hears = ledger.clone();
        let relay = relay::start(
            install.webhook(),
            Arc::new(move |body, status| hears.hear(body, Some(status))),
        )
        .await?;
        let webhook = format!("{}/webhook", relay.url);
        let alertmanager = Alertmanager::start(folder, &webhook, &install.token).await?;
        let url = format!("{}/api/v2/alerts", alertmanager.url);
        let http = runtime::http::client(Duration::from_secs(5))?;
        let (clock, shutdown) = (SystemClock::new(), Shutdown::new());
        let supervisor = Supervisor::new(shutdown.clone(), clock.clone());
        let services = Arc::new(AtomicUsize::new(0));
        let (started, stop) = (services.clone(), shutdown.clone());
        supervisor.spawn(TaskKind::Work, "alerts", async move {
            let entropy = entropy(seed, "alertmanager");
            for service in 0..fleet.services {
                let alerts: Vec<Value> = (0..ALERTS).map(|n| posted(fleet, service, n)).collect();
                if let Ok(answer) = http.post(&url).json(&alerts).send().await
                    && answer.status().is_success()
                {
                    started.store(service + 1, Ordering::Relaxed);
                }
                let pause = SERVICE_EVERY.mul_f64(0.5 + entropy.unit());
                tokio::select! {
                    biased;
                    () = stop.drain.wait() => return,
                    () = clock.sleep(pause) => {}
                }
            }
        });
        Ok(Self {
            ledger,
            services,
            supervisor,
            shutdown,
            _alertmanager: alertmanager,
            _relay: relay,
        })
    }

    /// No new alerts; waits until every one of them was acknowledged.
    pub(crate) async fn finish(&self) -> Result<usize> {
        let ended = self.supervisor.drain(TOLD_WITHIN).await;
        ensure!(ended, "alerts could not be given to Alertmanager");
        let services = self.services.load(Ordering::Relaxed);
        until(
            "Alertmanager to have told of every alert",
            TOLD_WITHIN,
            async || {
                let events = self.ledger.events();
                let told: BTreeSet<&str> = events
                    .values()
                    .filter(|sent| sent.acknowledged)
                    .map(|sent| sent.fingerprint.as_str())
                    .collect();
                // The probe's alerts come on top.
                (told.len() >= services * ALERTS).then_some(())
            },
        )
        .await?;
        Ok(services)
    }
}

impl Drop for RealSender {
    fn drop(&mut self) {
        self.shutdown.abort.cancel();
    }
}

/// An alert as Prometheus posts it.
fn posted(fleet: Fleet, service: usize, number: usize) -> Value {
    let alert = fleet.alert(Alert {
        service,
        number,
        resolved_at: None,
    });
    json!({
        "labels": alert["labels"], "annotations": alert["annotations"],
        "startsAt": alert["startsAt"], "generatorURL": alert["generatorURL"],
    })
}
