//! The main job, end to end: a real service, Prometheus and Alertmanager, and Nightshift as processes.
//!
//! A commit breaks the service under load; the report names the commit; after approval the draft is in
//! the bare repository; merging it by hand heals the service, the alert resolves, the incident closes.
//! On the other night there is only a surge: no commit is named and no draft is opened.

use std::time::Duration;

use incident::report::ChangeOutcome;
use incident::{DraftPr, Fact, IncidentStatus, Report, Verdict};
use tests::nightshift::{Install, program};
use tests::process::Process;
use tests::redis::RedisServer;
use tests::repository::CLEO;
use tests::slack::{Fault, SlackApi};
use tests::wait::until;
use tests::world::{Plan, SURGE_RATE, USUAL_RATE, World};

/// From the broken service to the fired alert.
const FIRING_WITHIN: Duration = Duration::from_mins(1);
/// From the fired alert to what Nightshift makes of it.
const REPORT_WITHIN: Duration = Duration::from_mins(1);
/// From the healed service to the closed incident: Alertmanager's group interval lies in between.
const CLOSED_WITHIN: Duration = Duration::from_secs(90);

/// A world and the Nightshift that watches over it.
struct Night {
    install: Install,
    world: World,
    slack: SlackApi,
    roles: Vec<Process>,
    _folder: tempfile::TempDir,
    _redis: Option<RedisServer>,
}

impl Night {
    /// Everything in one process on the embedded bus.
    async fn embedded() -> Self {
        Self::start(None, &[&["up"]]).await
    }

    /// Each role a process of its own, on a real Redis.
    async fn redis() -> Self {
        let redis = RedisServer::start().await.expect("redis-server starts");
        Self::start(
            Some(redis),
            &[&["hook"], &["agent", "all"], &["dispatcher"]],
        )
        .await
    }

    async fn start(redis: Option<RedisServer>, roles: &[&[&str]]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let install = Install::new(folder.path(), "").expect("an installation");
        let plan = Plan {
            service: program("demo-service").expect("the demo service is built"),
            webhook_url: install.webhook(),
            token: install.token.clone(),
        };
        let world = World::start(&plan).await.expect("a world");
        if let Some(redis) = &redis {
            let bus = format!("[bus]\nkind = \"redis\"\nurl = \"{}\"\n", redis.url());
            install.configure(&bus).expect("a configuration");
        }
        let rest = format!(
            "[agents.observability]\nprometheus_url = \"{}\"\n\n[[repositories]]\nname = \"shop\"\nremote = \"{}\"\n\
             paths = [{{ prefix = \"services/checkout/\", services = [\"checkout\"] }}, {{ prefix = \"services/payments/\", services = [\"payments\"] }}]\n",
            world.prometheus.url,
            world.repository.remote.display(),
        );
        install.configure(&rest).expect("a configuration");
        let slack = SlackApi::start().await.expect("a fake Slack");
        let section = slack.section(folder.path(), "1ms").expect("a token");
        install.configure(&section).expect("a configuration");
        let mut running = Vec::new();
        for role in roles {
            running.push(install.start(role).await.expect("a role starts"));
        }
        Self {
            install,
            world,
            slack,
            roles: running,
            _folder: folder,
            _redis: redis,
        }
    }

    /// The newest report of the one incident, once it is as wanted.
    async fn report(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Report) -> bool,
    ) -> Report {
        let found = until(what, within, async || {
            let ids = self.install.incidents().await;
            assert!(ids.len() <= 1, "one cause, one incident: {ids:?}");
            let report = self.install.incident(ids.first()?).await?.report?;
            wanted(&report).then_some(report)
        })
        .await;
        found.unwrap_or_else(|error| {
            panic!(
                "{error}\n{}",
                self.roles
                    .iter()
                    .map(Process::log_tail)
                    .collect::<Vec<_>>()
                    .join("\n")
            )
        })
    }

    /// What a person sees who asks the command line.
    async fn says(&self, args: &[&str]) -> String {
        let output = self.install.run(args).await.expect("the command runs");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{args:?}: {out}{err}");
        out.into_owned()
    }

    /// A commit is guilty.
    async fn bad_change(mut self, dies: bool) {
        let guilty = self.world.break_with_commit().await.expect("a commit");
        self.fires().await;
        if dies {
            self.dies_in_its_first_post().await;
        }
        let report = self.first_report().await;
        let culprit = report
            .diagnosis
            .culprit()
            .expect("the report names a commit");
        assert_eq!(culprit.1, guilty);
        the_others_stand_behind(&report, &guilty);
        let branches = self.branches().await;
        assert_eq!(branches, ["main"], "nothing is pushed without approval");

        let draft = self.approve(&report).await;
        let merged = self.world.repository.merge(&draft.branch, CLEO).await;
        merged.expect("a person merges the draft");
        let deployed = self.world.repository.pull().await;
        deployed.expect("the merge is deployed");
        self.closes().await;
        self.told_once().await;
        self.end().await;
    }

    /// kill -9 after Slack took the first message and before it answered.
    async fn dies_in_its_first_post(&mut self) {
        until("the first message", REPORT_WITHIN, async || {
            (self.slack.messages().len() == 1).then_some(())
        })
        .await
        .expect("somebody is told");
        let up = self.roles.first_mut().expect("one process");
        up.kill_9().await.expect("it dies of SIGKILL");
        let again = self.install.start(&["up"]).await;
        *up = again.expect("it starts again");
    }

    /// People have one message, which says how it ended.
    async fn told_once(&self) {
        let told = until("the last word", REPORT_WITHIN, async || {
            let messages = self.slack.messages();
            let closed = |message: &tests::slack::Message| message.label() == Some("closed");
            messages.iter().any(closed).then_some(messages)
        })
        .await
        .expect("people are told of the end");
        let posts = self.slack.posts_by_key();
        assert_eq!(told.len(), 1, "one message for one incident: {posts:?}");
        assert!(told[0].edits >= 1, "it was edited in place");
        assert!(!told[0].says_repeat());
        assert!(posts.values().all(|posts| *posts == 1), "{posts:?}");
    }

    /// Approves on the command line, and not twice.
    async fn approve(&self, report: &Report) -> DraftPr {
        let ChangeOutcome::AwaitingApproval { proposal } = &report.change else {
            panic!("{:?}", report.change)
        };
        let id = report.incident.as_str();
        self.says(&["approve", id, "--yes", "--as", "cleo"]).await;
        let is_open = |report: &Report| matches!(report.change, ChangeOutcome::Opened { .. });
        let opened = self.report("the draft", REPORT_WITHIN, is_open).await;
        let ChangeOutcome::Opened { draft, .. } = opened.change else {
            unreachable!("waited for")
        };
        assert_eq!(draft.branch, proposal.request.branch());
        assert_eq!(draft.approved_by.as_deref(), Some("cleo"));
        let branches = self.branches().await;
        assert!(branches.contains(&draft.branch), "{branches:?}");
        assert_eq!(branches.len(), 2, "{branches:?}");
        let again = self.install.run(&["approve", id, "--yes"]).await;
        let again = again.expect("it runs").status;
        assert!(!again.success(), "an approval is good for once");
        draft
    }

    async fn fires(&self) {
        let fires = self.world.wait_until_firing(FIRING_WITHIN).await;
        fires.expect("the alert fires");
    }

    async fn closes(&self) {
        let resolved = self.world.wait_until_resolved(FIRING_WITHIN).await;
        resolved.expect("the service heals");
        let is_closed = |report: &Report| report.status == IncidentStatus::Resolved;
        self.report("the closed incident", CLOSED_WITHIN, is_closed)
            .await;
    }

    async fn branches(&self) -> Vec<String> {
        self.world.repository.branches().await.expect("branches")
    }

    /// The report as soon as there is one, shown as a person sees it.
    async fn first_report(&self) -> Report {
        let report = self.report("a report", REPORT_WITHIN, |_| true).await;
        let shown = self
            .says(&["incidents", "show", report.incident.as_str()])
            .await;
        println!("{shown}");
        report
    }

    /// No commit is guilty.
    async fn surge(mut self) {
        self.world.load.set_rate(SURGE_RATE);
        self.fires().await;
        let report = self.first_report().await;
        assert_eq!(report.diagnosis.culprit(), None, "no commit is named");
        assert_ne!(report.diagnosis.verdict, Verdict::NoFault);
        assert!(
            matches!(report.change, ChangeOutcome::None { .. }),
            "{:?}",
            report.change
        );
        self.world.load.set_rate(USUAL_RATE);
        self.closes().await;
        self.told_once().await;
        assert_eq!(self.branches().await, ["main"], "no draft was opened");
        self.end().await;
    }

    /// Every role leaves in order when it is asked to.
    async fn end(&mut self) {
        for role in &mut self.roles {
            let status = role
                .terminate(Duration::from_secs(40))
                .await
                .expect("it ends");
            assert!(status.success(), "{status}\n{}", role.log_tail());
        }
    }
}

/// Every other commit that was looked at is ruled out or ranked below the guilty one.
fn the_others_stand_behind(report: &Report, guilty: &str) {
    let diagnosis = &report.diagnosis;
    let lower = diagnosis
        .hypotheses
        .iter()
        .skip(1)
        .map(|lower| &lower.entity);
    let set_aside: Vec<&String> = lower
        .chain(diagnosis.ruled_out.iter().map(|out| &out.entity))
        .collect();
    let mut others = 0;
    for evidence in &report.evidence {
        if let Fact::Change(change) = &evidence.observation.fact
            && change.commit != guilty
        {
            others += 1;
            let short = change.short();
            assert!(
                set_aside.iter().any(|entity| entity.contains(short)),
                "{short} is not among {set_aside:?}"
            );
        }
    }
    assert!(others >= 3, "the window has innocent commits: {others}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_change_on_the_embedded_bus() {
    let night = Night::embedded().await;
    night.slack.fail_next("chat.postMessage", Fault::NoAnswer);
    night.bad_change(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_change_on_redis() {
    Night::redis().await.bad_change(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surge_on_the_embedded_bus() {
    Night::embedded().await.surge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surge_on_redis() {
    Night::redis().await.surge().await;
}
