//! Free ports on loopback.

use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where ports are taken from: below those that Linux gives to outgoing connections. One of those
/// could be gone when a process that was killed is started again on its port.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;
/// Ports that one test process looks at before it meets those of the next.
const BLOCK: u32 = 32;

/// An address nobody listens on. Test processes look in different places, but somebody else can
/// still take it before it is used: whoever starts a process on it tries again with another.
///
/// # Errors
/// The system has no port left.
pub fn free() -> std::io::Result<SocketAddr> {
    static LOOKED_AT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let looked_at = LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id()
            .wrapping_mul(BLOCK)
            .wrapping_add(looked_at)
            % COUNT;
        let port = u16::try_from(FIRST + offset).expect("the last is below 32,768");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr();
        }
    }
    Err(Error::new(ErrorKind::AddrInUse, "no port is free"))
}
