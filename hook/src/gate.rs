//! What every request passes first: a permit, then credentials. Nothing of the body is read here.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use incident::error::{Classify, Code, Kind};
use incident::ports::Cancel as _;

use crate::refusal::Refuse;
use crate::state::Hook;

/// Why a request was turned away before it was looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GateError {
    #[error("all {0} request permits are taken")]
    Busy(u32),
    #[error("this process is shutting down")]
    Draining,
    #[error("credentials are missing or wrong")]
    Unauthorized,
    #[error("a web page of another site may not send here")]
    CrossSite,
    #[error("the host name in the request is not one of this machine's own")]
    ForeignHost,
    #[error("there is nothing at this path")]
    NoRoute,
    #[error("this path does not take this method")]
    Method,
}

impl Classify for GateError {
    fn kind(&self) -> Kind {
        match self {
            Self::Busy(_) => Kind::Overloaded { retry_after: None },
            Self::Draining => Kind::Transient,
            Self::Unauthorized
            | Self::CrossSite
            | Self::ForeignHost
            | Self::NoRoute
            | Self::Method => Kind::Permanent,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Unauthorized => Code("E-HOOK-003"),
            Self::CrossSite | Self::ForeignHost => Code("E-HOOK-004"),
            Self::Busy(_) => Code("E-HOOK-005"),
            Self::Draining => Code("E-HOOK-006"),
            Self::NoRoute | Self::Method => Code("E-HOOK-014"),
        }
    }
}

impl Refuse for GateError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::CrossSite | Self::ForeignHost => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Busy(_) | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn field(&self) -> String {
        let field = match self {
            Self::Unauthorized => "authorization",
            Self::CrossSite => "origin",
            Self::ForeignHost => "host",
            Self::NoRoute => "path",
            Self::Method => "method",
            Self::Busy(_) | Self::Draining => "",
        };
        field.to_owned()
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Busy(_) => "send it again; if it lasts, raise hook.requests_max or add replicas",
            Self::Draining => "send it again; another replica, or the next start, takes it",
            Self::Unauthorized => {
                "set http_config.authorization (or basic_auth) on the receiver in Alertmanager"
            }
            Self::CrossSite => "send it with a client, not from a web page",
            Self::ForeignHost => "call it by 127.0.0.1 or localhost, or set hook.auth",
            Self::NoRoute | Self::Method => {
                "the webhook is POST /webhook/alertmanager, the API is GET /api/v1/incidents"
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Busy(_) => "busy",
            Self::Draining => "draining",
            Self::Unauthorized => "unauthorized",
            Self::CrossSite => "cross_site",
            Self::ForeignHost => "foreign_host",
            Self::NoRoute => "no_route",
            Self::Method => "method",
        }
    }
}

/// Permit, then credentials. The permit is held until the answer is there. Counts as well: a layer
/// less on the way of every alert.
pub(crate) async fn work(State(hook): State<Hook>, request: Request, next: Next) -> Response {
    let route = route(&request);
    let response = permitted(&hook, request, next).await;
    hook.counts().request(route, response.status().as_u16());
    response
}

async fn permitted(hook: &Hook, request: Request, next: Next) -> Response {
    let Some(_permit) = hook.permit() else {
        return hook.refuse(&GateError::Busy(hook.config().requests_max));
    };
    let _running = hook.counts().running();
    if hook.draining().is_cancelled() {
        return closing(hook.refuse(&GateError::Draining));
    }
    admit(hook, request, next).await
}

/// Credentials only: for what must answer under load.
pub(crate) async fn known(State(hook): State<Hook>, request: Request, next: Next) -> Response {
    admit(&hook, request, next).await
}

async fn admit(hook: &Hook, request: Request, next: Next) -> Response {
    match check(hook, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error @ GateError::Unauthorized) => {
            let mut response = hook.refuse(&error);
            if let Ok(value) = HeaderValue::from_str(hook.credentials().challenge()) {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, value);
            }
            response
        }
        Err(error) => hook.refuse(&error),
    }
}

/// Counts every answer by route and status.
pub(crate) async fn count(State(hook): State<Hook>, request: Request, next: Next) -> Response {
    let route = route(&request);
    let response = next.run(request).await;
    hook.counts().request(route, response.status().as_u16());
    response
}

fn route(request: &Request) -> String {
    let route = request.extensions().get::<MatchedPath>();
    route.map_or("other", MatchedPath::as_str).to_owned()
}

pub(crate) async fn no_route(State(hook): State<Hook>) -> Response {
    hook.refuse(&GateError::NoRoute)
}

pub(crate) async fn no_method(State(hook): State<Hook>) -> Response {
    hook.refuse(&GateError::Method)
}

fn check(hook: &Hook, method: &Method, headers: &HeaderMap) -> Result<(), GateError> {
    if !hook.credentials().accept(headers) {
        return Err(GateError::Unauthorized);
    }
    // A browser on this machine can reach loopback for any page it shows, and repeats a password it
    // was once given. No client of ours is a web page, so nothing is sent from one.
    if method != Method::GET && headers.contains_key(header::ORIGIN) {
        return Err(GateError::CrossSite);
    }
    // Without credentials, the host name is what tells our own pages from a page whose name was
    // pointed at 127.0.0.1.
    let open = hook.credentials().is_open();
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    if open && host.is_some_and(|host| !is_own(host)) {
        return Err(GateError::ForeignHost);
    }
    Ok(())
}

/// Whether a `Host` header names loopback.
fn is_own(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, _)) => inner,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let by_number = name
        .parse()
        .is_ok_and(|ip: std::net::IpAddr| ip.to_canonical().is_loopback());
    by_number || name.eq_ignore_ascii_case("localhost")
}

/// Tells the client to open its next connection elsewhere.
fn closing(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

#[cfg(test)]
mod tests {
    use super::is_own;

    #[test]
    fn only_loopback_names_are_our_own() {
        for own in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8080",
            "[::1]",
        ] {
            assert!(is_own(own.as_bytes()), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:8080",
            "10.0.0.1",
            "localhost.evil.example",
            "[::2]:1",
        ] {
            assert!(!is_own(other.as_bytes()), "{other}");
        }
        assert!(!is_own(b"\xff"));
    }
}
