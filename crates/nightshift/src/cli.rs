//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::sim::SimArgs;

/// Takes the night shift: Alertmanager's webhook goes in, a short cited report and a draft pull
/// request come out.
#[derive(Debug, Parser)]
#[command(name = "nightshift", version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
pub(crate) struct SettingsArgs {
    /// Configuration file (TOML). Without one, nightshift.toml in this folder if it is there, else
    /// the defaults. NIGHTSHIFT__SECTION__FIELD variables lie on top.
    #[arg(
        long,
        short,
        global = true,
        env = "NIGHTSHIFT_CONFIG",
        value_name = "FILE"
    )]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process on the embedded bus
    Up,
    /// Run the webhook receiver and the API
    Hook,
    /// Run a dispatcher: claims events and work, calls the agents
    Dispatcher,
    /// Run one agent, or all of them, behind A2A
    Agent {
        /// triage-agent, incident-orchestrator, observability-agent, git-agent or all
        name: String,
    },
    /// List, show or watch incidents
    Incidents {
        #[command(subcommand)]
        action: IncidentsAction,
    },
    /// Say what triage decided for an alert, by which rule and on what state
    Explain {
        /// The alert's fingerprint: 16 hex digits, as Alertmanager shows it
        fingerprint: String,
    },
    /// Approve the proposed change of an incident: its draft pull request is opened
    Approve(DecisionArgs),
    /// Reject the proposed change of an incident
    Reject(DecisionArgs),
    /// Look at what was given up, and try it again or throw it away
    Dlq {
        #[command(subcommand)]
        action: DlqAction,
    },
    /// Run the main job on a small made-up world, with nothing installed
    Drill(DrillArgs),
    /// Live through simulated nights in which everything fails
    #[command(hide = true)]
    Sim(SimArgs),
    /// Check what this installation stands on: bus, Prometheus, repositories, channels, permissions
    Doctor,
    /// Check, print or describe the configuration
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentsAction {
    /// List incidents, newest first
    List {
        /// Only these
        #[arg(long, value_enum)]
        status: Option<StatusFilter>,
        /// At most this many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the report of one incident
    Show {
        /// The incident, such as inc-0123456789ab
        incident: String,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Format::Terminal)]
        format: Format,
    },
    /// Print incidents as they change, until interrupted
    Watch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFilter {
    Open,
    Resolved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Terminal,
    Markdown,
    Json,
    Html,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DecisionArgs {
    /// The incident, such as inc-0123456789ab
    pub(crate) incident: String,
    /// Who decides; the login name by default
    #[arg(
        long = "as",
        value_name = "PERSON",
        env = "USER",
        default_value = "operator"
    )]
    pub(crate) person: String,
    /// Do not ask back
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqAction {
    /// List dead letters with the reason, oldest first
    List {
        #[command(flatten)]
        filter: DlqFilter,
        /// At most this many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter with its payload
    Show {
        /// Its name, such as critical/17
        letter: String,
        /// Print JSON, with the whole payload
        #[arg(long)]
        json: bool,
    },
    /// Try dead letters again: each becomes a new entry at the end of its stream
    Redrive(DlqOrderArgs),
    /// Throw dead letters away for good
    Drop(DlqOrderArgs),
}

/// Which dead letters.
#[derive(Debug, Clone, Args)]
pub(crate) struct DlqFilter {
    /// Only of this stream
    #[arg(long, value_enum)]
    pub(crate) stream: Option<DlqStream>,
    /// Only given up with this code, such as E-AGENT-002
    #[arg(long)]
    pub(crate) code: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DlqStream {
    Events,
    Critical,
    Warning,
    Info,
}

impl DlqStream {
    /// What the API calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DlqOrderArgs {
    /// Their names, such as critical/17
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) letters: Vec<String>,
    /// All that match --stream and --code
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filter: DlqFilter,
    /// Who orders it; the login name by default
    #[arg(
        long = "as",
        value_name = "PERSON",
        env = "USER",
        default_value = "operator"
    )]
    pub(crate) person: String,
    /// Do not ask back before dropping
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DrillArgs {
    /// What happened in the made-up world
    #[arg(long, value_enum, default_value_t = Story::BadChange)]
    pub(crate) story: Story,
    /// Keep the world (repository, data, HTML report) in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Print the measured times as JSON after the report
    #[arg(long)]
    pub(crate) times: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Story {
    /// A commit lowers a connection pool and the service starts to fail
    BadChange,
    /// Three times the usual traffic arrives; no commit is guilty
    Surge,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Report every problem of the configuration, with its place and what to do
    Check,
    /// Print the effective configuration
    Dump,
    /// Print the JSON schema of the configuration
    Schema,
}
