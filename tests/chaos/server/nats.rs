//! One NATS server with JetStream.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use incident::ports::Clock as _;
use runtime::SystemClock;
use tests::nats::NatsServer;

use crate::fault::Fault;
use crate::schedule::Stroke;
use crate::settings::{BUS_TIMEOUT, LEASE};

/// How long a server stays away at most.
const AWAY_MAX: Duration = Duration::from_millis(600);

/// A server.
#[derive(Debug)]
pub(crate) struct Nats(NatsServer);

impl Nats {
    pub(crate) async fn start() -> Result<Self> {
        Ok(Self(NatsServer::start().await?))
    }

    pub(crate) fn toml(&self) -> String {
        format!(
            "[bus]\nkind = \"nats\"\nnats.addresses = [\"{}\"]\n",
            self.0.url()
        )
    }

    #[expect(clippy::unused_self, reason = "like the other servers")]
    pub(crate) fn version(&self) -> Result<String> {
        let output = Command::new("nats-server").arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_whitespace().last().context("no version")?;
        let version = version.trim_start_matches('v').trim_end_matches(',');
        Ok(format!("NATS {version}, JetStream on one server"))
    }

    pub(crate) async fn strike(&mut self, stroke: &Stroke) -> Result<()> {
        let clock = SystemClock::new();
        match stroke.fault {
            Fault::ServerKill => self.0.kill()?,
            Fault::ServerRestart => self.0.stop()?,
            Fault::ServerFreeze => {
                self.0.freeze()?;
                let longer = Duration::from_secs(1).mul_f64(stroke.draw);
                clock.sleep(LEASE + BUS_TIMEOUT + longer).await;
                return self.0.thaw();
            }
            other => bail!("{} is nothing to do to a NATS server", other.name()),
        }
        clock.sleep(AWAY_MAX.mul_f64(stroke.draw)).await;
        self.0.restart().await
    }
}
