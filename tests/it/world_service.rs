//! The demo service by itself: what its file says is what it does.

use std::path::Path;
use std::time::Duration;

use tests::load::Load;
use tests::ports;
use tests::process::Process;
use tests::wait::until;
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(15);

struct Service {
    process: Process,
    url: String,
    client: reqwest::Client,
}

impl Service {
    async fn start(folder: &Path, config: &str) -> anyhow::Result<Self> {
        std::fs::write(folder.join("config.toml"), config)?;
        let address = ports::free()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo-service"));
        command
            .args(["--listen", &address.to_string(), "--config"])
            .arg(folder.join("config.toml"));
        let mut process = Process::start("service", folder, &mut command)?;
        let url = format!("http://{address}");
        process.ready(&format!("{url}/healthz"), SOON).await?;
        let client = runtime::http::client(SOON)?;
        Ok(Self {
            process,
            url,
            client,
        })
    }

    async fn checkout(&self) -> anyhow::Result<u16> {
        let answer = self.client.get(format!("{}/checkout", self.url)).send();
        Ok(answer.await?.status().as_u16())
    }

    /// The value of a series, as the metrics page writes it.
    async fn metric(&self, series: &str) -> anyhow::Result<f64> {
        let page = self.client.get(format!("{}/metrics", self.url)).send();
        let page = page.await?.text().await?;
        let value = page.lines().find_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            (name == series).then(|| value.parse())
        });
        Ok(value.transpose()?.unwrap_or(0.0))
    }

    async fn until_metric(&self, series: &str, at_least: f64) -> anyhow::Result<()> {
        let what = format!("{series} >= {at_least}");
        until(&what, SOON, async || {
            let value = self.metric(series).await.ok()?;
            (value >= at_least).then_some(())
        })
        .await
    }
}

#[tokio::test]
async fn the_file_decides_what_the_service_does() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(folder.path().join("config.toml"), text).unwrap();
    let fast = "[cache]\nenabled = false\n[database]\nquery_time = \"5ms\"\n";
    let mut service = Service::start(folder.path(), fast).await.unwrap();
    assert_eq!(service.checkout().await.unwrap(), 200);

    // What cannot be read changes nothing and is counted.
    write("[pool]\nsize = 0\n");
    service
        .until_metric("config_reload_failures_total", 1.0)
        .await
        .unwrap();
    let size = service.metric("pool_size").await.unwrap();
    assert!((size - 20.0).abs() < f64::EPSILON, "{size}");
    assert_eq!(service.checkout().await.unwrap(), 200);

    // A query slower than its time-out fails.
    write("[cache]\nenabled = false\n[database]\nquery_time = \"50ms\"\ntimeout = \"20ms\"\n");
    service
        .until_metric("config_reloads_total", 1.0)
        .await
        .unwrap();
    assert_eq!(service.checkout().await.unwrap(), 500);

    // The flag makes four queries of one.
    write(
        "[cache]\nenabled = false\n[database]\nquery_time = \"10ms\"\ntimeout = \"30ms\"\n[features]\nrecommendations = true\n",
    );
    service
        .until_metric("config_reloads_total", 2.0)
        .await
        .unwrap();
    assert_eq!(service.checkout().await.unwrap(), 500);

    // The cache needs neither pool nor database.
    write("[cache]\nhit_ratio = 1.0\n[database]\ntimeout = \"1ms\"\n");
    service
        .until_metric("config_reloads_total", 3.0)
        .await
        .unwrap();
    assert_eq!(service.checkout().await.unwrap(), 200);

    let status = service.process.terminate(SOON).await.unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_pool_that_is_too_small_queues_retries_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let small = "[pool]\nsize = 1\nwait_timeout = \"50ms\"\n[cache]\nenabled = false\n[retries]\nattempts = 1\n";
    let mut service = Service::start(folder.path(), small).await.unwrap();
    let load = Load::start(format!("{}/checkout", service.url), 40.0).unwrap();
    let failed = r#"requests_total{code="503"}"#;
    service.until_metric(failed, 5.0).await.unwrap();
    service
        .until_metric(r#"requests_total{code="200"}"#, 1.0)
        .await
        .unwrap();
    service.until_metric("retries_total", 5.0).await.unwrap();
    service.until_metric("queue_depth", 1.0).await.unwrap();
    assert!(load.counts().failed > 0);

    // Open requests finish before it leaves.
    let status = service.process.terminate(SOON).await.unwrap();
    assert!(status.success(), "{status}\n{}", service.process.log_tail());
}
