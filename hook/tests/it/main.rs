//! The hook as a whole: its router over the memory ports, and over a real socket.

mod alertmanager;
mod api;
mod bad_input;
mod decisions;
mod dlq;
mod door;
mod faulty;
mod golden;
mod laws;
mod reconcile;
mod socket;
mod world;
