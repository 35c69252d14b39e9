//! Agents of this process on the network.

mod cancel;
mod card;
mod ending;
mod execution;
mod feed;
mod gate;
mod handler;
mod listing;
mod live;
mod lookup;
mod record;
mod request;
mod tasks;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post_service};
use incident::error::{Classify, Code, Kind};
use incident::ports::{Agent, Clock, Entropy, Store};
use runtime::Supervisor;
use runtime::config::{Problem, Secret, Section as _};
use runtime::entropy::nonce;
use tower::ServiceExt as _;

use crate::Config;
use crate::wire;

use self::card::Published;
use self::gate::Gate;
use self::handler::Handler;
use self::live::Core;

/// Longest agent name, so that store keys stay within their limit.
const NAME_BYTES_MAX: usize = 63;

/// What a server is made of.
#[derive(Debug)]
pub struct Parts {
    /// The agents; each name once.
    pub agents: Vec<Arc<dyn Agent>>,
    /// Where tasks are kept. Replicas of one agent share it.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance; names this instance.
    pub entropy: Arc<dyn Entropy>,
    /// Owns the executions.
    pub supervisor: Supervisor,
    /// What callers must show; anybody may call if there is none.
    pub token: Option<Secret>,
    /// Nobody else works on tasks in this store as long as this process lives, as with a store that
    /// one process holds. Whoever else owns a task is then dead, and its lease is not waited for.
    pub sole_owner: bool,
    /// Limits.
    pub config: Config,
}

/// Why a server cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The network could reach it and anybody could call it.
    #[error(
        "{listen} can be reached from other machines and no token protects it; set a2a.token_file or listen on 127.0.0.1"
    )]
    Exposed {
        /// The address.
        listen: SocketAddr,
    },
    /// An agent that cannot be served.
    #[error("agent {name:?}: {why}")]
    BadAgent {
        /// Its name.
        name: String,
        /// What is wrong with its card, with the remedy.
        why: &'static str,
    },
    /// The configuration cannot work.
    #[error("{0}")]
    BadConfig(Problem),
}

impl Classify for SetupError {
    fn kind(&self) -> Kind {
        Kind::Permanent
    }

    fn code(&self) -> Code {
        match self {
            Self::Exposed { .. } => Code("E-A2A-001"),
            Self::BadAgent { .. } => Code("E-A2A-002"),
            Self::BadConfig(_) => Code("E-A2A-003"),
        }
    }
}

/// Refuses an address that other machines can reach unless callers need a token. The binary calls
/// it before it listens.
///
/// # Errors
/// [`SetupError::Exposed`].
pub fn check_exposure(listen: SocketAddr, token: Option<&Secret>) -> Result<(), SetupError> {
    let guarded = token.is_some_and(|token| !token.expose().is_empty());
    if guarded || listen.ip().to_canonical().is_loopback() {
        Ok(())
    } else {
        Err(SetupError::Exposed { listen })
    }
}

/// Serves each of its agents at `/agents/<name>/` and its card below that.
pub struct Server {
    router: Router,
    names: Vec<String>,
}

impl Server {
    /// Puts the agents behind routes. Nothing runs before a request comes.
    ///
    /// # Errors
    /// [`SetupError::BadAgent`] and [`SetupError::BadConfig`].
    pub fn new(parts: &Parts) -> Result<Self, SetupError> {
        let mut problems = Vec::new();
        parts.config.check("a2a", &mut problems);
        if let Some(problem) = problems.into_iter().next() {
            return Err(SetupError::BadConfig(problem));
        }
        let instance = nonce(parts.entropy.as_ref(), 8);
        let token = parts.token.clone().map(Arc::new);
        let mut names: Vec<String> = Vec::new();
        let mut router = Router::new();
        for agent in &parts.agents {
            let name = check_card(agent.as_ref(), &names)?;
            let core = Core::new(agent.clone(), parts, instance.clone());
            let gate = Gate {
                token: token.clone(),
                body_bytes_max: parts.config.request_bytes_max.get(),
            };
            let published = Published::new(agent.card(), &parts.config.public_url, token.is_some());
            router = router.merge(agent_routes(&name, core, gate, published));
            names.push(name);
        }
        tracing::info!(%instance, agents = ?names, "agents are ready to be served");
        Ok(Self { router, names })
    }

    /// The routes, to be merged into the router of the role.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The names of the agents, in the order they came.
    pub fn agents(&self) -> &[String] {
        &self.names
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("agents", &self.names)
            .finish_non_exhaustive()
    }
}

fn agent_routes(name: &str, core: Arc<Core>, gate: Gate, published: Published) -> Router {
    // The official router serves "/" only; agents live below a path, with and without its slash.
    let rpc = a2a_server::jsonrpc::jsonrpc_router(Arc::new(Handler::new(core)));
    let rpc = rpc.map_request(|mut request: Request| {
        *request.uri_mut() = Uri::from_static("/");
        request
    });
    let path = wire::agent_path(name);
    let card_path = format!("{path}.well-known/agent-card.json");
    Router::new()
        .route(path.trim_end_matches('/'), post_service(rpc.clone()))
        .route(&path, post_service(rpc))
        // Not on the fallback: what is not ours is not found, by anybody.
        .route_layer(from_fn_with_state(gate, gate::pass))
        .route(&card_path, get(card::serve).with_state(Arc::new(published)))
}

fn check_card(agent: &dyn Agent, names: &[String]) -> Result<String, SetupError> {
    let card = agent.card();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let why = if card.name.is_empty() || card.name.len() > NAME_BYTES_MAX {
        "a name has 1 to 63 characters"
    } else if !card.name.bytes().all(plain) {
        "a name has lower-case letters, digits and hyphens only, as it is part of a path"
    } else if names.contains(&card.name) {
        "the name is taken; each agent is served once"
    } else if card.skills.is_empty() {
        "it has no skills; an agent that can do nothing is not served"
    } else {
        return Ok(card.name.clone());
    };
    Err(SetupError::BadAgent {
        name: card.name.clone(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listen: &str, token: Option<&str>, fine: bool) {
        let token = token.map(Secret::new);
        let checked = check_exposure(listen.parse().unwrap(), token.as_ref());
        assert_eq!(checked.is_ok(), fine, "{listen} {checked:?}");
    }

    #[test]
    fn only_loopback_goes_without_a_token() {
        check("127.0.0.1:8083", None, true);
        check("[::1]:8083", None, true);
        check("[::ffff:127.0.0.1]:8083", None, true);
        check("0.0.0.0:8083", None, false);
        check("[::]:8083", None, false);
        check("10.0.0.5:8083", Some(" \n"), false);
        check("10.0.0.5:8083", Some("open sesame"), true);
    }
}
