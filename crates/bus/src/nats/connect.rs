//! Connecting, and who we say we are.

use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use incident::ports::Clock;
use runtime::config::read_secret;

use super::NatsConfig;
use super::link::LINE;
use crate::error::OpenError;
use crate::wait::within;

/// Longest pause between two tries to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// Address of a server.
pub(super) fn address(text: &str) -> Result<ServerAddr, String> {
    // The text of the error is ours, because the client's may show the address and what is in it.
    let address: ServerAddr = text
        .parse()
        .map_err(|_| String::from("it is no nats address"))?;
    match address.scheme() {
        "nats" | "tls" => Ok(address),
        other => Err(format!("{other} is not spoken here")),
    }
}

fn secret(path: &std::path::Path) -> Result<String, OpenError> {
    let secret = read_secret(path).map_err(|error| OpenError::Nats(error.to_string()))?;
    Ok(secret.expose().to_owned())
}

fn options(config: &NatsConfig, timeout: Duration) -> Result<ConnectOptions, OpenError> {
    let mut options = ConnectOptions::new()
        .name("nightshift")
        .connection_timeout(timeout)
        .request_timeout(Some(timeout))
        // A server that is gone without a word is noticed by two pings that stay unanswered.
        .ping_interval(timeout)
        .client_capacity(LINE)
        .max_reconnects(None)
        .reconnect_delay_callback(|tries| {
            let exponent = u32::try_from(tries.min(8)).unwrap_or(8);
            (Duration::from_millis(20) * 2_u32.pow(exponent)).min(RECONNECT_MAX)
        })
        .event_callback(|event| async move {
            match event {
                Event::Connected => tracing::info!("nats can be reached"),
                Event::Disconnected => tracing::warn!("nats cannot be reached"),
                Event::ServerError(error) => tracing::warn!(%error, "nats refuses something"),
                other => tracing::debug!(event = %other, "the connection to nats changed"),
            }
        });
    if let Some(path) = &config.credentials_file {
        let credentials = secret(path)?;
        options = options
            .credentials(&credentials)
            .map_err(|error| OpenError::Nats(format!("{}: {error}", path.display())))?;
    }
    if let Some(path) = &config.token_file {
        options = options.token(secret(path)?);
    }
    if let (Some(user), Some(path)) = (&config.user, &config.password_file) {
        options = options.user_and_password(user.clone(), secret(path)?);
    }
    if let Some(path) = &config.ca_file {
        options = options
            .add_root_certificates(path.clone())
            .require_tls(true);
    }
    Ok(options)
}

/// Connects, or keeps trying if the servers are not there yet.
pub(super) async fn client(
    config: &NatsConfig,
    timeout: Duration,
    clock: &dyn Clock,
) -> Result<Client, OpenError> {
    let addresses: Vec<ServerAddr> = config
        .addresses
        .iter()
        .map(|text| address(text))
        .collect::<Result<_, _>>()
        .map_err(OpenError::Nats)?;
    let options = options(config, timeout)?;
    let connecting = options.clone().connect(addresses.as_slice());
    let refused = |error: async_nats::ConnectError| OpenError::Nats(error.to_string());
    let error = match within(clock, timeout, connecting).await {
        Some(Ok(client)) => return Ok(client),
        Some(Err(error)) => match error.kind() {
            ConnectErrorKind::Authentication
            | ConnectErrorKind::AuthorizationViolation
            | ConnectErrorKind::Tls => return Err(refused(error)),
            _ => error.to_string(),
        },
        None => String::from("it does not answer in time"),
    };
    tracing::warn!(%error, "nats cannot be reached yet; calls fail until it is");
    let waiting = options.retry_on_initial_connect();
    waiting.connect(addresses.as_slice()).await.map_err(refused)
}
