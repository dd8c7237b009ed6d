//! A proxy before a store, which does to requests what networks and stores do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a request.
#[derive(Clone)]
pub(super) enum Fate {
    Pass,
    /// This, instead of an answer.
    Answer(String),
    /// Not a byte, ever.
    Silence,
    /// The answer's first bytes, then the end of the connection.
    Cut(usize),
    /// The answer's first bytes, then nothing.
    Stall(usize),
    /// The store carries it out, and this becomes of its answer.
    Lost(Loss),
}

/// How the answer to what was carried out is lost.
#[derive(Clone, Debug)]
pub(super) enum Loss {
    /// Its first bytes come, then the connection ends: 0, or in the middle of the head.
    After(usize),
    /// All but its last bytes come: in the middle of the body, if there is one.
    Before(usize),
    /// This comes instead.
    Instead(String),
    /// Nothing comes.
    Never,
}

pub(super) struct FaultProxy {
    pub port: u16,
    seen: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl FaultProxy {
    /// `fate` gets the first line of a request, and how many came before.
    pub(super) async fn start(store: u16, fate: impl Fn(&str, usize) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (fate, seen) = (Arc::new(fate), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (fate, seen) = (Arc::clone(&fate), Arc::clone(&counter));
                tokio::spawn(async move { serve(client, store, &*fate, &seen).await });
            }
        });
        FaultProxy { port, seen, task }
    }

    /// Requests that came.
    pub(super) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request for each connection, so that each has its own fate.
async fn serve(
    mut client: TcpStream,
    store: u16,
    fate: &(dyn Fn(&str, usize) -> Fate + Send + Sync),
    seen: &AtomicUsize,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let (line, fields) = text.split_once("\r\n")?;
    let fate = fate(line, seen.fetch_add(1, Ordering::SeqCst));
    let limit = match &fate {
        Fate::Answer(answer) => {
            client.write_all(answer.as_bytes()).await.ok()?;
            return client.shutdown().await.ok();
        }
        Fate::Silence => {
            // Takes what comes, so that it is the answer that is missing.
            tokio::io::copy(&mut client, &mut tokio::io::sink()).await.ok()?;
            return None;
        }
        Fate::Pass | Fate::Lost(_) => u64::MAX,
        Fate::Cut(bytes) | Fate::Stall(bytes) => *bytes as u64,
    };
    let store = TcpStream::connect(("127.0.0.1", store)).await.ok()?;
    let (mut from_client, mut to_client) = client.into_split();
    let (from_store, mut to_store) = store.into_split();
    to_store.write_all(format!("{line}\r\nConnection: close\r\n{fields}").as_bytes()).await.ok()?;
    if let Fate::Lost(loss) = fate {
        return lose(loss, fields, (from_client, to_client), (from_store, to_store)).await;
    }
    let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_store).await });
    tokio::io::copy(&mut from_store.take(limit), &mut to_client).await.ok()?;
    if matches!(fate, Fate::Stall(_)) {
        std::future::pending::<()>().await;
    }
    up.abort();
    to_client.shutdown().await.ok()
}

type Halves = (OwnedReadHalf, OwnedWriteHalf);

async fn lose(loss: Loss, fields: &str, mut client: Halves, mut store: Halves) -> Option<()> {
    let length =
        fields.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    tokio::io::copy(&mut (&mut client.0).take(length.unwrap_or(0)), &mut store.1).await.ok()?;
    let mut answer = Vec::new();
    store.0.read_to_end(&mut answer).await.ok()?;
    match loss {
        Loss::After(bytes) => answer.truncate(bytes),
        Loss::Before(bytes) => answer.truncate(answer.len().saturating_sub(bytes)),
        Loss::Instead(text) => answer = text.into_bytes(),
        Loss::Never => std::future::pending().await,
    }
    client.1.write_all(&answer).await.ok()?;
    client.1.shutdown().await.ok()
}
