//! `nightshift drill`: the main job on a small made-up world, with nothing installed.
//!
//! The world is made up; the pipeline is the real one: the drill starts what `nightshift up` starts,
//! posts an Alertmanager body to its webhook over HTTP, and reads the report back through the API.

mod alert;
mod metrics;
mod show;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use incident::ports::Clock;
use incident::report::ChangeOutcome;
use incident::{Decision, Report};
use runtime::config::Secret;
use runtime::{OsEntropy, Shutdown, SystemClock, entropy};
use serde_json::json;
use tokio::net::TcpListener;

use crate::EXIT_INTERRUPTED;
use crate::cli::{DrillArgs, Story};
use crate::client::Client;
use crate::command::decide::sign;
use crate::config::Config;
use crate::output::say;
use crate::roles::{AGENTS, Node, Role};
use show::Show;
use world::World;

/// Longest time a step of the drill may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often the drill looks whether a step is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs the drill.
pub(crate) async fn run(args: DrillArgs) -> Result<ExitCode> {
    let clock = SystemClock::new();
    let folder = Folder::make(args.keep.as_deref())?;
    let show = Arc::new(Show::new(clock.clone()));
    // Interrupted, it still returns from here, so that its folder is removed.
    let result = tokio::select! {
        biased;
        signal = Shutdown::signal() => signal.map(|()| None).map_err(Into::into),
        result = drill(&args, &folder, &clock, &show) => result.map(Some),
    };
    show.finish();
    let Some((report, times)) = result? else {
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    show::report(&report, args.story)?;
    if let Some(kept) = &args.keep {
        let page = kept.join("report.html");
        std::fs::write(&page, pipelines::render::html(&report))
            .context("the HTML report cannot be written")?;
        say!(
            "kept: {} (report.html is the same report with plots)",
            kept.display()
        )?;
    }
    if args.times {
        say!("{}", serde_json::to_string(&times)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn drill(
    args: &DrillArgs,
    folder: &Folder,
    clock: &Arc<SystemClock>,
    show: &Arc<Show>,
) -> Result<(Report, serde_json::Value)> {
    let now = clock.now();
    show.step("world", "making a repository, metrics and an alert");
    let world = World::make(&folder.path, args.story, now).await?;
    let shutdown = Shutdown::new();
    let prometheus = stand_in(args.story, now, &shutdown).await?;

    let started = clock.elapsed();
    let token = Secret::new(entropy::nonce(&OsEntropy, 16));
    let config = configuration(&folder.path, &world, &prometheus, &token)?;
    let key = config.approval_key_or_create(&OsEntropy)?;
    let node = Node::start(
        config,
        &[Role::Hook, Role::Dispatcher, Role::Agents(AGENTS.to_vec())],
        show.clone(),
    )
    .await?;
    let start_ms = millis(clock, started);
    show.step(
        "up",
        "hook, dispatcher and agents run in this process, A2A over loopback",
    );

    let client = Client::at(
        format!(
            "http://{}",
            node.hook_address().context("the hook listens")?
        ),
        Some(token),
    )?;
    let posted = clock.elapsed();
    client
        .webhook(serde_json::to_vec(&alert::body(now, &prometheus))?)
        .await?;
    let stored_ms = millis(clock, posted);
    show.step("alert", "Alertmanager's webhook was stored and answered");
    let report = wait(clock, &client, |_| true).await?;
    let report_ms = millis(clock, posted);
    let report = decide(clock, &client, &key, report, show).await?;
    if let Some(culprit) = &world.culprit {
        tracing::debug!(%culprit, "the world's culprit");
    }
    shutdown.drain.cancel();
    node.stop().await;
    let times = json!({ "start_ms": start_ms, "webhook_to_stored_ms": stored_ms, "webhook_to_report_ms": report_ms });
    Ok((report, times))
}

/// Plays the person: approves what is proposed, through the same API as `nightshift approve`.
async fn decide(
    clock: &SystemClock,
    client: &Client,
    key: &incident::ApprovalKey,
    report: Report,
    show: &Show,
) -> Result<Report> {
    let ChangeOutcome::AwaitingApproval { proposal } = &report.change else {
        return Ok(report);
    };
    show.step(
        "approve",
        "the drill plays the person and approves, as `nightshift approve` would",
    );
    client
        .decide(&sign(key, proposal, Decision::Approve, "drill"))
        .await?;
    wait(clock, client, |change| {
        !matches!(change, ChangeOutcome::AwaitingApproval { .. })
    })
    .await
}

/// Waits for the one incident's report, until its change is as wanted.
async fn wait(
    clock: &SystemClock,
    client: &Client,
    wanted: impl Fn(&ChangeOutcome) -> bool,
) -> Result<Report> {
    let start = clock.elapsed();
    while clock.elapsed().saturating_sub(start) < PATIENCE {
        let rows = client.incidents(None, 1).await?;
        if let Some(id) = rows
            .first()
            .and_then(|row| row.get("id"))
            .and_then(|id| id.as_str())
        {
            let report = client.incident(id).await?.report;
            if let Some(report) = report.filter(|report| wanted(&report.change)) {
                return Ok(report);
            }
        }
        clock.sleep(LOOK_EVERY).await;
    }
    bail!(
        "the drill did not get there within {} s; run it again with --keep DIR to look at what it left",
        PATIENCE.as_secs()
    )
}

/// Serves the made-up metrics on a free port; its address.
async fn stand_in(story: Story, now: jiff::Timestamp, shutdown: &Shutdown) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("no free port on loopback")?;
    let address = listener.local_addr()?;
    let router = metrics::router(metrics::Metrics { story, now });
    let supervisor = runtime::Supervisor::new(shutdown.clone(), SystemClock::new());
    let shutdown = shutdown.clone();
    supervisor.spawn(runtime::TaskKind::Work, "drill prometheus", async move {
        if let Err(error) = runtime::http::serve(listener, router, shutdown).await {
            tracing::error!(%error, "the stand-in for prometheus stopped");
        }
    });
    Ok(format!("http://{address}"))
}

/// What a person would write into nightshift.toml for this world.
fn configuration(folder: &Path, world: &World, prometheus: &str, token: &Secret) -> Result<Config> {
    let token_file = folder.join("token");
    runtime::config::write_private(&token_file, token.expose())
        .context("the drill's token cannot be written")?;
    let toml = toml::toml! {
        [hook]
        listen = "127.0.0.1:0"
        [agents]
        listen = "127.0.0.1:0"
    };
    let mut document = serde_json::to_value(toml)?;
    document["data_dir"] = json!(folder.join("data"));
    document["hook"]["auth"] = json!({ "token_files": [token_file] });
    document["agents"]["observability"] = json!({ "prometheus_url": prometheus });
    document["repositories"] = json!([{
        "name": world::REPOSITORY,
        "remote": world.remote,
        "paths": [
            { "prefix": "services/checkout/", "services": ["checkout"] },
            { "prefix": "services/cart/", "services": ["cart"] },
            { "prefix": "services/web/", "services": ["web"] },
        ],
    }]);
    serde_json::from_value(document).context("the drill's configuration does not fit")
}

fn millis(clock: &SystemClock, since: Duration) -> f64 {
    clock.elapsed().saturating_sub(since).as_secs_f64() * 1000.0
}

/// The drill's folder: removed at the end unless it is to be kept.
struct Folder {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Folder {
    fn make(keep: Option<&Path>) -> Result<Self> {
        let Some(keep) = keep else {
            let temporary = tempfile::Builder::new()
                .prefix("nightshift-drill-")
                .tempdir()
                .context(
                    "no temporary folder can be made; set TMPDIR, or name a folder with --keep",
                )?;
            return Ok(Self {
                path: temporary.path().to_path_buf(),
                _temporary: Some(temporary),
            });
        };
        std::fs::create_dir_all(keep)
            .with_context(|| format!("{} cannot be made", keep.display()))?;
        if std::fs::read_dir(keep)?.next().is_some() {
            bail!(
                "{} is not empty; name an empty or new folder",
                keep.display()
            );
        }
        Ok(Self {
            path: std::path::absolute(keep)?,
            _temporary: None,
        })
    }
}
