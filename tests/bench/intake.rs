//! How many alerts the hook takes, with everything on that it does in production, beside a handler
//! that only reads the body and beside a plain receiver that parses it and adds it to Redis.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::Bench;
use crate::backend::{ALL, Backend, Flush};
use crate::figure::Figure;
use crate::fire::Fired;
use crate::sample::median;
use crate::site::{self, Server};

const NAME: &str = "intake";
/// Connections, each with one request at a time.
const CONNECTIONS: usize = 32;
/// Seconds that count of one measurement.
const SECONDS: f64 = 2.0;
/// The least that the hook takes of what a plain receiver takes.
const OF_PLAIN: f64 = 0.8;
/// The least that the embedded log takes of what Redis takes that flushes before every answer.
const OF_ALWAYS: f64 = 0.5;

/// Who was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Bare,
    Plain,
    Hook,
}

/// Requests a second, and processor time per request in microseconds.
#[derive(Debug, Clone, Copy)]
struct Took {
    rate: f64,
    cpu: f64,
}

type Rounds = BTreeMap<(Who, &'static str), Vec<Took>>;

/// How many measurements one round takes.
pub(crate) fn steps() -> usize {
    let peers = ALL.iter().filter(|backend| backend.has_plain()).count();
    1 + ALL.len() + peers
}

/// Measures all of them in turn, `rounds` times.
pub(crate) async fn run(bench: &mut Bench) -> Result<Vec<Figure>> {
    let mut rounds = Rounds::new();
    for round in 0..bench.rounds {
        let mut turn = vec![(Who::Bare, None)];
        for backend in ALL {
            turn.push((Who::Hook, Some(backend)));
            if backend.has_plain() {
                turn.push((Who::Plain, Some(backend)));
            }
        }
        // Whoever came first comes last in the next round.
        if round % 2 == 1 {
            turn.reverse();
        }
        for (who, backend) in turn {
            let name = backend.map_or("", Backend::name);
            bench.step(&format!("{NAME}: {who:?} {name}, round {}", round + 1));
            let took = measure(bench, who, backend).await?;
            rounds.entry((who, name)).or_default().push(took);
        }
    }
    Ok(figures(&rounds))
}

async fn measure(bench: &mut Bench, who: Who, backend: Option<Backend>) -> Result<Took> {
    let folder = tempfile::tempdir()?;
    let running = match backend {
        Some(backend) => Some((backend, backend.start().await?)),
        None => None,
    };
    let server = match (who, &running) {
        (Who::Hook, Some((_, running))) => Server::hook(&running.toml(folder.path())?).await?,
        (_, Some((backend, running))) => {
            let url = running.url()?;
            Server::peer(url.as_deref(), backend.replicas()).await?
        }
        (_, None) => Server::peer(None, 0).await?,
    };
    let mut fire = server.fire(CONNECTIONS, SECONDS, None);
    fire.salt = bench.salt();
    let mut ids = running
        .as_ref()
        .map_or_else(Vec::new, |(_, running)| running.ids());
    ids.push(server.id()?);
    let before = cpu(&ids)?;
    let fired: Fired = site::fire(&fire, bench.pinned)
        .await
        .with_context(|| server.log_tail())?;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    let cpu = (cpu(&ids)? - before) * 1e6 / fired.all as f64;
    Ok(Took {
        rate: fired.rate(),
        cpu,
    })
}

fn cpu(ids: &[u32]) -> Result<f64> {
    ids.iter().map(|id| site::cpu_seconds(*id)).sum()
}

fn figures(rounds: &Rounds) -> Vec<Figure> {
    let of = |who: Who, name: &'static str| rounds.get(&(who, name)).cloned().unwrap_or_default();
    let rate = |took: &[Took]| median(took.iter().map(|took| took.rate));
    let cpu = |took: &[Took]| median(took.iter().map(|took| took.cpu));
    let over = |a: &[Took], b: &[Took], pick: fn(&Took) -> f64| {
        median(a.iter().zip(b).map(|(a, b)| pick(a) / pick(b)))
    };
    let bare = of(Who::Bare, "");
    let mut figures = vec![Figure::new(
        NAME,
        "bare axum handler",
        "requests read",
        (rate(&bare), "/s"),
    )];
    for backend in ALL {
        let name = backend.name();
        let hook = of(Who::Hook, name);
        let stored = || Figure::new(NAME, name, "alerts stored", (rate(&hook), "/s"));
        let of_bare = over(&hook, &bare, |took| took.rate);
        figures.push(stored().beside("bare axum handler", rate(&bare), of_bare));
        if backend.has_plain() {
            let plain = of(Who::Plain, name);
            let ratio = over(&hook, &plain, |took| took.rate);
            let what = "axum + parse + XADD";
            figures.push(
                stored()
                    .beside(what, rate(&plain), ratio)
                    .ratio_at_least(OF_PLAIN),
            );
            let ratio = over(&hook, &plain, |took| took.cpu);
            let used = Figure::new(
                NAME,
                name,
                "processor time an alert, servers included",
                (cpu(&hook), "µs"),
            );
            figures.push(used.beside(what, cpu(&plain), ratio));
        } else {
            // Of a NATS server the processor time is not known.
            let what = match backend {
                Backend::Nats => "processor time an alert, without the server",
                _ => "processor time an alert, servers included",
            };
            figures.push(Figure::new(NAME, name, what, (cpu(&hook), "µs")));
        }
        if backend == Backend::Embedded {
            let always = of(Who::Hook, Backend::Redis(Flush::Always).name());
            let ratio = over(&hook, &always, |took| took.rate);
            let figure = stored().beside("hook on redis, always", rate(&always), ratio);
            figures.push(figure.ratio_at_least(OF_ALWAYS));
        }
    }
    figures
}
