//! `demo-service load`: traffic from a process of its own, for worlds that no test drives.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use incident::ports::Clock;
use runtime::{Shutdown, SystemClock};
use tests::load::{Counts, Load};

/// How often the counts are told.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Highest rate; more than this one source cannot keep up anyway.
const RATE_MAX: f64 = 10_000.0;

/// What is sent where.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    target: String,
    rate: f64,
}

impl Plan {
    /// From what stands behind `load` on the command line.
    pub(crate) fn from_arguments(mut given: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        const USAGE: &str = "usage: demo-service load --target http://demo:8000/checkout --rate 60";
        let (mut target, mut rate) = (None, None);
        while let Some(name) = given.next() {
            let value = given.next().context(USAGE)?;
            match name.as_str() {
                "--target" => target = Some(value),
                "--rate" => rate = Some(value),
                _ => bail!("unknown argument {name}; {USAGE}"),
            }
        }
        let rate = rate.context(USAGE)?;
        let per_second: f64 = rate
            .parse()
            .with_context(|| format!("--rate {rate} is no number; {USAGE}"))?;
        ensure!(
            per_second > 0.0 && per_second <= RATE_MAX,
            "--rate is {rate}; it must be above 0 and at most {RATE_MAX}"
        );
        Ok(Self {
            target: target.context(USAGE)?,
            rate: per_second,
        })
    }
}

/// Sends until SIGTERM or SIGINT and tells every now and then, and at the end, what came of it.
pub(crate) async fn run(plan: Plan) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = SystemClock::new();
    tracing::info!(target_url = %plan.target, per_second = plan.rate, "sending");
    let load = Load::start(plan.target, plan.rate)?;
    let mut signal = std::pin::pin!(Shutdown::signal());
    loop {
        tokio::select! {
            biased;
            signal = &mut signal => {
                signal?;
                tell(load.counts());
                return Ok(());
            }
            () = clock.sleep(TELL_EVERY) => tell(load.counts()),
        }
    }
}

fn tell(counts: Counts) {
    let Counts { good, failed, shed } = counts;
    tracing::info!(good, failed, shed, "requests so far");
}
