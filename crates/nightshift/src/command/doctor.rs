//! `nightshift doctor`: whether what this installation stands on is there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bus::Bus;
use forge::PlainGit;
use incident::ports::{Clock, Cx};
use notify::{Bot, Finding};
use runtime::alertmanager::{Alertmanager, ReadError};
use runtime::config::read_secret;
use runtime::{Shutdown, Supervisor, SystemClock};

use crate::config::Config;
use crate::output::say;
use crate::settings::Settings;

/// Longest time of one check.
const CHECK_MAX: Duration = Duration::from_secs(15);

/// How one check ended.
#[derive(Debug)]
enum Outcome {
    Good(String),
    Warning(String),
    Bad(String),
}

/// Runs every check, prints a line each, and fails if one is bad.
pub(crate) async fn run(settings: &Settings) -> Result<ExitCode> {
    let config = &settings.config;
    let clock: Arc<dyn Clock> = SystemClock::new();
    let mut bad = false;
    let mut print = |name: &str, outcome: Outcome| {
        let (mark, text) = match outcome {
            Outcome::Good(text) => ("ok  ", text),
            Outcome::Warning(text) => ("warn", text),
            Outcome::Bad(text) => {
                bad = true;
                ("BAD ", text)
            }
        };
        say!("{mark}  {name:<14}  {text}")
    };
    print("configuration", configuration(settings))?;
    for (name, outcome) in storage(config, &clock).await {
        print(name, outcome)?;
    }
    print("webhook", webhook(config))?;
    print("prometheus", prometheus(config).await)?;
    print("alertmanager", alertmanager(config).await)?;
    for (name, outcome) in repositories(config, &clock).await {
        print(&name, outcome)?;
    }
    print("slack", slack(config, &clock).await)?;
    print("approval key", approval(config))?;
    Ok(if bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn configuration(settings: &Settings) -> Outcome {
    let source = settings
        .file
        .as_ref()
        .map_or("defaults".to_owned(), |file| file.display().to_string());
    Outcome::Good(format!("{source} and the environment"))
}

/// Stores something, and holds what is asked of the bus against what its servers do. The embedded
/// log belongs to one process: where a running Nightshift holds it, that one is asked instead.
async fn storage(config: &Config, clock: &Arc<dyn Clock>) -> Vec<(&'static str, Outcome)> {
    let supervisor = Supervisor::new(Shutdown::new(), clock.clone());
    let bus = match Bus::open(&config.bus(), clock.clone(), &supervisor).await {
        Ok(bus) => bus,
        Err(error) if config.bus.kind == bus::Kind::Embedded => {
            let held = match ready(config).await {
                Ok(()) => {
                    Outcome::Good("held by the running Nightshift, which can store".to_owned())
                }
                Err(why) => Outcome::Bad(format!(
                    "{error}; and no running Nightshift can store: {why}"
                )),
            };
            return vec![("bus", held)];
        }
        Err(error) => return vec![("bus", Outcome::Bad(error.to_string()))],
    };
    let mut outcomes = vec![(
        "bus",
        match bus.check().await {
            Ok(()) => Outcome::Good("something was stored and is durable".to_owned()),
            Err(error) => Outcome::Bad(error.to_string()),
        },
    )];
    for finding in bus.durability().await {
        let outcome = match finding.grade {
            bus::Grade::Good => Outcome::Good(finding.text),
            bus::Grade::Warning => Outcome::Warning(finding.text),
            bus::Grade::Bad => Outcome::Bad(finding.text),
        };
        outcomes.push(("bus durability", outcome));
    }
    supervisor.drain(Duration::from_secs(2)).await;
    bus.close().await;
    outcomes
}

async fn ready(config: &Config) -> Result<(), String> {
    let base = config
        .api
        .url
        .clone()
        .unwrap_or_else(|| format!("http://{}", config.hook.listen));
    get(&format!("{base}/readyz")).await.map(|_| ())
}

async fn get(url: &str) -> Result<String, String> {
    let http = runtime::http::client(CHECK_MAX).map_err(|error| error.to_string())?;
    let response = http
        .get(url)
        .send()
        .await
        .map_err(|error| format!("{:#}", anyhow::Error::new(error.without_url())))?;
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    if status.is_success() {
        Ok(text)
    } else {
        Err(format!("HTTP {status}"))
    }
}

fn webhook(config: &Config) -> Outcome {
    let listen = config.hook.listen;
    match hook::Credentials::read(&config.hook, "hook") {
        Ok(credentials) if credentials.is_open() => Outcome::Warning(format!(
            "{listen} takes alerts from everybody on this machine; set hook.auth to ask for a token"
        )),
        Ok(_) => Outcome::Good(format!("{listen}, with credentials")),
        Err(problems) => Outcome::Bad(
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        ),
    }
}

async fn prometheus(config: &Config) -> Outcome {
    let Some(url) = &config.agents.observability.prometheus_url else {
        return Outcome::Warning(
            "not configured; reports have no metrics. Set agents.observability.prometheus_url"
                .to_owned(),
        );
    };
    match get(&format!(
        "{}/api/v1/status/buildinfo",
        url.trim_end_matches('/')
    ))
    .await
    {
        Ok(_) => Outcome::Good(format!("{url} answers")),
        Err(why) => Outcome::Bad(format!(
            "{url} does not answer ({why}); reports would have no metrics"
        )),
    }
}

/// Whether every peer answers and knows the receiver that posts here.
async fn alertmanager(config: &Config) -> Outcome {
    let section = &config.alertmanager;
    if section.urls.is_empty() {
        return Outcome::Warning(
            "not configured; an alert whose notification is lost stays unknown. Set alertmanager.urls"
                .to_owned(),
        );
    }
    let opened = match Alertmanager::new(section) {
        Ok(opened) => opened,
        Err(error) => return Outcome::Bad(error.to_string()),
    };
    let receiver = &config.hook.reconcile.receiver;
    let mut told = Vec::new();
    for peer in opened.peers() {
        let known = async {
            let status = peer.status().await?;
            Ok::<_, ReadError>((status, peer.receivers().await?))
        };
        match known.await {
            Ok((_, receivers)) if !receivers.contains(receiver) => {
                return Outcome::Bad(format!(
                    "{} has no receiver {receiver:?}; set hook.reconcile.receiver to the one that posts here",
                    peer.name()
                ));
            }
            Ok((status, _)) => told.push(format!("{} {}", peer.name(), status.version())),
            Err(error) => {
                return Outcome::Bad(format!("{error}; lost notifications are not made up for"));
            }
        }
    }
    Outcome::Good(told.join(", "))
}

async fn repositories(config: &Config, clock: &Arc<dyn Clock>) -> Vec<(String, Outcome)> {
    if config.repositories.is_empty() {
        let text = "none configured; no change can be named. Add one under [[repositories]]";
        return vec![("repositories".to_owned(), Outcome::Warning(text.to_owned()))];
    }
    let drafts = config.repositories_dir();
    let forge = PlainGit::new(
        config.repositories.clone(),
        &drafts,
        clock.clone(),
        config.forge.clone(),
    );
    let cx = Cx::root(clock.clone(), CHECK_MAX, "0".repeat(32));
    let findings = forge.doctor_check(&cx).await;
    findings
        .into_iter()
        .map(|finding| {
            let outcome = match (&finding.base, finding.is_warning()) {
                (Err(_), _) => Outcome::Bad(finding.text()),
                (Ok(_), true) => Outcome::Warning(finding.text()),
                (Ok(_), false) => Outcome::Good(finding.text()),
            };
            (format!("git {}", finding.repository), outcome)
        })
        .collect()
}

async fn slack(config: &Config, clock: &Arc<dyn Clock>) -> Outcome {
    let slack = &config.slack;
    if slack.is_bot() {
        let http = match runtime::http::client(CHECK_MAX) {
            Ok(http) => http,
            Err(error) => return Outcome::Bad(error.to_string()),
        };
        let cx = Cx::root(clock.clone(), CHECK_MAX, "0".repeat(32));
        return match Bot::new(slack.clone(), http).examine(&cx).await {
            Finding::Good(text) if slack.url_file.is_some() => Outcome::Warning(format!(
                "{text}; slack.url_file is not used beside slack.token_file"
            )),
            Finding::Good(text) => Outcome::Good(text),
            Finding::Lame(text) => Outcome::Warning(text),
            Finding::Bad(text) => Outcome::Bad(text),
        };
    }
    let Some(file) = &slack.url_file else {
        return Outcome::Warning(
            "not configured; people hear only from `nightshift incidents watch`".to_owned(),
        );
    };
    match read_secret(file) {
        Ok(_) => Outcome::Good(
            "a webhook, which cannot edit or look; nothing was posted. slack.token_file can"
                .to_owned(),
        ),
        Err(error) => Outcome::Bad(error.to_string()),
    }
}

fn approval(config: &Config) -> Outcome {
    match config.approval_key() {
        Err(error) => Outcome::Bad(format!("{error:#}")),
        Ok(None) => Outcome::Warning("not made yet; the first start makes it".to_owned()),
        Ok(Some(_)) => {
            if others_can_read(&config.approval_key_file()) {
                let text = "others on this machine can read the key and so approve; chmod 600";
                Outcome::Warning(text.to_owned())
            } else {
                Outcome::Good("readable by its owner only".to_owned())
            }
        }
    }
}

fn others_can_read(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o007 != 0)
}
