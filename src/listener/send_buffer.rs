//! How much the kernel holds of what a client has not acknowledged.

use std::os::fd::AsRawFd as _;

use pingora_core::protocols::l4::ext::get_tcp_info;
use socket2::SockRef;

use super::wire::Wire;
use crate::units::Size;

/// To a client this near (round trip in microseconds) a small buffer is as fast as the network, and the bytes stay in the
/// processor's cache: a buffer that the kernel tunes grows beyond it. It sends about 400 KB in one round trip.
const NEAR: u32 = 250;
const SMALL: usize = 256 << 10;

/// As configured; 0: small for clients that are near, and as the kernel tunes it for others.
pub(super) fn set(wire: &Wire, configured: Size) {
    let size = match configured.as_usize() {
        0 if is_near(wire) => SMALL,
        0 => return,
        size => size,
    };
    // It serves without, too.
    let _ = SockRef::from(wire).set_send_buffer_size(size);
}

/// By the handshake's own packets; who comes through the file system is on this machine.
fn is_near(wire: &Wire) -> bool {
    matches!(wire, Wire::Unix(_)) || get_tcp_info(wire.as_raw_fd()).is_ok_and(|info| (1..NEAR).contains(&info.tcpi_rtt))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    async fn accepted(configured: usize) -> (usize, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let wire = Wire::Tcp(tcp);
        set(&wire, Size(configured as u64));
        (SockRef::from(&wire).send_buffer_size().unwrap(), client)
    }

    #[tokio::test]
    async fn what_is_configured_is_set() {
        // Linux doubles it, for its own needs.
        assert_eq!(accepted(64 << 10).await.0, 128 << 10);
    }
}
