//! Taking another process's place: this one proves that it can answer, gets the sockets, and accepts once the other does not.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;

use super::Failure;
use super::rooms::Rooms;
use super::words::{ANSWER, Home, OPENING, PROOF, PROOF_SOCKET, TAKING_OVER, Word};
use crate::config::{Config, SUCCESSOR_VARIABLE};
use crate::listener::{Listener, ListenerHandle, Metrics};
use crate::sockets::{Address, Channel, Inherited, Told};

/// Clients of the proof: the predecessor, once.
const ASKERS: usize = 4;

/// The process whose place this one is to take.
pub struct Predecessor {
    channel: Arc<Channel>,
    folder: PathBuf,
}

impl Predecessor {
    /// `None`: this process begins on its own.
    ///
    /// # Errors
    /// For people: it is gone, or another user's.
    pub fn of_environment() -> Result<Option<Predecessor>, String> {
        let Some(door) = std::env::var_os(SUCCESSOR_VARIABLE).filter(|door| !door.is_empty()).map(PathBuf::from) else {
            return Ok(None);
        };
        let found = Channel::connect(&door);
        let channel = found.map_err(|error| {
            format!("{SUCCESSOR_VARIABLE}: the process that is to be replaced is not at {}: {error}", door.display())
        })?;
        let folder = door.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Some(Predecessor { channel: Arc::new(channel), folder }))
    }

    /// This process ends, and why; the other one goes on.
    pub fn failed(&self, why: &str) {
        let _ = self.channel.send(&Word::Failed { why: why.chars().take(2_000).collect() }, &[]);
    }

    /// Answers requests at a socket that nobody else knows, until the sockets come.
    pub async fn prove(&self, config: &Config, rooms: &Rooms, reasons: Vec<String>) -> Result<Inherited, Failure> {
        let proof = self.answering(config, rooms).await?;
        let storage = Home::of(rooms.integrated.storage()).await?;
        self.say(Word::Proved { version: env!("CARGO_PKG_VERSION").to_owned(), reasons, storage }).await?;
        let (word, sockets) = self.hear(PROOF + ANSWER).await?;
        proof.stop_accepting().await;
        match word {
            Word::Sockets { told } if told.len() == sockets.len() => Ok(Inherited::of_predecessor(sockets, told)),
            other => Err(unexpected(&other)),
        }
    }

    async fn answering(&self, config: &Config, rooms: &Rooms) -> Result<ListenerHandle, Failure> {
        let mut listener = config.listener.first().ok_or("there is no [[listener]]")?.clone();
        listener.address = Address::Unix(self.folder.join(PROOF_SOCKET));
        listener.socket_mode = crate::listener::config::Mode(crate::sockets::OTHERS_MAY_NOT);
        listener.max_connections = ASKERS;
        (listener.proxy_protocol, listener.redirect_to_https) = (false, false);
        (listener.tls, listener.client_ca) = (Vec::new(), None);
        // Nobody is to count it.
        let metrics = Arc::new(Metrics::new(&Registry::new())?);
        Ok(Listener::bind(&listener, metrics, None).await?.spawn(rooms.proxy.clone()))
    }

    /// All sockets are open, and those that are `left` closed; returns once the other one accepts no more.
    pub async fn may_accept(&self, left: Vec<Told>) -> Result<(), Failure> {
        self.say(Word::Opened { left }).await?;
        match self.hear(OPENING + TAKING_OVER).await?.0 {
            Word::Go => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// This process accepts; returns once the service manager knows it. Whatever else happens to the other one, we serve.
    pub async fn accepts(&self) {
        let settled = async {
            self.say(Word::Serving).await?;
            self.hear(TAKING_OVER).await
        };
        match settled.await {
            Ok((Word::Settled, _)) => {}
            Ok((other, _)) => tracing::warn!(error = %unexpected(&other), "this process serves"),
            Err(error) => tracing::warn!(%error, "this process serves"),
        }
    }

    async fn say(&self, word: Word) -> Result<(), Failure> {
        let channel = self.channel.clone();
        let said = tokio::task::spawn_blocking(move || channel.send(&word, &[])).await?;
        Ok(said.map_err(|error| gone(&error))?)
    }

    async fn hear(&self, patience: Duration) -> Result<(Word, Vec<OwnedFd>), Failure> {
        let channel = self.channel.clone();
        let heard = tokio::task::spawn_blocking(move || channel.receive::<Word>(Instant::now() + patience)).await?;
        Ok(heard.map_err(|error| gone(&error))?)
    }
}

fn gone(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "the process that is to be replaced has gone".to_owned()
        }
        io::ErrorKind::TimedOut => "the process that is to be replaced says nothing more".to_owned(),
        _ => format!("the process that is to be replaced cannot be understood: {error}"),
    }
}

fn unexpected(word: &Word) -> Failure {
    format!("the process that is to be replaced says {word:?} at the wrong time").into()
}
