//! The product as installed, on its bus, with everything it talks to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use incident::ports::Clock as _;
use runtime::SystemClock;
use tempfile::TempDir;
use tests::fakes::{self, Fake};
use tests::fleet::{FAILING_AGO, Fleet};
use tests::nightshift::{Install, Options};
use tests::ports;
use tests::process::Process;
use tests::proxy::Proxy;
use tests::repository::Repository;

use crate::channel::Channel;
use crate::disk::Disk;
use crate::fault::{Bus, Fault, Scenario};
use crate::schedule::Stroke;
use crate::server::Server;
use crate::settings::{self, LEASE, TRIAGE_DEADLINE};
use crate::wall::Wall;

/// How long a killed process stays away at most.
const AWAY_MAX: Duration = Duration::from_millis(300);
/// How far the wall clock jumps.
const JUMP_S: i64 = 600;
/// How long the disk stays full after it was noticed, and how long answers stay slow.
const FULL_FOR: Duration = Duration::from_secs(1);
const SLOW_FOR: Duration = Duration::from_secs(4);

/// What is shown of a log when something went wrong.
const LOG_LINES: usize = 6;
const LOG_WIDTH: usize = 200;

/// A process of the product, and how it is started.
#[derive(Debug)]
struct Role {
    name: &'static str,
    command: &'static [&'static str],
    environment: Vec<(&'static str, String)>,
    process: Process,
}

/// Everything that runs. Dropping it ends it all.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) install: Arc<Install>,
    pub(crate) fleet: Fleet,
    pub(crate) channel: Channel,
    pub(crate) repository: Repository,
    pub(crate) wall: Option<Wall>,
    pub(crate) server: Server,
    /// Processes that ended without being killed and were started again.
    pub(crate) ended_by_themselves: u32,
    roles: Vec<Role>,
    proxy: Option<Proxy>,
    disk: Option<Disk>,
    _prometheus: Fake,
    folder: TempDir,
}

impl System {
    /// Installs and starts everything that `scenario` needs.
    pub(crate) async fn start(bus: Bus, scenario: &Scenario, fleet: Fleet) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("bus");
        let disk = if scenario.has(Fault::DiskFull) {
            Some(Disk::mount(data.clone())?)
        } else {
            None
        };
        let server = Server::start(bus, &data, scenario).await?;
        let repository = fleet.repository(folder.path()).await?;
        let prometheus = fakes::prometheus(fleet.now - FAILING_AGO).await?;
        let channel = Channel::open(folder.path()).await?;
        let wall = if scenario.has(Fault::ClockJump) {
            Some(Wall::new(folder.path())?)
        } else {
            None
        };
        let agents = ports::free()?;
        let proxy = if scenario.has(Fault::SlowAgents) {
            Some(Proxy::start(agents).await?)
        } else {
            None
        };
        let called = proxy.as_ref().map_or(agents, |proxy| proxy.address);
        let mut environment = settings::environment();
        environment.extend(wall.iter().flat_map(Wall::environment));
        let toml = [
            server.toml(&data),
            channel.toml.clone(),
            format!(
                "[agents.observability]\nprometheus_url = \"{}\"\n",
                prometheus.url
            ),
            "[pipelines.approval]\nneeded_for = []\n".to_owned(),
            fleet.toml(&repository),
        ];
        let options = Options {
            agents: Some((agents, format!("http://{called}"))),
            environment,
        };
        let install = Arc::new(Install::with(folder.path(), &toml.join("\n"), options)?);
        let mut system = Self {
            install,
            fleet,
            channel,
            repository,
            wall,
            server,
            ended_by_themselves: 0,
            roles: Vec::new(),
            proxy,
            disk,
            _prometheus: prometheus,
            folder,
        };
        system.start_roles(bus, scenario)?;
        Ok(system)
    }

    fn start_roles(&mut self, bus: Bus, scenario: &Scenario) -> Result<()> {
        if bus == Bus::Embedded {
            return self.add("up", &["up"], Vec::new());
        }
        self.add("hook", &["hook"], Vec::new())?;
        self.add("agents", &["agent", "all"], Vec::new())?;
        self.add("dispatcher", &["dispatcher"], Vec::new())?;
        // One that is frozen wakes up and finds that another took its work.
        if scenario.has(Fault::DispatcherFreeze) {
            let metrics = ports::free()?.to_string();
            let environment = vec![("NIGHTSHIFT__METRICS_LISTEN", metrics)];
            self.add("dispatcher-2", &["dispatcher"], environment)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        name: &'static str,
        command: &'static [&'static str],
        environment: Vec<(&'static str, String)>,
    ) -> Result<()> {
        let process = spawn(&self.install, name, command, &environment)?;
        self.roles.push(Role {
            name,
            command,
            environment,
            process,
        });
        Ok(())
    }

    /// Does what the stroke says, and returns when the thing it hit is up again.
    pub(crate) async fn strike(&mut self, stroke: &Stroke) -> Result<()> {
        match stroke.fault {
            Fault::ProcessKill => self.kill("up", stroke.draw).await,
            Fault::HookKill => self.kill("hook", stroke.draw).await,
            Fault::DispatcherKill => self.kill("dispatcher", stroke.draw).await,
            Fault::AgentsKill => self.kill("agents", stroke.draw).await,
            Fault::DispatcherFreeze => self.freeze("dispatcher", stroke.draw).await,
            Fault::ClockJump => self.jump(stroke.draw).await,
            Fault::DiskFull => self.fill_the_disk().await,
            Fault::SlowAgents => self.slow_down().await,
            Fault::ServerKill
            | Fault::ServerFreeze
            | Fault::ServerRestart
            | Fault::TornTail
            | Fault::LostTail
            | Fault::MasterKill
            | Fault::MasterFreeze
            | Fault::ShardKill
            | Fault::ShardFreeze => self.server.strike(stroke).await,
        }
    }

    async fn kill(&mut self, name: &str, draw: f64) -> Result<()> {
        let install = self.install.clone();
        let role = self.role(name)?;
        role.process.kill_9().await?;
        SystemClock::new().sleep(AWAY_MAX.mul_f64(draw)).await;
        role.process = spawn(&install, role.name, role.command, &role.environment)?;
        Ok(())
    }

    async fn freeze(&mut self, name: &str, draw: f64) -> Result<()> {
        let role = self.role(name)?;
        role.process.freeze().await?;
        let longer = Duration::from_secs(1).mul_f64(draw);
        SystemClock::new().sleep(LEASE * 2 + longer).await;
        role.process.thaw().await
    }

    /// Away from the right time, and back to it the next time.
    async fn jump(&mut self, draw: f64) -> Result<()> {
        let wall = self.wall.as_mut().context("there is no wall clock")?;
        let away = if draw < 0.5 { JUMP_S } else { -JUMP_S };
        wall.jump(if wall.offset_s == 0 { away } else { 0 })?;
        // The library looks at its file again when its copy is more than a whole second old.
        SystemClock::new().sleep(Duration::from_millis(2200)).await;
        Ok(())
    }

    /// Until the product notices, and a while longer.
    async fn fill_the_disk(&mut self) -> Result<()> {
        let disk = self.disk.as_ref().context("there is no small disk")?;
        disk.fill()?;
        SystemClock::new().sleep(FULL_FOR).await;
        disk.free()?;
        self.server.revive().await
    }

    async fn slow_down(&mut self) -> Result<()> {
        let proxy = self.proxy.as_ref().context("there is no proxy")?;
        proxy.set_delay(LEASE.max(TRIAGE_DEADLINE) + Duration::from_millis(500));
        SystemClock::new().sleep(SLOW_FOR).await;
        proxy.set_delay(Duration::ZERO);
        Ok(())
    }

    fn role(&mut self, name: &str) -> Result<&mut Role> {
        let found = self.roles.iter_mut().find(|role| role.name == name);
        found.with_context(|| format!("there is no role {name}"))
    }

    /// Does what a supervisor does: starts again what has ended.
    pub(crate) fn tend(&mut self) -> Result<()> {
        for role in &mut self.roles {
            if !role.process.is_running() {
                self.ended_by_themselves += 1;
                role.process = spawn(&self.install, role.name, role.command, &role.environment)?;
            }
        }
        Ok(())
    }

    /// The ends of all logs, as much as one wants to read on a terminal.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for role in &self.roles {
            let tail = role.process.log_tail();
            let lines: Vec<&str> = tail.lines().collect();
            text.extend(["--- ", role.name, " ---\n"]);
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                text.extend(line.chars().take(LOG_WIDTH).chain(['\n']));
            }
        }
        text
    }

    /// Ends everything and leaves the files for whoever looks into what went wrong.
    pub(crate) fn keep(self) -> PathBuf {
        let Self { folder, roles, .. } = self;
        drop(roles);
        folder.keep()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn spawn(
    install: &Install,
    name: &str,
    command: &[&str],
    environment: &[(&'static str, String)],
) -> Result<Process> {
    let more: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    install.spawn(name, command, &more)
}
