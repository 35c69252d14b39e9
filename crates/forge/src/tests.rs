//! The forge against real repositories.

mod attempts;
mod crashes;
mod drafts;
mod reverts;

use std::path::Path;
use std::time::Duration;

use incident::approval::{Approval, ApprovalKey, ApprovalPolicy, Decision, Permit};
use incident::evidence::EvidenceId;
use incident::ids::IncidentId;
use incident::ports::{Cx, Forge as _, ForgeError};
use incident::proposal::{ChangeKind, ChangeRequest, Proposal};
use jiff::Timestamp;
use runtime::SystemClock;
use runtime::config::Span;
use runtime::git::testing::Workbench;
use runtime::git::{self, Repository};
use runtime::testing::TestClock;
use tempfile::TempDir;

use crate::{Bot, Config, Guard, PlainGit, install_guard};

const NOON: i64 = 1_780_000_000;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(NOON + minute * 60).unwrap()
}

/// A bare repository under guard, somebody who commits to it, and the forge.
struct World {
    dir: TempDir,
    bench: Workbench,
    forge: PlainGit,
}

fn cx() -> Cx {
    Cx::root(SystemClock::new(), Duration::from_mins(1), "0")
}

fn account() -> String {
    let output = std::process::Command::new("id")
        .arg("-un")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn guard() -> Guard {
    Guard {
        base: "main".to_owned(),
        bot: Bot::Named(account()),
    }
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let bench = Workbench::new(dir.path()).unwrap();
        install_guard(&bench.bare, &guard()).unwrap();
        let forge = Self::forge_at(&bench, &dir.path().join("data"));
        Self { dir, bench, forge }
    }

    fn forge_at(bench: &Workbench, data: &Path) -> PlainGit {
        let repository = Repository::new("shop", bench.bare.to_string_lossy());
        let config = Config {
            git: git::Config {
                fresh_for: Span::secs(0),
                ..git::Config::default()
            },
            ..Config::default()
        };
        PlainGit::new(vec![repository], data, TestClock::at(at(60)), config)
    }

    /// A history with one bad change, `pool.toml`; returns the bad commit.
    fn bad_change(&self) -> String {
        let pool = |max: &str| {
            format!("# pool\n[pool]\nmin = 1\nmax = {max}\nidle = 10\n\n[log]\nlevel = 1\n")
        };
        self.commit(
            0,
            "Begin",
            &[
                ("cart/pool.toml", Some(&pool("50"))),
                ("README", Some("shop\n")),
            ],
        );
        let bad = self.commit(
            5,
            "Lower pool size",
            &[("cart/pool.toml", Some(&pool("5")))],
        );
        self.commit(6, "Say more", &[("README", Some("the shop\n"))]);
        bad
    }

    fn commit(&self, minute: i64, subject: &str, files: &[(&str, Option<&str>)]) -> String {
        self.bench
            .commit("Ada", at(minute), subject, files)
            .unwrap()
    }

    async fn proposal(&self, commit: &str) -> Proposal {
        proposal(&self.forge, "inc-0123456789ab", commit)
            .await
            .unwrap()
    }

    async fn refuses(&self, commit: &str) -> String {
        proposal(&self.forge, "inc-0123456789ab", commit)
            .await
            .unwrap_err()
            .to_string()
    }

    fn branches(&self) -> String {
        let refs = self
            .bench
            .git_bare(&["for-each-ref", "--format=%(refname)"])
            .unwrap();
        refs.replace("refs/heads/", "")
    }
}

fn request(incident: &str, commit: &str) -> ChangeRequest {
    ChangeRequest {
        incident: IncidentId::parse(incident).unwrap(),
        kind: ChangeKind::Revert,
        repository: "shop".to_owned(),
        commit: commit.to_owned(),
    }
}

async fn proposal(forge: &PlainGit, incident: &str, commit: &str) -> Result<Proposal, ForgeError> {
    let request = request(incident, commit);
    let preview = forge.preview(&request, &cx()).await?;
    Ok(Proposal {
        request,
        preview,
        title: "Revert the pool size of cart".to_owned(),
        body: "…".to_owned(),
        evidence: vec![EvidenceId(1), EvidenceId(4)],
        risk: "none".to_owned(),
        undo: "revert the revert".to_owned(),
    })
}

/// Leave by a token of `person`.
fn permit(proposal: &Proposal, person: &str) -> Permit {
    let key = ApprovalKey::new([7; 32]).unwrap();
    let token = key.sign(Approval {
        incident: proposal.request.incident.clone(),
        decision: Decision::Approve,
        proposal: proposal.digest(),
        person: person.to_owned(),
        nonce: "n".to_owned(),
        expires_at: at(100),
    });
    Permit::from_token(&key, &token, proposal).unwrap()
}

fn by_policy(proposal: &Proposal) -> Permit {
    Permit::from_policy(&ApprovalPolicy { needed_for: vec![] }, proposal).unwrap()
}
