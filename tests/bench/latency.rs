//! How long a sender waits when alerts come at a fixed rate, whatever the answers do.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::Bench;
use crate::backend::{ALL, Backend};
use crate::figure::Figure;
use crate::fire::Fired;
use crate::sample::median;
use crate::site::{self, Server};

const NAME: &str = "latency";
/// Alerts a second.
const RATE: f64 = 1_000.0;
/// Connections that take turns.
const CONNECTIONS: usize = 64;
/// Seconds that count of one measurement.
const SECONDS: f64 = 5.0;
/// The longest that one in a hundred may wait, in milliseconds.
const P99: f64 = 20.0;

/// How many measurements one round takes.
pub(crate) fn steps() -> usize {
    1 + ALL.len()
}

/// Measures all of them in turn.
pub(crate) async fn run(bench: &mut Bench) -> Result<Vec<Figure>> {
    let mut rounds: BTreeMap<&'static str, Vec<Fired>> = BTreeMap::new();
    for round in 0..bench.rounds {
        let mut turn: Vec<Option<Backend>> = ALL.into_iter().map(Some).chain([None]).collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for backend in turn {
            let name = backend.map_or("bare axum handler", Backend::name);
            bench.step(&format!("{NAME}: {name}, round {}", round + 1));
            let fired = measure(bench, backend).await?;
            rounds.entry(name).or_default().push(fired);
        }
    }
    let of = |name: &str, pick: fn(&Fired) -> f64| {
        let fired = rounds.get(name).map(Vec::as_slice).unwrap_or_default();
        fired.iter().map(pick).collect::<Vec<f64>>()
    };
    let mut figures = Vec::new();
    for backend in ALL {
        let name = backend.name();
        for (what, pick) in [
            (
                "p50 at 1,000 alerts/s",
                (|fired| fired.p50) as fn(&Fired) -> f64,
            ),
            ("p99 at 1,000 alerts/s", |fired| fired.p99),
            ("longest at 1,000 alerts/s", |fired| fired.max),
        ] {
            let (ours, bare) = (of(name, pick), of("bare axum handler", pick));
            let ratio = median(ours.iter().zip(&bare).map(|(ours, bare)| ours / bare));
            let (ours, bare) = (median(ours), median(bare));
            let figure = Figure::new(NAME, name, what, (ours, "ms"));
            let figure = figure.beside("bare axum handler", bare, ratio);
            let has_bar = what.starts_with("p99");
            figures.push(if has_bar { figure.at_most(P99) } else { figure });
        }
    }
    Ok(figures)
}

async fn measure(bench: &mut Bench, backend: Option<Backend>) -> Result<Fired> {
    let folder = tempfile::tempdir()?;
    let (_running, server) = match backend {
        None => (None, Server::peer(None, 0).await?),
        Some(backend) => {
            let running = backend.start().await?;
            let server = Server::hook(&running.toml(folder.path())?).await?;
            (Some(running), server)
        }
    };
    let mut fire = server.fire(CONNECTIONS, SECONDS, Some(RATE));
    fire.salt = bench.salt();
    site::fire(&fire, bench.pinned)
        .await
        .with_context(|| server.log_tail())
}
