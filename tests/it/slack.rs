//! The Slack bot against a Web API that keeps messages and fails on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use incident::incident::{Incident, IncidentStatus, Member, Subject};
use incident::ports::{
    Clock as _, Cx, Notice, NoticeKind, Notifier, NotifyError, Receipt, Search, Sight,
};
use incident::{AlertStatus, Classify as _, Fingerprint, IncidentId, Severity};
use jiff::{SignedDuration, Timestamp};
use notify::{Bot, Config, Finding};
use runtime::SystemClock;
use runtime::config::Span;
use serde_json::json;
use tests::slack::{CHANNEL, Fault, SlackApi};
use tests::wait::until;

/// A bot and its Slack.
struct World {
    api: SlackApi,
    config: Config,
    bot: Bot,
    began: Timestamp,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let api = SlackApi::start().await.expect("a fake Slack");
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config {
            token_file: Some(api.token_file(folder.path()).expect("a file")),
            channel: Some(CHANNEL.to_owned()),
            api_url: api.url(),
            timeout: Span::millis(500),
            post_gap: Span::millis(1),
            clock_margin: Span::millis(0),
            ..Config::default()
        };
        change(&mut config);
        Self {
            bot: bot(&config),
            began: SystemClock::new().now(),
            api,
            config,
            folder,
        }
    }

    async fn post(&self, revision: u32) -> Result<Receipt, NotifyError> {
        self.bot.post(&notice(revision), &cx(10)).await
    }

    async fn find(&self, revisions: &[u32]) -> Sight {
        self.find_since(revisions, self.began).await
    }

    async fn find_since(&self, revisions: &[u32], since: Timestamp) -> Sight {
        let keys = revisions.iter().map(|revision| notice(*revision).key());
        let search = Search {
            keys: keys.collect(),
            since,
        };
        self.bot.find(&search, &cx(10)).await.expect("it looks")
    }

    /// How often each message was posted.
    fn posts(&self) -> Vec<u32> {
        self.api.posts_by_key().into_values().collect()
    }
}

fn bot(config: &Config) -> Bot {
    let http = runtime::http::client(Duration::from_secs(2)).expect("a client");
    Bot::new(config.clone(), http)
}

fn cx(secs: u64) -> Cx {
    Cx::root(
        SystemClock::new(),
        Duration::from_secs(secs),
        "0".repeat(32),
    )
}

fn notice(revision: u32) -> Notice {
    let at: Timestamp = "2026-05-28T20:26:00Z".parse().expect("a time");
    let member = Member {
        status: AlertStatus::Firing,
        alert: "CartErrors <!here>".into(),
        severity: Severity::Warning,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        generator_url: "".into(),
        starts_at: at,
        ends_at: None,
    };
    let incident = Incident {
        id: IncidentId::parse("inc-0123456789ab").expect("an id"),
        correlation: "c".to_owned(),
        subject: Subject {
            kind: "service".to_owned(),
            name: "cart".into(),
            namespace: None,
            cluster: None,
        },
        severity: Severity::Warning,
        status: IncidentStatus::Open,
        members: BTreeMap::from([(Fingerprint::from_stored("0123456789abcdef"), member)]),
        members_left_out: 0,
        groups: BTreeSet::new(),
        truncated: 0,
        started_at: at,
        opened_at: at,
        resolved_at: None,
        generation: 0,
    };
    Notice {
        kind: NoticeKind::Opened(incident),
        revision,
        maybe_repeat: false,
    }
}

#[tokio::test]
async fn one_message_is_posted_found_and_edited_in_place() {
    let world = World::new().await;
    assert_eq!(world.find(&[1]).await, Sight::Absent);
    let receipt = world.post(1).await.expect("it is posted");
    let found = |revision: u32| Sight::Found {
        receipt: receipt.clone(),
        key: notice(revision).key(),
    };
    assert_eq!(world.find(&[1]).await, found(1));
    assert_eq!(world.find(&[7, 1]).await, found(1), "any of the keys");
    let again = world.bot.update(&receipt, &notice(2), &cx(10)).await;
    assert_eq!(again, Ok(receipt.clone()));
    assert_eq!(
        world.find(&[1]).await,
        Sight::Absent,
        "it carries the newest key"
    );
    assert_eq!(world.find(&[2, 1]).await, found(2));
    let messages = world.api.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(
        (messages[0].edits, messages[0].label()),
        (1, Some("opened"))
    );
    assert!(
        messages[0].text().contains("&lt;!here&gt;"),
        "{}",
        messages[0].text()
    );
    assert_eq!(world.posts(), [1]);
}

/// The answer is lost after the message was taken: it counts as unknown, and it is there.
#[tokio::test]
async fn what_got_through_without_an_answer_is_found() {
    for fault in [Fault::AnswerLost, Fault::NoAnswer] {
        let world = World::new().await;
        world.api.fail_next("chat.postMessage", fault.clone());
        let error = world.post(1).await.expect_err("no answer came");
        assert!(matches!(error, NotifyError::Unreachable { .. }), "{error}");
        let sight = world.find(&[1]).await;
        assert!(matches!(sight, Sight::Found { .. }), "{fault:?}: {sight:?}");
        assert_eq!(world.posts(), [1], "{fault:?}");
    }
}

/// Slack takes its time, and longer than anybody waits.
#[tokio::test]
async fn a_message_that_comes_late_is_found_once_it_is_there() {
    let world = World::new().await;
    let slow = Fault::Slow(Duration::from_millis(900));
    world.api.fail_next("chat.postMessage", slow);
    world.post(1).await.expect_err("nobody waits that long");
    assert_eq!(world.find(&[1]).await, Sight::Absent, "not yet");
    until("the late message", Duration::from_secs(5), async || {
        matches!(world.find(&[1]).await, Sight::Found { .. }).then_some(())
    })
    .await
    .expect("it comes");
    assert_eq!(world.posts(), [1]);
}

#[tokio::test]
async fn patience_that_slack_asks_for_is_had_within_the_deadline() {
    let world = World::new().await;
    let clock = SystemClock::new();
    world
        .api
        .fail_next("chat.postMessage", Fault::Limited { retry_after_s: 1 });
    world.post(1).await.expect("after a second");
    assert!(clock.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        (world.posts(), world.api.count("chat.postMessage")),
        (vec![1], 2)
    );

    let world = World::new().await;
    let limited = Fault::Limited { retry_after_s: 100 };
    world.api.faults(move |_| Some(limited.clone()));
    let clock = SystemClock::new();
    let error = world
        .bot
        .post(&notice(1), &cx(5))
        .await
        .expect_err("no time");
    assert!(
        clock.elapsed() < Duration::from_secs(4),
        "it says so at once"
    );
    assert!(
        matches!(
            error,
            NotifyError::Limited {
                retry_after_s: Some(100),
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(world.api.count("chat.postMessage"), 1);
    world.api.works();
    let error = world.bot.post(&notice(1), &cx(1)).await;
    assert!(
        error.is_err(),
        "the wait holds for the next message as well"
    );
    assert_eq!(world.api.count("chat.postMessage"), 1);
}

/// Slack takes one message in a while; whoever keeps the distance is never refused.
#[tokio::test]
async fn messages_keep_their_distance() {
    let world = World::with(|config| config.post_gap = Span::millis(300)).await;
    world.api.limit(Some(Duration::from_millis(200)));
    let (a, b, c) = tokio::join!(world.post(1), world.post(2), world.post(3));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(world.api.count("chat.postMessage"), 3, "none was refused");
}

#[tokio::test]
async fn faults_are_told_apart_and_the_token_stays_secret() {
    let mut world = World::new().await;
    let mut told = String::new();
    let faults = [
        Fault::Limited { retry_after_s: 60 },
        Fault::Status(502),
        Fault::AnswerLost,
        Fault::NoAnswer,
        Fault::Says("internal_error"),
        Fault::Says("fatal_error"),
        Fault::Says("ratelimited"),
        Fault::Says("token_revoked"),
        Fault::Says("missing_scope"),
        Fault::Says("not_in_channel"),
        Fault::Says("is_archived"),
        Fault::Says("msg_blocks_too_long"),
    ];
    for fault in faults {
        world.bot = bot(&world.config);
        world.api.fail_next("chat.postMessage", fault.clone());
        let error = world.post(1).await.expect_err("a fault");
        writeln!(told, "{fault:?} | {:?} | {error}", error.kind()).expect("a text");
    }
    let token = world.folder.path().join("slack-token");
    for text in ["", "xoxb not a token", "xoxb-wrong"] {
        std::fs::write(&token, text).expect("a file");
        let error = world.post(1).await.expect_err("no token").to_string();
        writeln!(told, "token {text:?} | {error}").expect("a text");
    }
    world.config.api_url = "http://127.0.0.1:1/api".to_owned();
    let error = bot(&world.config).post(&notice(1), &cx(5)).await;
    let error = error.expect_err("nobody is there");
    writeln!(told, "nobody there | {error:?}").expect("a text");
    let folder = world.folder.path().display().to_string();
    insta::assert_snapshot!(told.replace(&folder, "FOLDER"), @r#"
    Limited { retry_after_s: 60 } | Overloaded { retry_after: Some(60s) } | slack asks to wait
    Status(502) | Transient | slack cannot be reached: it answered 502 "<html>upstream</html>"
    AnswerLost | Transient | slack cannot be reached: no answer
    NoAnswer | Transient | slack cannot be reached: no answer
    Says("internal_error") | Transient | slack cannot be reached: it said "internal_error"
    Says("fatal_error") | Transient | slack cannot be reached: it said "fatal_error"
    Says("ratelimited") | Overloaded { retry_after: None } | slack asks to wait
    Says("token_revoked") | Permanent | slack refused the message: it said "token_revoked"; put a valid bot token into slack.token_file
    Says("missing_scope") | Permanent | slack refused the message: it said "missing_scope"; add the scope to the app and install it anew
    Says("not_in_channel") | Permanent | slack refused the message: it said "not_in_channel"; invite the bot to slack.channel
    Says("is_archived") | Permanent | slack refused the message: it said "is_archived"; name a channel that is in use under slack.channel
    Says("msg_blocks_too_long") | Permanent | slack refused the message: it said "msg_blocks_too_long"
    token "" | slack refused the message: FOLDER/slack-token: the file is empty; write the secret into it
    token "xoxb not a token" | slack refused the message: the file under slack.token_file holds more than a token
    token "xoxb-wrong" | slack refused the message: it said "invalid_auth"; put a valid bot token into slack.token_file
    nobody there | Away { notifier: "slack", why: "no connection" }
    "#);
}

#[tokio::test]
async fn history_is_read_page_by_page_to_its_bounds() {
    let world = World::with(|config| {
        config.history_page = 100;
        config.history_pages_max = 3;
    })
    .await;
    let pages = || world.api.count("conversations.history");
    world.post(1).await.expect("it is posted");
    for n in 0..250 {
        world.api.chatter(&format!("talk {n}"), &json!(null));
    }
    assert!(matches!(world.find(&[1]).await, Sight::Found { .. }));
    assert_eq!(pages(), 3, "250 others stand above it");
    for n in 0..100 {
        world.api.chatter(&format!("more talk {n}"), &json!(null));
    }
    assert_eq!(
        world.find(&[1]).await,
        Sight::Unknown,
        "not all was looked at"
    );
    assert_eq!(pages(), 6);
    let later = SystemClock::new().now() + SignedDuration::from_secs(1);
    assert_eq!(world.find_since(&[1], later).await, Sight::Absent);
    assert_eq!(pages(), 7, "nothing is as new as that");
}

/// Others can write our key into the metadata of their messages: that must not silence us.
#[tokio::test]
async fn a_message_of_somebody_else_is_not_ours() {
    let world = World::new().await;
    let forged = json!({
        "event_type": "nightshift_notice",
        "event_payload": { "key": notice(1).key().as_str() },
    });
    world.api.chatter("all is well", &forged);
    assert_eq!(world.find(&[1]).await, Sight::Absent);
    world.post(1).await.expect("it is posted");
    assert!(matches!(world.find(&[1]).await, Sight::Found { .. }));
}

#[tokio::test]
async fn where_looking_is_not_allowed_nobody_knows() {
    let world = World::new().await;
    world.api.scopes(&["chat:write"]);
    assert_eq!(world.find(&[1]).await, Sight::Unknown);
    world.post(1).await.expect("posting is allowed");
    world.api.scopes(&["chat:write", "channels:history"]);
    world.api.faults(|_| Some(Fault::Status(503)));
    let search = Search {
        keys: vec![notice(1).key()],
        since: world.began,
    };
    let error = world
        .bot
        .find(&search, &cx(5))
        .await
        .expect_err("an outage");
    assert!(error.kind().is_retryable(), "an outage passes: {error}");
}

/// Somebody removed the message, or it once came through a webhook: people are told all the same.
#[tokio::test]
async fn a_message_that_is_gone_is_posted_anew() {
    let world = World::new().await;
    let receipt = world.post(1).await.expect("it is posted");
    world.api.remove(&world.api.messages()[0].ts);
    let anew = world.bot.update(&receipt, &notice(2), &cx(10)).await;
    assert_ne!(anew.expect("it is posted anew"), receipt);
    assert_eq!(world.api.messages().len(), 1);
    let nameless = Receipt {
        notifier: "slack".to_owned(),
        reference: String::new(),
    };
    let posted = world.bot.update(&nameless, &notice(3), &cx(10)).await;
    assert!(posted.expect("it is posted").reference.starts_with(CHANNEL));
    assert_eq!(world.api.messages().len(), 2);
}

#[tokio::test]
async fn the_doctor_says_what_is_missing_and_posts_nothing() {
    let world = World::new().await;
    let examine = async || bot(&world.config).examine(&cx(5)).await;
    let mut told = vec![examine().await];
    world.api.scopes(&["chat:write"]);
    told.push(examine().await);
    world.api.scopes(&["channels:history"]);
    told.push(examine().await);
    world.api.scopes(&["chat:write", "channels:history"]);
    world.api.member(false);
    told.push(examine().await);
    world.api.member(true);
    world.api.faults(|_| Some(Fault::Status(503)));
    told.push(examine().await);
    world.api.works();
    std::fs::write(world.folder.path().join("slack-token"), "xoxb-old").expect("a file");
    told.push(examine().await);
    assert!(matches!(told[0], Finding::Good(_)));
    let told: Vec<String> = told.iter().map(|finding| format!("{finding:?}")).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    Good("nightshift at Night, channel C0NIGHT0001; nothing was posted")
    Lame("nightshift at Night, channel C0NIGHT0001; the token lacks the scope channels:history or groups:history, so after a crash a message may come twice")
    Bad("the token lacks the scope chat:write; add it to the app and install it anew")
    Bad("nightshift at Night, channel C0NIGHT0001: it said \"not_in_channel\"; invite the bot to slack.channel")
    Bad("Slack does not let us in: it answered 503 \"<html>upstream</html>\"")
    Bad("Slack does not let us in: it said \"invalid_auth\"; put a valid bot token into slack.token_file")
    "#);
    assert_eq!(world.posts(), [] as [u32; 0]);
}
