//! Whether an address speaks TLS, found out by asking it: for whom no configuration says it.

use std::time::Duration;

use reqwest::{Client, StatusCode};

use super::clients::Reached;
use super::finding::Findings;
use crate::outbound::{self, causes, tls};

/// A connection to it.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// One answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How clients reach the first of these addresses that answers; `None`: none does.
pub async fn reached(addresses: &[String], mirrored: Vec<String>) -> (Findings, Option<Reached>) {
    let mut failures = Vec::new();
    for address in addresses {
        match speaks(address).await {
            Ok((tls, believed)) => {
                let reached = Reached { address: address.clone(), tls, believed, mirrored };
                return (reached.check(), Some(reached));
            }
            Err(why) => failures.push(format!("{address} ({why})")),
        }
    }
    let mut findings = Findings::of("clients");
    findings.warning(
        format!(
            "what clients have to be told depends on whether it speaks TLS, and it did not say: {}",
            failures.join("; ")
        ),
        "start it, or name its configuration: `entrepot doctor CONFIG --address ADDRESS --clients`",
    );
    (findings, None)
}

/// Whether it speaks TLS, and with a certificate that clients of this system believe by themselves. https is asked first: what speaks TLS is
/// never taken for plain HTTP.
async fn speaks(address: &str) -> Result<(bool, bool), String> {
    let client = tokio::task::spawn_blocking(client).await.map_err(|error| error.to_string())??;
    let over_tls = match client.get(format!("https://{address}/v2/")).send().await {
        Ok(_) => return Ok((true, true)),
        Err(error) => causes(&error),
    };
    if over_tls.contains("invalid peer certificate") {
        return Ok((true, false));
    }
    // An alert is of TLS too: of one that wants a certificate of ours, or knows no such name.
    if over_tls.contains("fatal alert") {
        return Err(format!("https: {over_tls}"));
    }
    match client.get(format!("http://{address}/v2/")).send().await {
        // So nginx and distribution answer what comes to their TLS in the clear.
        Ok(answer) if answer.status() == StatusCode::BAD_REQUEST => {
            Err(format!("https: {over_tls}; http: it answers 400"))
        }
        Ok(_) => Ok((false, false)),
        Err(error) => Err(format!("https: {over_tls}; http: {}", causes(&error))),
    }
}

/// Blocking.
fn client() -> Result<Client, String> {
    let config = tls::http_client(tls::system_roots(), None).map_err(|error| error.to_string())?;
    let client = outbound::client(config).connect_timeout(CONNECT_TIME).timeout(ANSWER_TIME).build();
    client.map_err(|error| causes(&error))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers whatever comes, until it has answered so often.
    async fn answers(with: &'static [u8], times: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            for _ in 0..times {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(with).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn what_speaks_plain_http_is_told_from_what_does_not() {
        let plain = answers(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 2).await;
        assert_eq!(speaks(&plain).await, Ok((false, false)));
        let closed = answers(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 2).await;
        assert!(speaks(&closed).await.is_err());
        // An alert: handshake_failure.
        let alert = answers(b"\x15\x03\x03\x00\x02\x02\x28", 1).await;
        assert!(speaks(&alert).await.unwrap_err().contains("fatal alert"));
        let (findings, reached) = reached(&[closed], Vec::new()).await;
        assert!(reached.is_none() && findings.found[0].advice.contains("CONFIG"));
    }
}
