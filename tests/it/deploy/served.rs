//! What the manifests ask for against what runs: a hook on real servers answers at the place that is
//! named, and the native triggers count the same entries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Kind};
use incident::ports::{Cause, Clock, Delivery, Entry, Stream};
use incident::{Severity, keys};
use runtime::{Shutdown, Supervisor, SystemClock};
use serde_json::Value;
use tests::nats::NatsServer;
use tests::nightshift::Install;
use tests::process::Process;
use tests::redis::RedisServer;
use tests::redis::cluster::Cluster;
use tests::redis::sentinel::{MASTER, Sentinels};
use tests::wait::until;

use super::files::{list, word};
use super::keda::{measured, scaled_object, triggers};

const SOON: Duration = Duration::from_secs(20);
/// The page that KEDA's scaler reads.
const JSZ: &str = "/jsz?acc=$G&consumers=true&config=true";

/// What KEDA would read of every stream: lag and pending together.
type Native<'a> = &'a dyn Fn() -> BTreeMap<String, u64>;

/// A hook on a bus, and the same bus as a dispatcher sees it.
struct Night {
    install: Install,
    hook: Process,
    streams: Vec<Arc<dyn Stream>>,
    bus: Bus,
    supervisor: Supervisor,
    _folder: tempfile::TempDir,
}

impl Night {
    async fn begin(toml: &str, config: bus::Config) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let install = Install::new(folder.path(), toml).expect("an installation");
        let hook = install.start(&["hook"]).await.expect("it starts");
        let clock: Arc<dyn Clock> = SystemClock::new();
        let supervisor = Supervisor::new(Shutdown::new(), clock.clone());
        let bus = Bus::open(&config, clock, &supervisor).await.expect("a bus");
        let mut streams = Vec::new();
        for name in Severity::ALL
            .map(keys::work)
            .into_iter()
            .chain([keys::EVENTS.to_owned()])
        {
            streams.push(bus.stream(&name, "a-dispatcher").await.expect("a stream"));
        }
        Self {
            install,
            hook,
            streams,
            bus,
            supervisor,
            _folder: folder,
        }
    }

    async fn backlog(&self) -> Value {
        let path = word(&triggers("deploy/keda").0["metadata"]["url"]);
        let path = path
            .split_once(":8080")
            .expect("the hook's port")
            .1
            .to_owned();
        self.install.get(&path).await.expect("the hook answers")
    }

    /// Every entry is counted once and by everybody alike.
    async fn check(&self, what: &str, native: Native<'_>, expect: u64) {
        let answer = self.backlog().await;
        assert_eq!(answer["total"], expect, "{what}: {answer}");
        let mut found = native();
        assert_eq!(found.values().sum::<u64>(), expect, "{what}: {found:?}");
        for line in answer["streams"].as_object().expect("streams").values() {
            let stream = word(&line["stream"]);
            let counted = found.remove(&stream);
            assert_eq!(counted, line["total"].as_u64(), "{what}: {stream}");
        }
        assert!(found.is_empty(), "{what}: nobody serves {found:?}");
        let place = word(&triggers("deploy/keda").0["metadata"]["valueLocation"]);
        let want = answer[&place].as_u64().expect("a number at that place");
        assert_eq!(want > 0, expect > 0, "{what}: {answer}");
    }

    /// Every way an entry can go, and what is counted meanwhile.
    async fn entries_come_and_go(&self, native: Native<'_>) {
        self.check("nothing", native, 0).await;
        for stream in &self.streams {
            let entries = (0..5).map(|n| Entry {
                key: format!("{}-{n}", stream.name()),
                payload: b"{}".to_vec(),
            });
            stream.append(entries.collect()).await.expect("it is up");
        }
        self.check("all wait", native, 20).await;
        let mut claimed: Vec<Vec<Delivery>> = Vec::new();
        for stream in &self.streams {
            let taken = stream.claim(3, SOON).await.expect("it is up");
            assert_eq!(taken.len(), 3);
            claimed.push(taken);
        }
        self.check("some are claimed", native, 20).await;
        let cause = Cause {
            code: String::from("E-TEST-001"),
            text: String::from("not now"),
        };
        for (stream, taken) in self.streams.iter().zip(&claimed) {
            let later = Duration::from_hours(1);
            let put_back = stream.retry_later(&taken[0].lease, later, &cause).await;
            put_back.expect("it is held");
        }
        self.check("some are put back for later", native, 20).await;
        for (stream, taken) in self.streams.iter().zip(&claimed) {
            stream
                .bury(&taken[1].lease, &cause)
                .await
                .expect("it is held");
        }
        self.check("some are given up", native, 16).await;
        for (stream, taken) in self.streams.iter().zip(&claimed) {
            stream.ack(&taken[2].lease).await.expect("it is held");
        }
        self.check("some are done", native, 12).await;
    }

    async fn end(mut self) {
        self.bus.close().await;
        self.supervisor.drain(Duration::from_secs(1)).await;
        let status = self.hook.terminate(SOON).await.expect("it ends");
        assert!(status.success(), "{status}");
    }
}

/// What the triggers of a folder read on a server, by the names that the hook tells.
fn of_redis(server: &RedisServer, folder: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for trigger in triggers(folder).1 {
        let metadata = &trigger["metadata"];
        let database = metadata["databaseIndex"].as_str().unwrap_or("0");
        let database = database.parse().expect("a number");
        let group = word(&metadata["consumerGroup"]);
        let (stream, signal) = measured(&trigger);
        let lines = |command: &[&str]| {
            let text = server.cli(database, command).expect("it answers");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let count: u64 = if signal == "lag" {
            let told = lines(&["XINFO", "GROUPS", &stream]);
            let place = |word: &str| told.iter().position(|line| line == word);
            assert!(place(&group).is_some(), "{told:?} has no {group}");
            let lag = place("lag").expect("a lag") + 1;
            told[lag].parse().expect("a number, not nil")
        } else {
            let told = lines(&["XPENDING", &stream, &group]);
            told[0].parse().expect("a number")
        };
        let name = stream.trim_start_matches("{nightshift}:").to_owned();
        *found.entry(name).or_default() += count;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_behind_sentinels_counts_what_the_hook_tells() {
    let servers = Sentinels::start_calm().await.expect("sentinels start");
    let nodes = servers.nodes();
    let toml = format!(
        "[bus]\nkind = \"sentinel\"\nsentinel.nodes = {nodes:?}\nsentinel.master = \"{MASTER}\"\n"
    );
    let mut config = bus::Config {
        kind: Kind::Sentinel,
        ..bus::Config::default()
    };
    config.sentinel.nodes = nodes;
    config.sentinel.master = MASTER.to_owned();
    let night = Night::begin(&toml, config).await;
    let master = servers.master().expect("there is one");
    let native = || of_redis(&servers.servers[master], "deploy/keda/sentinel");
    night.entries_come_and_go(&native).await;
    night.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_counts_what_the_hook_tells() {
    let servers = Cluster::start_calm("nightshift")
        .await
        .expect("a cluster starts");
    let nodes = servers.nodes();
    let toml = format!("[bus]\nkind = \"cluster\"\ncluster.nodes = {nodes:?}\n");
    let mut config = bus::Config {
        kind: Kind::Cluster,
        ..bus::Config::default()
    };
    config.cluster.nodes = nodes;
    let night = Night::begin(&toml, config).await;
    let master = servers.master().expect("there is one");
    let native = || of_redis(&servers.servers[master], "deploy/keda/cluster");
    night.entries_come_and_go(&native).await;
    night.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_counts_what_the_hook_tells() {
    let mut redis = RedisServer::start().await.expect("redis-server starts");
    let toml = format!("[bus]\nkind = \"redis\"\nurl = \"{}\"\n", redis.url());
    let config = bus::Config {
        kind: Kind::Redis,
        url: redis.url(),
        ..bus::Config::default()
    };
    let night = Night::begin(&toml, config).await;
    let native = || of_redis(&redis, "deploy/keda");
    night.entries_come_and_go(&native).await;

    // Never a wrong zero: without the bus there is no answer.
    redis.kill().expect("it ends");
    let client = runtime::http::client(SOON).expect("a client");
    let url = format!("{}/api/v1/backlog", night.install.url());
    let answer = client
        .get(url)
        .bearer_auth(&night.install.token)
        .send()
        .await;
    assert_eq!(answer.expect("an answer").status().as_u16(), 503);
    redis.restart().await.expect("it starts again");
    until("the hook to answer again", SOON, async || {
        night.install.get("/api/v1/backlog").await
    })
    .await
    .expect("it comes back");
    night.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_counts_what_the_hook_tells() {
    let nats = NatsServer::start().await.expect("nats-server starts");
    let toml = format!(
        "[bus]\nkind = \"nats\"\nnats.addresses = [\"{}\"]\n",
        nats.url()
    );
    let config = bus::Config {
        kind: Kind::Nats,
        nats: bus::NatsConfig {
            addresses: vec![nats.url()],
            ..bus::NatsConfig::default()
        },
        ..bus::Config::default()
    };
    let night = Night::begin(&toml, config).await;
    let page = Arc::new(std::sync::Mutex::new(Value::Null));
    let native = || {
        let page = page.lock().expect("no panic holds it").clone();
        let mut found = BTreeMap::new();
        for trigger in triggers("deploy/keda/nats").1 {
            let metadata = &trigger["metadata"];
            let accounts = list(&page["account_details"]);
            let account = accounts.iter().find(|a| a["name"] == metadata["account"]);
            let streams = list(&account.expect("the account")["stream_detail"]);
            let stream = streams.iter().find(|s| s["name"] == metadata["stream"]);
            let consumers = list(&stream.expect("the stream")["consumer_detail"]);
            let consumer = consumers.iter().find(|c| c["name"] == metadata["consumer"]);
            let consumer = consumer.expect("the consumer");
            let number = |field: &str| consumer[field].as_u64().expect("a number");
            let stream = word(&metadata["stream"]).replace('-', ":");
            found.insert(stream, number("num_pending") + number("num_ack_pending"));
        }
        found
    };
    let looks = nats.monitoring(JSZ).await.expect("a monitoring page");
    *page.lock().expect("no panic holds it") = looks;
    night.check("nothing", &native, 0).await;
    for stream in &night.streams {
        let entries = (0..5).map(|n| Entry {
            key: format!("{}-{n}", stream.name()),
            payload: b"{}".to_vec(),
        });
        stream.append(entries.collect()).await.expect("it is up");
        let taken = stream.claim(3, SOON).await.expect("it is up");
        stream.ack(&taken[0].lease).await.expect("it is held");
    }
    let looks = nats.monitoring(JSZ).await.expect("a monitoring page");
    *page.lock().expect("no panic holds it") = looks;
    night
        .check("some wait, some are claimed, some are done", &native, 16)
        .await;
    night.end().await;
}

/// The manifest's target is what one dispatcher does at once, in the unit that the hook answers in.
#[test]
fn the_target_is_the_unit_of_the_answer() {
    let object = scaled_object();
    let target = word(&object["spec"]["advanced"]["scalingModifiers"]["target"]);
    let at_once = dispatcher::Config::default().work.concurrency;
    assert_eq!(target, at_once.to_string());
}
