//! The whole configuration: the rooms' sections put together.

pub(crate) mod files;
mod rules;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use incident::ApprovalKey;
use incident::ports::Entropy;
use runtime::config::{Problem, Secret, Section, Span, read_secret, write_private};
use runtime::entropy::nonce;
use runtime::git::Repository;
use runtime::telemetry::LogFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// File with the approval key, below the data folder.
const APPROVAL_KEY_FILE: &str = "approval.key";

/// The configuration of Nightshift. Every field has a default that works on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder for everything that must survive a restart: the embedded bus, mirrors of repositories,
    /// the approval key. What the embedded bus holds is the only copy.
    pub(crate) data_dir: PathBuf,
    /// How long running work may take to finish after the first signal to stop; what is left then is
    /// given back. Keep it below the pod's termination grace.
    pub(crate) grace: Span,
    /// Where `/metrics` and `/healthz` of a role without another port are served.
    pub(crate) metrics_listen: SocketAddr,
    /// Log lines on standard error.
    pub(crate) log: Log,
    /// How the command line reaches a running Nightshift.
    pub(crate) api: Api,
    /// Who signs approvals.
    pub(crate) approval: Approval,
    /// Where streams and state live.
    pub(crate) bus: bus::Config,
    /// The webhook receiver and the API.
    pub(crate) hook: hook::Config,
    /// Where Alertmanager itself can be asked.
    pub(crate) alertmanager: runtime::alertmanager::Config,
    /// The dispatcher.
    pub(crate) dispatcher: dispatcher::Config,
    /// How agents are served and called.
    pub(crate) a2a: a2a::Config,
    /// The agents themselves.
    pub(crate) agents: Agents,
    /// From investigation to report.
    pub(crate) pipelines: pipelines::Config,
    /// Repositories whose history is read and where drafts are opened.
    pub(crate) repositories: Vec<Repository>,
    /// What a draft may contain.
    pub(crate) forge: forge::Config,
    /// The Slack channel that hears of incidents.
    pub(crate) slack: notify::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from(".nightshift"),
            grace: Span::secs(25),
            metrics_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            log: Log::default(),
            api: Api::default(),
            approval: Approval::default(),
            bus: bus::Config::default(),
            hook: hook::Config::default(),
            alertmanager: runtime::alertmanager::Config::default(),
            dispatcher: dispatcher::Config::default(),
            a2a: a2a::Config::default(),
            agents: Agents::default(),
            pipelines: pipelines::Config::default(),
            repositories: Vec::new(),
            forge: forge::Config::default(),
            slack: notify::Config::default(),
        }
    }
}

/// Log lines on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// Which lines, such as `info` or `info,bus=debug`.
    pub(crate) filter: String,
    /// `text` for people, `json` for a collector.
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How the command line reaches a running Nightshift.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Api {
    /// Address of the hook, such as `http://nightshift:8080`. By default the address it listens on.
    pub(crate) url: Option<String>,
}

/// Who signs approvals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Approval {
    /// File with the key (at least 32 bytes of text) that signs approvals. Whoever can read it can
    /// approve. By default `approval.key` in the data folder, made at the first start.
    pub(crate) key_file: Option<PathBuf>,
}

/// The agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Agents {
    /// Where this process serves its agents. Anything but loopback needs `a2a.token_file`.
    pub(crate) listen: SocketAddr,
    /// Where other processes find the agents, if they do not run in this one; by default
    /// `a2a.public_url`.
    pub(crate) url: Option<String>,
    /// What belongs together.
    pub(crate) triage: agents::triage::Config,
    /// Which metrics are looked at.
    pub(crate) observability: agents::observability::Config,
    /// Which history is looked at.
    pub(crate) git: agents::git::Config,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8083)),
            url: None,
            triage: agents::triage::Config::default(),
            observability: agents::observability::Config::default(),
            git: agents::git::Config::default(),
        }
    }
}

impl Section for Config {
    fn check(&self, _path: &str, problems: &mut Vec<Problem>) {
        self.bus.check("bus", problems);
        self.hook.check("hook", problems);
        self.alertmanager.check("alertmanager", problems);
        self.dispatcher.check("dispatcher", problems);
        self.a2a.check("a2a", problems);
        self.agents.triage.check("agents.triage", problems);
        self.agents
            .observability
            .check("agents.observability", problems);
        self.agents.git.check("agents.git", problems);
        self.pipelines.check("pipelines", problems);
        self.forge.check("forge", problems);
        self.slack.check("slack", problems);
        runtime::git::check_all(&self.repositories, "repositories", problems);
        rules::check(self, problems);
    }
}

impl Config {
    /// The bus's section, its folder below the data folder unless it names one.
    pub(crate) fn bus(&self) -> bus::Config {
        let mut section = self.bus.clone();
        if section.data_dir == bus::Config::default().data_dir {
            section.data_dir = self.data_dir.join("bus");
        }
        section
    }

    /// Folder of the repositories' mirrors, which the git-agent and the forge share.
    pub(crate) fn repositories_dir(&self) -> PathBuf {
        self.data_dir.join("repositories")
    }

    /// The key that signs and verifies approvals; none if it was never made.
    pub(crate) fn approval_key(&self) -> Result<Option<ApprovalKey>> {
        let path = self.approval_key_file();
        if self.approval.key_file.is_none() && !path.exists() {
            return Ok(None);
        }
        let secret = read_secret(&path).context("the approval key cannot be read")?;
        Ok(Some(
            ApprovalKey::new(secret.expose()).with_context(|| path.display().to_string())?,
        ))
    }

    /// The key that signs and verifies approvals; made where none was named and none is there.
    pub(crate) fn approval_key_or_create(&self, entropy: &dyn Entropy) -> Result<ApprovalKey> {
        if self.approval.key_file.is_none() {
            std::fs::create_dir_all(&self.data_dir).with_context(|| {
                format!("the data folder {} cannot be made", self.data_dir.display())
            })?;
            write_private(&self.approval_key_file(), &nonce(entropy, 32))?;
        }
        self.approval_key()?
            .context("the approval key was removed while it was read")
    }

    /// Where the approval key stands.
    pub(crate) fn approval_key_file(&self) -> PathBuf {
        self.approval
            .key_file
            .clone()
            .unwrap_or_else(|| self.data_dir.join(APPROVAL_KEY_FILE))
    }

    /// The token that the command line shows to the API; none where it is open.
    pub(crate) fn api_token(&self) -> Result<Option<Secret>> {
        self.hook
            .auth
            .token_files
            .first()
            .map(|path| read(path))
            .transpose()
    }

    /// The token that agents ask for and callers show.
    pub(crate) fn agent_token(&self) -> Result<Option<Secret>> {
        self.a2a.token_file.as_deref().map(read).transpose()
    }
}

fn read(path: &Path) -> Result<Secret> {
    read_secret(path).map_err(anyhow::Error::from)
}
