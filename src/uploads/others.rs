//! Distribution's uploads in the same tree, for whoever looks after them: it is for them that a collection refuses.

use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;

use super::inner::Inner;
use super::purge::DEEPEST;
use super::{Uploads, keys};
use crate::storage::{Error, layout};

/// Folders that are looked at at once.
const AT_ONCE: usize = 16;
/// Levels of folders in a session: `hashstates/sha256`.
const LEVELS: usize = 2;

/// An upload of another program, as its files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherUpload {
    /// Its folder's name.
    pub id: String,
    pub repository: String,
    /// As it says itself, if it says so.
    pub began: Option<SystemTime>,
    /// When a file of it was written last.
    pub touched: SystemTime,
    /// On an object store those of a part under way are not seen.
    pub bytes: u64,
}

/// Where one is.
struct Session {
    repository: String,
    id: String,
}

impl Session {
    fn folder(&self) -> String {
        format!("{}/{}/{}/{}", layout::REPOSITORIES, self.repository, keys::OTHERS, self.id)
    }
}

impl Uploads {
    /// Those of other programs, at most so many, and whether there are more. Asks storage once for each repository.
    pub async fn of_others(&self, most: usize) -> Result<(Vec<OtherUpload>, bool), Error> {
        let (sessions, more) = sessions(&self.inner, &|_| true, most).await?;
        let mut looks =
            futures::stream::iter(sessions).map(|session| describe(&self.inner, session)).buffer_unordered(AT_ONCE);
        let mut found = Vec::new();
        while let Some(upload) = looks.next().await {
            found.push(upload?);
        }
        found.sort_by_key(|upload| upload.touched);
        Ok((found, more))
    }

    /// Deletes what has arrived of these; what they were. Their program answers whoever goes on with one that there is none.
    pub async fn give_up_others(&self, ids: &[String]) -> Result<Vec<OtherUpload>, Error> {
        let (sessions, _) = sessions(&self.inner, &|id| ids.iter().any(|wanted| wanted == id), usize::MAX).await?;
        let mut ended = Vec::new();
        for session in sessions {
            let folder = session.folder();
            let upload = describe(&self.inner, session).await?;
            self.inner.store().delete_all(&folder).await?;
            ended.push(upload);
        }
        Ok(ended)
    }
}

/// Of all repositories, a level of their names after the other.
async fn sessions(
    inner: &Inner,
    wanted: &(dyn Fn(&str) -> bool + Send + Sync),
    most: usize,
) -> Result<(Vec<Session>, bool), Error> {
    let (mut level, mut found) = (vec![String::new()], Vec::new());
    for _ in 0..=DEEPEST {
        let mut next = Vec::new();
        let mut looks = futures::stream::iter(level).map(|path| look(inner, path)).buffer_unordered(AT_ONCE);
        while let Some(looked) = looks.next().await {
            let (paths, sessions) = looked?;
            next.extend(paths);
            found.extend(sessions.into_iter().filter(|session| wanted(&session.id)));
            if found.len() > most {
                found.truncate(most);
                return Ok((found, true));
            }
        }
        drop(looks);
        if next.is_empty() {
            break;
        }
        level = next;
    }
    Ok((found, false))
}

/// What is below a path of repositories, and the sessions of the repository that it is.
async fn look(inner: &Inner, path: String) -> Result<(Vec<String>, Vec<Session>), Error> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    let folder = match path.as_str() {
        "" => layout::REPOSITORIES.to_owned(),
        path => format!("{}/{path}", layout::REPOSITORIES),
    };
    let (mut paths, mut sessions) = (Vec::new(), Vec::new());
    for name in inner.store().list(&folder).await?.folders {
        if name == keys::OTHERS && !path.is_empty() {
            let ids = inner.store().list(&format!("{folder}/{name}")).await?.folders;
            sessions.extend(ids.into_iter().map(|id| Session { repository: path.clone(), id }));
        } else if !name.starts_with('_') {
            paths.push(below(&name));
        }
    }
    Ok((paths, sessions))
}

async fn describe(inner: &Inner, session: Session) -> Result<OtherUpload, Error> {
    let folder = session.folder();
    let (mut bytes, mut touched) = (0, UNIX_EPOCH);
    let mut folders = vec![(folder.clone(), 0)];
    while let Some((path, depth)) = folders.pop() {
        let found = inner.store().list(&path).await?;
        for file in &found.files {
            touched = touched.max(file.changed);
            if depth == 0 && file.name == keys::DATA {
                bytes = file.size;
            }
        }
        if depth < LEVELS {
            folders.extend(found.folders.into_iter().map(|name| (format!("{path}/{name}"), depth + 1)));
        }
    }
    let began = inner.started(&folder).await?;
    Ok(OtherUpload { id: session.id, repository: session.repository, began, touched, bytes })
}
