//! The load generator: webhook bodies over a fixed number of connections, each alert a new one.
//!
//! Closed loop: every connection sends its next request as soon as the last was answered, which
//! finds out how much is taken. Open loop: requests have their times beforehand and a late answer
//! delays none of them; the time of a request counts from when it was due, so a stall is seen by
//! every request that it kept waiting.
//!
//! It is a process of its own, so that it can be kept on another core than what it fires at. One
//! thread a connection and blocking sockets: the sleeps are exact and the cost is small.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::sample::{ms, quantile, sorted};

/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What to fire, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Fire {
    /// Where.
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// The path, such as `/webhook/alertmanager`.
    #[arg(long)]
    pub(crate) path: String,
    /// The bearer token.
    #[arg(long)]
    pub(crate) token: String,
    /// Connections.
    #[arg(long)]
    pub(crate) connections: usize,
    /// Seconds that count.
    #[arg(long)]
    pub(crate) seconds: f64,
    /// Seconds before them.
    #[arg(long)]
    pub(crate) warm: f64,
    /// Requests a second; without it as many as are answered.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Told apart from the alerts of other runs.
    #[arg(long)]
    pub(crate) salt: u32,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Fired {
    /// Requests answered 200 while it counted.
    pub(crate) good: u64,
    /// The same with those before it counted.
    pub(crate) all: u64,
    /// Seconds that counted.
    pub(crate) seconds: f64,
    /// Half of the requests took at most so many milliseconds.
    pub(crate) p50: f64,
    /// 99 of 100 took at most so many.
    pub(crate) p99: f64,
    /// The longest.
    pub(crate) max: f64,
}

impl Fired {
    /// Requests a second.
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(crate) fn rate(&self) -> f64 {
        self.good as f64 / self.seconds
    }
}

/// Fires, and prints what came of it as JSON.
pub(crate) fn run(fire: &Fire) -> Result<Fired> {
    let barrier = Barrier::new(fire.connections);
    let results: Vec<Result<(Vec<f64>, u64)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..fire.connections)
            .map(|place| {
                let barrier = &barrier;
                scope.spawn(move || one(fire, place, barrier))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a sender panicked")))
            .collect()
    });
    let mut times = Vec::new();
    let mut all = 0;
    for result in results {
        let (counted, answered) = result?;
        times.extend(counted);
        all += answered;
    }
    let times = sorted(times);
    Ok(Fired {
        good: times.len() as u64,
        all,
        seconds: fire.seconds,
        p50: quantile(&times, 0.5),
        p99: quantile(&times, 0.99),
        max: quantile(&times, 1.0),
    })
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn one(fire: &Fire, place: usize, barrier: &Barrier) -> Result<(Vec<f64>, u64)> {
    let connected = TcpStream::connect(fire.address);
    barrier.wait();
    let mut stream = connected.context("the server does not take a connection")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut shot = Shot::new(fire);
    let start = Instant::now();
    let counted = Duration::from_secs_f64(fire.warm);
    let end = counted + Duration::from_secs_f64(fire.seconds);
    let mut times = Vec::new();
    let mut turn = 0;
    loop {
        let now = start.elapsed();
        let due = match fire.rate {
            None => now,
            Some(rate) => {
                let number = turn * fire.connections + place;
                Duration::from_secs_f64(number as f64 / rate)
            }
        };
        if due >= end {
            return Ok((times, turn as u64));
        }
        if let Some(early) = due.checked_sub(now) {
            std::thread::sleep(early);
        }
        shot.load(fire.salt, place, turn);
        stream.write_all(&shot.bytes)?;
        answered(&mut stream)?;
        let done = start.elapsed();
        let counts = match fire.rate {
            None => (counted..end).contains(&done),
            Some(_) => due >= counted,
        };
        if counts {
            times.push(ms(done.saturating_sub(due)));
        }
        turn += 1;
    }
}

/// Reads one answer to its end.
fn answered(stream: &mut TcpStream) -> Result<()> {
    let mut buffer = [0; 8192];
    let mut filled = 0;
    loop {
        let read = stream.read(buffer.get_mut(filled..).context("a long answer")?)?;
        ensure!(read > 0, "the server closed the connection");
        filled += read;
        let so_far = buffer.get(..filled).unwrap_or_default();
        let Some(head) = so_far.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(so_far.get(..head).unwrap_or_default()).to_lowercase();
        ensure!(
            text.starts_with("http/1.1 200"),
            "answered: {}",
            String::from_utf8_lossy(so_far)
        );
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .unwrap_or(0_usize);
        if filled >= head + 4 + length {
            return Ok(());
        }
    }
}

/// Where the number of a pod goes in the body.
const NUMBER: &str = "000000000000";
/// Where the fingerprint goes.
const FINGERPRINT: &str = "ffffffffffffffff";

/// A request with places for what differs.
struct Shot {
    bytes: Vec<u8>,
    numbers: Vec<usize>,
    fingerprints: Vec<usize>,
}

impl Shot {
    fn new(fire: &Fire) -> Self {
        let body = body();
        let bytes = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nuser-agent: Alertmanager/0.28.1\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            fire.path,
            fire.address,
            fire.token,
            body.len(),
        );
        let places = |what: &str| bytes.match_indices(what).map(|(at, _)| at).collect();
        Self {
            numbers: places(NUMBER),
            fingerprints: places(FINGERPRINT),
            bytes: bytes.into_bytes(),
        }
    }

    /// Makes it an alert that was never sent before.
    fn load(&mut self, salt: u32, place: usize, turn: usize) {
        let number = format!("{:04}{:08}", place % 10_000, turn % 100_000_000);
        let fingerprint = format!(
            "{:04x}{:04x}{:08x}",
            salt & 0xffff,
            place & 0xffff,
            turn & 0xffff_ffff
        );
        for (places, text) in [(&self.numbers, number), (&self.fingerprints, fingerprint)] {
            for at in places {
                let slot = self.bytes.get_mut(*at..*at + text.len());
                slot.expect("the place was found in these bytes")
                    .copy_from_slice(text.as_bytes());
            }
        }
    }
}

/// One alert as Alertmanager sends it, about 2 KB.
fn body() -> String {
    let pod = format!("checkout-7d9c5b6f4-{NUMBER}");
    let labels = json!({
        "alertname": "KubePodCrashLooping", "cluster": "eu-1", "container": "checkout",
        "instance": "kube-state-metrics.monitoring.svc:8080", "job": "kube-state-metrics",
        "namespace": "shop", "pod": pod, "prometheus": "monitoring/k8s",
        "reason": "CrashLoopBackOff", "severity": "critical", "team": "shop",
        "uid": "6f1d0a52-8c1e-4a57-9d0e-3a4b5c6d7e8f",
    });
    let annotations = json!({
        "description": format!("Pod shop/{pod} (checkout) is in waiting state (reason: \"CrashLoopBackOff\")."),
        "runbook_url": "https://runbooks.example/KubePodCrashLooping",
        "summary": "Pod is crash looping.",
    });
    let group =
        json!({ "alertname": "KubePodCrashLooping", "cluster": "eu-1", "namespace": "shop" });
    json!({
        "receiver": "nightshift", "status": "firing",
        "alerts": [{
            "status": "firing", "labels": labels, "annotations": annotations,
            "startsAt": "2026-01-20T10:20:30.623Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example:9090/graph?g0.expr=max_over_time%28kube_pod_container_status_waiting_reason%7Breason%3D%22CrashLoopBackOff%22%7D%5B5m%5D%29+%3E%3D+1&g0.tab=1",
            "fingerprint": FINGERPRINT,
        }],
        "groupLabels": group, "commonLabels": labels, "commonAnnotations": annotations,
        "externalURL": "http://alertmanager.example:9093", "version": "4",
        "groupKey": "{}/{severity=\"critical\"}:{alertname=\"KubePodCrashLooping\", cluster=\"eu-1\", namespace=\"shop\"}",
        "truncatedAlerts": 0,
    })
    .to_string()
}
