//! The hook: Alertmanager's webhook goes in, alert events come out on the stream. On the same port
//! it answers what people and scalers ask: incidents, rulings, backlog, decisions, readiness.
//!
//! For: saying 200 only when every alert of the body is durable, 503 for everything that passes by
//! itself (Alertmanager tries again on 5xx only), and 4xx only for what can never be taken. What
//! each kind of bad input gets is the table in `docs/bad-input.md`.
//!
//! Never: deciding what an alert means (triage does), calling an agent, trusting a byte of what it
//! is sent, listening beyond loopback without credentials.
#![forbid(unsafe_code)]

mod api;
mod batch;
mod body;
mod config;
mod credentials;
mod event;
mod fingerprint;
mod gate;
mod health;
mod metrics;
mod payload;
mod reconcile;
mod refusal;
pub mod scaling;
mod state;
mod webhook;

pub use config::{Auth, BasicUser, Config};
pub use credentials::Credentials;
pub use event::NOTE;
pub use fingerprint::fingerprint;
pub use reconcile::{Config as Reconcile, Resolve};
pub use state::{Capacity, Deps, Hook, Probe, RenderHtml};
