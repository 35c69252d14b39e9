//! One scenario from start to verdict.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use incident::ports::Clock as _;
use runtime::SystemClock;
use tests::fleet::Fleet;

use crate::audit::audit;
use crate::fault::{Bus, Scenario};
use crate::ledger::Ledger;
use crate::real::RealSender;
use crate::record::{Effects, Incidents, Outcome};
use crate::recovery::Probe;
use crate::schedule::schedule;
use crate::sender::{ANSWER_WITHIN, Door, Sender};
use crate::show::Show;
use crate::system::System;

/// More services than any scenario gets to.
const SERVICES: usize = 400;

/// Who sends.
enum Source {
    Ours(Sender),
    Real(Box<RealSender>),
}

impl Source {
    async fn finish(&self) -> Result<usize> {
        match self {
            Self::Ours(sender) => sender.finish().await,
            Self::Real(sender) => sender.finish().await,
        }
    }
}

/// What stays the same for all scenarios of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) bus: Bus,
    pub(crate) seed: u64,
    pub(crate) strokes: usize,
    /// Whether files are kept although all went well.
    pub(crate) keep: bool,
}

/// Runs it. What went wrong without a number of its own stands among the missed bars.
pub(crate) async fn run(order: Order, scenario: &Scenario, show: &Show) -> Result<Outcome> {
    let clock = SystemClock::new();
    let fleet = Fleet {
        now: clock.now(),
        services: SERVICES,
    };
    let mut system = System::start(order.bus, scenario, fleet).await?;
    let mut outcome = blank(scenario, system.server.version()?);
    let ledger = Ledger::default();
    if let Err(error) = ordeal(order, scenario, &mut system, &ledger, &mut outcome, show).await {
        outcome.missed.push(
            format!("{:#}", error.root_cause())
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        );
        show.say(&format!("{}: {error:#}", scenario.name));
    }
    let requests = ledger.requests();
    outcome.requests = requests.all;
    outcome.requests_retried = requests.retried;
    outcome.requests_refused = requests.refused;
    outcome.ended_by_themselves = system.ended_by_themselves;
    outcome.seconds = clock.elapsed().as_secs_f64();
    outcome.judge();
    if order.keep || !outcome.missed.is_empty() {
        let kept = system.keep();
        show.say(&format!(
            "{}: what it left is in {}",
            scenario.name,
            kept.display()
        ));
    }
    Ok(outcome)
}

async fn ordeal(
    order: Order,
    scenario: &Scenario,
    system: &mut System,
    ledger: &Ledger,
    outcome: &mut Outcome,
    show: &Show,
) -> Result<()> {
    let clock = SystemClock::new();
    let fleet = system.fleet;
    let door = Door::new(system.install.clone(), ledger.clone(), ANSWER_WITHIN)?;
    let mut probe = Probe::new(door.clone(), fleet);
    if scenario.refuses {
        for stroke in schedule(order.seed, scenario, order.strokes) {
            show.stroke(scenario.name, stroke.fault);
            probe.knock_for(stroke.pause).await;
            system.strike(&stroke).await?;
            *outcome.strokes.entry(stroke.fault).or_default() += 1;
        }
        // Nothing is done with what was not acknowledged, so there is nothing to wait for.
        let events = ledger.events();
        outcome.events_sent = events.len() as u64;
        let acknowledged = events.values().filter(|sent| sent.acknowledged);
        outcome.events_acknowledged = acknowledged.count() as u64;
        return Ok(());
    }
    // The first measurement is the start, and no recovery.
    probe.measure(system).await?;
    let source = if scenario.alertmanager {
        let install = Arc::clone(&system.install);
        let folder = system.folder();
        let sender = RealSender::start(folder, &install, ledger.clone(), fleet, order.seed).await?;
        Source::Real(Box::new(sender))
    } else {
        Source::Ours(Sender::start(door, fleet, order.seed))
    };
    for stroke in schedule(order.seed, scenario, order.strokes) {
        clock.sleep(stroke.pause).await;
        show.stroke(scenario.name, stroke.fault);
        system.strike(&stroke).await?;
        *outcome.strokes.entry(stroke.fault).or_default() += 1;
        let recovery = probe.measure(system).await?;
        outcome
            .recoveries
            .entry(stroke.fault)
            .or_default()
            .push(recovery);
        show.struck(recovery);
        system.server.mend().await?;
    }
    show.note(&format!(
        "{}: waiting for the end of the work",
        scenario.name
    ));
    source.finish().await?;
    count(system, ledger, outcome, show).await
}

/// Waits until all is done and writes down what came of it.
async fn count(
    system: &mut System,
    ledger: &Ledger,
    outcome: &mut Outcome,
    show: &Show,
) -> Result<()> {
    let audit = audit(system, ledger).await?;
    outcome.events_sent = audit.sent;
    outcome.events_acknowledged = audit.acknowledged;
    outcome.dispositions = audit.dispositions;
    outcome.events_lost = audit.lost.len() as u64;
    outcome.events_ruled_twice = audit.ruled_twice;
    outcome.dead_letters = audit.dead;
    outcome.incidents = audit.incidents;
    outcome.effects = audit.effects;
    if let Some(late) = audit.late {
        outcome.missed.push(late.root_cause().to_string());
        show.say(&format!("{}: {late:#}", outcome.name));
    }
    for lost in audit.lost {
        show.say(&format!("{}: lost {lost}", outcome.name));
    }
    Ok(())
}

fn blank(scenario: &Scenario, server: String) -> Outcome {
    Outcome {
        name: scenario.name.to_owned(),
        what: scenario.what(),
        outside: scenario.outside,
        refuses: scenario.refuses,
        alertmanager: scenario.alertmanager,
        server,
        seconds: 0.0,
        strokes: BTreeMap::new(),
        requests: 0,
        requests_retried: 0,
        requests_refused: 0,
        events_sent: 0,
        events_acknowledged: 0,
        dispositions: BTreeMap::new(),
        events_lost: 0,
        events_ruled_twice: 0,
        dead_letters: 0,
        incidents: Incidents::default(),
        effects: Effects::default(),
        recoveries: BTreeMap::new(),
        ended_by_themselves: 0,
        missed: Vec::new(),
    }
}
