//! The product as a person installs it: a configuration file, processes, the command line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use incident::{Incident, Report};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use crate::ports;
use crate::process::Process;

/// Longest start.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Longest single request.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// One installation: its folder, its configuration file, its ports, its token.
#[derive(Debug)]
pub struct Install {
    folder: PathBuf,
    config: PathBuf,
    hook: SocketAddr,
    /// The bearer token of webhook and API.
    pub token: String,
    http: reqwest::Client,
    environment: Vec<(String, String)>,
}

/// How an installation differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the agents listen, and where they are called if something stands in between.
    pub agents: Option<(SocketAddr, String)>,
    /// Variables that every process gets.
    pub environment: Vec<(String, String)>,
}

/// One incident as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Detail {
    /// As triage keeps it.
    pub incident: Incident,
    /// The newest report.
    pub report: Option<Report>,
}

/// Where this build's programs are.
///
/// # Errors
/// They were not built; `cargo xtask test` builds them first.
pub fn program(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let folder = exe.parent().context("every program is in a folder")?;
    // Tests run from target/<profile>/deps, programs from target/<profile>.
    let folder = match folder.file_name() {
        Some(deps) if deps == "deps" => folder.parent().unwrap_or(folder),
        _ => folder,
    };
    let program = folder.join(name);
    ensure!(
        program.exists(),
        "{} is not built; run `cargo xtask test`, or `cargo build --package nightshift`",
        program.display()
    );
    Ok(program)
}

impl Install {
    /// Writes a configuration below `folder`: ports and token, then `toml` as it is.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn new(folder: &Path, toml: &str) -> Result<Self> {
        Self::with(folder, toml, Options::default())
    }

    /// The same with differences.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn with(folder: &Path, toml: &str, options: Options) -> Result<Self> {
        let (hook, metrics) = (ports::free()?, ports::free()?);
        let (agents, agents_url) = if let Some(agents) = options.agents {
            agents
        } else {
            let agents = ports::free()?;
            (agents, format!("http://{agents}"))
        };
        let token = "it-".to_owned() + &"7".repeat(29);
        let token_file = folder.join("token");
        std::fs::write(&token_file, &token)?;
        let config = folder.join("nightshift.toml");
        let (data, token_file) = (folder.join("data"), token_file.display());
        let data = data.display();
        std::fs::write(
            &config,
            format!(
                "data_dir = \"{data}\"\nmetrics_listen = \"{metrics}\"\n\n[hook]\nlisten = \"{hook}\"\nauth.token_files = [\"{token_file}\"]\n\n[agents]\nlisten = \"{agents}\"\n\n[a2a]\npublic_url = \"{agents_url}\"\n\n{toml}"
            ),
        )?;
        let http = runtime::http::client(REQUEST_WITHIN)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            config,
            hook,
            token,
            http,
            environment: options.environment,
        })
    }

    /// Adds tables to the configuration; takes effect with the next start.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure(&self, toml: &str) -> Result<()> {
        let mut file = std::fs::File::options().append(true).open(&self.config)?;
        Ok(file.write_all(format!("\n{toml}").as_bytes())?)
    }

    /// The address of webhook and API.
    pub fn url(&self) -> String {
        format!("http://{}", self.hook)
    }

    /// Where Alertmanager posts to.
    pub fn webhook(&self) -> String {
        format!("{}/webhook/alertmanager", self.url())
    }

    /// A command line with this installation's configuration.
    ///
    /// # Errors
    /// The binary is not built.
    pub fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("nightshift")?);
        command
            .arg("--config")
            .arg(&self.config)
            .args(args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder);
        Ok(command)
    }

    /// Starts a role (`["up"]`, `["agent", "all"]`) and waits until it is ready, if it can say so.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(&self, role: &[&str]) -> Result<Process> {
        let mut process = self.spawn(&role.join("-"), role, &[])?;
        if matches!(role, ["up" | "hook"]) {
            process
                .ready(&format!("{}/readyz", self.url()), READY_WITHIN)
                .await?;
        }
        Ok(process)
    }

    /// Starts a role under a name of its own, with further variables, and waits for nothing.
    ///
    /// # Errors
    /// The binary is not built.
    pub fn spawn(&self, name: &str, role: &[&str], more: &[(&str, &str)]) -> Result<Process> {
        let mut command = self.command(role)?;
        command.envs(more.iter().copied());
        Process::start(name, &self.folder, &mut command)
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn run(&self, args: &[&str]) -> Result<Output> {
        Ok(self.command(args)?.output().await?)
    }

    /// Posts a webhook body; the HTTP status, or none if nobody answered.
    pub async fn post(&self, body: &Value) -> Option<u16> {
        let request = self
            .http
            .post(self.webhook())
            .bearer_auth(&self.token)
            .json(body);
        request
            .send()
            .await
            .ok()
            .map(|answer| answer.status().as_u16())
    }

    /// What the hook tells of itself as metrics; none if it does not answer 2xx.
    pub async fn metrics(&self) -> Option<String> {
        let request = self
            .http
            .get(format!("{}/metrics", self.url()))
            .bearer_auth(&self.token);
        let answer = request.send().await.ok()?;
        let answer = answer.status().is_success().then_some(answer)?;
        answer.text().await.ok()
    }

    /// Asks the API; none if it does not answer 2xx.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let request = self
            .http
            .get(format!("{}{path}", self.url()))
            .bearer_auth(&self.token);
        let answer = request
            .send()
            .await
            .ok()
            .filter(|answer| answer.status().is_success())?;
        answer.json().await.ok()
    }

    /// The ids of all incidents; none if a page of them could not be read.
    pub async fn incidents(&self) -> Vec<String> {
        let (mut ids, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/incidents?limit=200{after}");
            let page = self.get(&path).await.unwrap_or_default();
            let Some(rows) = page.get("incidents").and_then(Value::as_array) else {
                return Vec::new();
            };
            let found = rows.iter().filter_map(|row| row.get("id")?.as_str());
            ids.extend(found.map(str::to_owned));
            match page.get("next").and_then(Value::as_str) {
                Some(next) => after = format!("&after={next}"),
                None => return ids,
            }
        }
    }

    /// One incident with its report.
    pub async fn incident(&self, id: &str) -> Option<Detail> {
        serde_json::from_value(self.get(&format!("/api/v1/incidents/{id}")).await?).ok()
    }
}
