//! Free ports on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// An address nobody listens on. Somebody else can take it before it is used: whoever starts a
/// process on it tries again with another.
///
/// # Errors
/// The system has no port left.
pub fn free() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
