//! Robots as requests meet them: asked of the shelf, and remembered for a moment.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::Semaphore;

use super::identity::Identity;
use super::robot::{Reach, Robot, Secret, Used};
use super::shelf::{Item, Shelf, ShelfError};
use crate::storage::format;

/// A robot that was revoked is refused everywhere after this.
const REMEMBERED: Duration = Duration::from_secs(3);
const AT_ONCE: usize = 16;
/// Ids that are remembered, whether they exist or not.
const MOST: u64 = 10_000;
/// Of one robot's secret, at most so often by each instance.
const NOTED: Duration = Duration::from_secs(3600);

/// A robot and what it may, read once.
#[derive(Debug)]
pub(super) struct Found {
    robot: Robot,
    reach: Reach,
}

pub(super) struct Robots {
    shelf: Option<Arc<dyn Shelf>>,
    found: Cache<String, Option<Arc<Found>>>,
    noted: Cache<String, ()>,
    /// Who does not know a secret can make as many up as they like: the shelf is asked about so many at once.
    asking: Semaphore,
}

/// Why it cannot be said who a robot is.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the robots cannot be read: {0}")]
pub(super) struct Unreadable(String);

impl Robots {
    pub(super) fn new(shelf: Option<Arc<dyn Shelf>>) -> Self {
        let found = Cache::builder().max_capacity(MOST).time_to_live(REMEMBERED).build();
        let noted = Cache::builder().max_capacity(MOST).time_to_live(NOTED).build();
        Robots { shelf, found, noted, asking: Semaphore::new(AT_ONCE) }
    }

    /// Whose secret it is; `None`: nobody's any more.
    pub(super) async fn with_secret(&self, secret: &Secret, now: u64) -> Result<Option<Identity>, Unreadable> {
        let found =
            self.find(secret.id()).await?.filter(|found| found.robot.has(secret) && found.robot.user().is_none());
        let identity = self.standing(found, secret.id(), now);
        if identity.is_some() {
            self.note(secret.id(), now);
        }
        Ok(identity)
    }

    /// The login of a user that this secret stands for; `None`: none, or not any more.
    pub(super) async fn login(&self, secret: &Secret, now: u64) -> Result<Option<Robot>, Unreadable> {
        let found = self.find(secret.id()).await?;
        let good = |found: &Arc<Found>| {
            found.robot.has(secret) && found.robot.user().is_some() && !found.robot.is_expired(now)
        };
        let found = found.filter(good);
        if found.is_some() {
            self.note(secret.id(), now);
        }
        Ok(found.map(|found| found.robot.clone()))
    }

    /// Keeps what a client may show instead of a user's password; `None`: there is no place for it.
    pub(super) async fn keep_login(&self, robot: &Robot, secret: &Secret) -> Result<Option<()>, ShelfError> {
        match &self.shelf {
            Some(shelf) => keep(&**shelf, robot, secret).await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes away logins that have ended, beside whatever goes on: nobody is waited for.
    pub(super) fn forget_ended(&self, now: u64) {
        let Some(shelf) = self.shelf.clone() else { return };
        tokio::spawn(async move {
            if let Err(error) = remove_ended_logins(&*shelf, now).await {
                tracing::debug!(%error, "refresh tokens that have ended could not be taken away");
            }
        });
    }

    /// Whose id it is, who has shown the secret before; `None`: revoked or expired.
    pub(super) async fn with_id(&self, id: &str, now: u64) -> Result<Option<Identity>, Unreadable> {
        Ok(self.standing(self.find(id).await?, id, now))
    }

    fn standing(&self, found: Option<Arc<Found>>, id: &str, now: u64) -> Option<Identity> {
        let found = found.filter(|found| !found.robot.is_expired(now) && found.robot.user().is_none())?;
        Some(Identity::robot(&found.robot.name, id, found.reach.clone()))
    }

    async fn find(&self, id: &str) -> Result<Option<Arc<Found>>, Unreadable> {
        let Some(shelf) = &self.shelf else { return Ok(None) };
        if let Some(found) = self.found.get(id) {
            return Ok(found);
        }
        let _asking = self.asking.acquire().await;
        // Another request of the same robot may have asked meanwhile.
        if let Some(found) = self.found.get(id) {
            return Ok(found);
        }
        let stored = shelf.get(Item::Robot(id)).await.map_err(|error| Unreadable(error.to_string()))?;
        let found = match stored {
            Some(stored) => Some(Arc::new(read(&stored.bytes).map_err(Unreadable)?)),
            None => None,
        };
        self.found.insert(id.to_owned(), found.clone());
        Ok(found)
    }

    /// Beside the request: who looks for unused robots can wait for it, and a client cannot.
    fn note(&self, id: &str, now: u64) {
        let Some(shelf) = self.shelf.clone().filter(|_| !self.noted.contains_key(id)) else { return };
        self.noted.insert(id.to_owned(), ());
        let id = id.to_owned();
        tokio::spawn(async move {
            let Ok(bytes) = format::write(&Used { at: now }) else { return };
            if let Err(error) = shelf.replace(Item::Used(&id), bytes.into()).await {
                tracing::debug!(%error, "the use of a robot could not be noted");
            }
        });
    }
}

fn read(bytes: &[u8]) -> Result<Found, String> {
    let robot: Robot = format::read(bytes).map_err(|error| error.to_string())?;
    let reach = robot.reach().map_err(|error| error.to_string())?;
    Ok(Found { robot, reach })
}

/// A robot of the shelf, for who lists them.
pub struct Listed {
    pub id: String,
    pub robot: Robot,
    /// Seconds since 1970.
    pub used: Option<u64>,
}

/// All of them, by name and then by time; what cannot be read is told apart.
pub async fn list(shelf: &dyn Shelf) -> Result<(Vec<Listed>, Vec<String>), ShelfError> {
    let (mut listed, mut damaged) = (Vec::new(), Vec::new());
    for id in shelf.robots().await? {
        let Some(stored) = shelf.get(Item::Robot(&id)).await? else { continue };
        let used = shelf.get(Item::Used(&id)).await?;
        let used = used.and_then(|stored| format::read::<Used>(&stored.bytes).ok()).map(|used| used.at);
        match format::read::<Robot>(&stored.bytes) {
            Ok(robot) => listed.push(Listed { id, robot, used }),
            Err(error) => damaged.push(format!("{id}: {error}")),
        }
    }
    listed.sort_by(|one, other| (&one.robot.name, one.robot.created).cmp(&(&other.robot.name, other.robot.created)));
    Ok((listed, damaged))
}

/// Takes away logins that have ended; robots stay, for who wonders what they were.
async fn remove_ended_logins(shelf: &dyn Shelf, now: u64) -> Result<(), ShelfError> {
    for id in shelf.robots().await? {
        let Some(stored) = shelf.get(Item::Robot(&id)).await? else { continue };
        let ended =
            format::read::<Robot>(&stored.bytes).is_ok_and(|robot| robot.user().is_some() && robot.is_expired(now));
        if ended {
            revoke(shelf, &id).await?;
        }
    }
    Ok(())
}

/// Keeps a new one.
pub async fn keep(shelf: &dyn Shelf, robot: &Robot, secret: &Secret) -> Result<(), ShelfError> {
    let bytes = format::write(robot).map_err(|error| ShelfError::Failed(error.to_string()))?;
    shelf.put(Item::Robot(secret.id()), bytes.into(), None).await
}

/// Takes one away; false: there was none. Instances refuse it within [`REMEMBERED`].
pub async fn revoke(shelf: &dyn Shelf, id: &str) -> Result<bool, ShelfError> {
    let was_there = shelf.remove(Item::Robot(id)).await?;
    shelf.remove(Item::Used(id)).await?;
    Ok(was_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::permission::Permission;
    use crate::auth::shelf::tests::Drawer;

    fn made(expires: Option<u64>) -> (Robot, Secret) {
        Robot::make("ci", vec!["**".into()], &[Permission::Pull], (0, expires)).unwrap()
    }

    #[tokio::test]
    async fn a_robot_is_known_until_it_is_revoked_or_ends() {
        let drawer = Arc::new(Drawer::default());
        let (robot, secret) = made(Some(1000));
        keep(&*drawer, &robot, &secret).await.unwrap();
        let robots = Robots::new(Some(drawer.clone()));
        let identity = robots.with_secret(&secret, 10).await.unwrap().unwrap();
        assert_eq!(identity.subject(), "robot:ci");
        assert_eq!(robots.with_id(secret.id(), 999).await.unwrap().unwrap(), identity);
        assert!(robots.with_id(secret.id(), 1000).await.unwrap().is_none());
        assert!(robots.with_secret(&made(None).1, 10).await.unwrap().is_none());
        assert!(revoke(&*drawer, secret.id()).await.unwrap() && !revoke(&*drawer, secret.id()).await.unwrap());
        // Another instance has not asked before.
        assert!(Robots::new(Some(drawer)).with_secret(&secret, 10).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn logins_that_have_ended_go_and_others_stay() {
        let drawer = Drawer::default();
        let (robot, secret) = made(Some(10));
        keep(&drawer, &robot, &secret).await.unwrap();
        let logins = [50, 500].map(|end| Robot::of_login("ann", "standing", (0, end)));
        for (login, secret) in &logins {
            keep(&drawer, login, secret).await.unwrap();
        }
        remove_ended_logins(&drawer, 100).await.unwrap();
        let left: Vec<_> = list(&drawer).await.unwrap().0.into_iter().map(|listed| listed.id).collect();
        assert_eq!(left.len(), 2);
        assert!(left.iter().any(|id| id == secret.id()) && left.iter().any(|id| id == logins[1].1.id()));
    }

    #[tokio::test]
    async fn the_id_alone_is_no_secret() {
        let drawer = Arc::new(Drawer::default());
        let (robot, secret) = made(None);
        keep(&*drawer, &robot, &secret).await.unwrap();
        // Another secret that was kept under the same id.
        let forged = loop {
            let other = made(None).1;
            if other.id() != secret.id() {
                break other;
            }
        };
        drawer.rename(secret.id(), forged.id());
        assert!(Robots::new(Some(drawer)).with_secret(&forged, 1).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn without_a_place_nobody_is_a_robot_and_a_silent_place_says_so() {
        assert!(Robots::new(None).with_secret(&made(None).1, 1).await.unwrap().is_none());
        let drawer = Arc::new(Drawer::default());
        drawer.fail(true);
        assert!(Robots::new(Some(drawer)).with_secret(&made(None).1, 1).await.is_err());
    }

    #[tokio::test]
    async fn a_list_tells_of_use() {
        let drawer = Arc::new(Drawer::default());
        let (robot, secret) = made(None);
        keep(&*drawer, &robot, &secret).await.unwrap();
        assert_eq!(list(&*drawer).await.unwrap().0[0].used, None);
        Robots::new(Some(drawer.clone())).with_secret(&secret, 77).await.unwrap();
        tokio::task::yield_now().await;
        let (listed, damaged) = list(&*drawer).await.unwrap();
        assert_eq!((listed[0].id.as_str(), listed[0].used, damaged.len()), (secret.id(), Some(77), 0));
        drawer.put_raw(secret.id(), b"{");
        assert_eq!(list(&*drawer).await.unwrap().1.len(), 1);
    }
}
