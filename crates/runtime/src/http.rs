//! HTTP, both ways: one bounded client, one server loop that drains.

mod server;

use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;

use crate::telemetry::Metrics;

pub use server::{Limits, serve, serve_within};

/// Longest time to connect to another system.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client with limits: connect time, whole-request time, no redirects (a redirect could carry
/// credentials elsewhere), no proxy from the environment.
///
/// # Errors
/// TLS cannot be set up, which means no CA certificates are installed.
pub fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    builder(timeout).build()
}

/// The same client, for a peer whose certificate was signed by one of the authorities in `pem`; no
/// other authority is trusted.
///
/// # Errors
/// `pem` holds no certificate that can be read.
pub fn client_trusting(timeout: Duration, pem: &[u8]) -> Result<reqwest::Client, reqwest::Error> {
    let authorities = reqwest::Certificate::from_pem_bundle(pem)?;
    builder(timeout).tls_certs_only(authorities).build()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that builds a client"
)]
fn builder(timeout: Duration) -> reqwest::ClientBuilder {
    install_tls();
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("nightshift/", env!("CARGO_PKG_VERSION")))
}

/// Chooses ring as the process's TLS provider; later calls change nothing.
pub fn install_tls() {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        tracing::trace!("a TLS provider was installed before");
    }
}

/// `GET /metrics`, on every role.
pub fn metrics_route(metrics: Metrics) -> Router {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Router::new().route(
        "/metrics",
        get(move || async move {
            ([(header::CONTENT_TYPE, OPENMETRICS)], metrics.render()).into_response()
        }),
    )
}

/// `GET /healthz`: the process runs. Says nothing about what it depends on.
pub fn health_route() -> Router {
    Router::new().route("/healthz", get(|| async { (StatusCode::OK, "ok\n") }))
}
