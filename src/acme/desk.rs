//! What all certificates of one configuration share: where they are kept, the authority, our account with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::Account;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account;
use super::challenges::Challenges;
use super::client::{Client, Clock};
use super::config::Config;
use super::failure::Failure;
use super::metrics::Metrics;
use super::shelf::Shelf;
use crate::outbound::OwnAddresses;

/// Orders of this instance at once.
const AT_ONCE: usize = 4;
/// At the process's end, what is under way may come to an end by itself for so long.
const CHANCE: Duration = Duration::from_secs(2);

pub struct Desk {
    pub config: Config,
    pub shelf: Arc<dyn Shelf>,
    /// The authority's, by which certificates begin and end.
    pub clock: Arc<Clock>,
    pub challenges: Arc<Challenges>,
    pub metrics: Arc<Metrics>,
    pub orders: Arc<Semaphore>,
    pub ending: Ending,
    clients: HashMap<String, Client>,
    accounts: Mutex<HashMap<String, Account>>,
}

/// What outlives a configuration.
#[derive(Clone)]
pub struct Lasting {
    pub challenges: Arc<Challenges>,
    pub metrics: Arc<Metrics>,
    pub own: OwnAddresses,
    pub ending: Ending,
}

/// The end of the process.
#[derive(Clone, Default)]
pub struct Ending {
    /// What only one instance does at a time, and must not be cut off.
    pub under_way: TaskTracker,
    pub told: CancellationToken,
}

impl Ending {
    /// Ends when what is under way has to be cut off.
    pub async fn comes(&self) {
        self.told.cancelled().await;
        tokio::time::sleep(CHANCE).await;
    }
}

impl Desk {
    /// Blocks on the disk: the authority's own roots may be a file.
    pub fn new(config: Config, shelf: Arc<dyn Shelf>, lasting: Lasting) -> Result<Self, String> {
        let clock = Arc::new(Clock::default());
        let mut clients = HashMap::new();
        for directory in [Some(config.directory.as_str()), config.tried_first()].into_iter().flatten() {
            let client = Client::new(directory, config.ca.as_deref(), clock.clone(), lasting.own.clone())?;
            clients.insert(directory.to_owned(), client);
        }
        let Lasting { challenges, metrics, ending, .. } = lasting;
        let (orders, accounts) = (Arc::new(Semaphore::new(AT_ONCE)), Mutex::default());
        Ok(Desk { config, shelf, clock, challenges, metrics, orders, ending, clients, accounts })
    }

    /// Our account with the authority of this directory. Of many who ask at once, one asks the authority.
    pub async fn account(&self, directory: &str) -> Result<Account, Failure> {
        let mut accounts = self.accounts.lock().await;
        match accounts.get(directory) {
            Some(account) => Ok(account.clone()),
            None => self.ask_for_account(directory, &mut accounts).await,
        }
    }

    /// The same, and the authority's clock is known by its answer: since it was asked last, ours may have been set.
    pub async fn account_and_clock(&self, directory: &str) -> Result<Account, Failure> {
        let mut accounts = self.accounts.lock().await;
        accounts.remove(directory);
        self.ask_for_account(directory, &mut accounts).await
    }

    async fn ask_for_account(
        &self,
        directory: &str,
        accounts: &mut HashMap<String, Account>,
    ) -> Result<Account, Failure> {
        let client = self.clients.get(directory).ok_or_else(|| Failure::ours("no such authority is configured"))?;
        let account = account::account(&*self.shelf, client, directory, &self.config).await?;
        accounts.insert(directory.to_owned(), account.clone());
        Ok(account)
    }

    /// The authority does not know this account any more. Another certificate may have found that out before.
    pub async fn forget(&self, directory: &str, account: &Account) {
        let mut accounts = self.accounts.lock().await;
        if accounts.get(directory).is_some_and(|known| known.id() == account.id()) {
            accounts.remove(directory);
        }
        account::forget(&*self.shelf, directory, &self.config, account.id()).await;
    }

    /// Looks at the accounts that are kept; see [`account::look`].
    pub async fn look_at_accounts(&self) {
        for directory in self.clients.keys() {
            if let Err(error) = account::look(&*self.shelf, directory, &self.config).await {
                tracing::warn!(directory, %error, "the account with an authority cannot be read");
            }
        }
    }

    /// What is to be remembered of a failure: where the authority is may have changed.
    pub async fn failed(&self, directory: &str, mut failure: Failure) -> Failure {
        self.accounts.lock().await.remove(directory);
        failure.wait = self.clients.get(directory).and_then(Client::patience);
        failure
    }
}
