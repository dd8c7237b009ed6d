//! What goes wrong in storage, by who can act on it. "Not there" is never an error here: it is `None` or `false`.

use std::io;

/// Why storage could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Does not answer, answers 5xx or SlowDown beyond our retries, or took too long: try again later.
    #[error("storage does not answer: {0}")]
    Unavailable(String),
    /// No space left, or a quota is reached.
    #[error("storage is full: {0}")]
    Full(String),
    /// Credentials or permissions are wrong: the operator must act.
    #[error("storage refuses us: {0}")]
    Refused(String),
    /// The operator wants nothing to be written now; storage was not asked. A sentence for people.
    #[error("{0}")]
    Closed(String),
    /// Larger than the caller's limit in bytes.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// A conditional write met another version.
    #[error("somebody else wrote it first")]
    Conflict,
    /// What is stored cannot be what was written.
    #[error("storage holds damaged content: {0}")]
    Damaged(String),
    /// One of our own files, written by a newer version of this program in a format that we do not know.
    #[error("{what} in storage is of version {found}, and this program knows {known}: a newer one has written it")]
    Newer { what: &'static str, found: u32, known: u32 },
    #[error("storage failed: {0}")]
    Failed(String),
}

impl Error {
    /// For clients, who cannot see the log: why, without a name, an address or a path of ours.
    pub fn told(&self) -> &'static str {
        match self {
            Error::Unavailable(_) | Error::Conflict => "the registry's storage does not answer now: try again",
            Error::Full(_) => "the registry's storage is full: nothing can be pushed until there is space again",
            Error::Refused(why) => told_of_refusal(why),
            Error::Closed(_) => "the registry takes no writes now: try again later",
            Error::TooLarge(_) => "what is stored of it is larger than the registry reads",
            Error::Damaged(_) => "what is stored of it is damaged: push it again",
            Error::Newer { .. } => "what is stored of it was written by a newer version of the registry",
            Error::Failed(_) => "the registry's storage failed: its operator finds out why in the log",
        }
    }
}

fn told_of_refusal(why: &str) -> &'static str {
    let says = |signs: &[&str]| signs.iter().any(|sign| why.contains(sign));
    if says(&["NoSuchBucket", "ContainerNotFound"]) {
        "the registry's bucket does not exist: its operator must act"
    } else if says(&["InvalidBucketName", "InvalidResourceName", "OutOfRangeInput"]) {
        "the registry's bucket has a name that its store does not take: its operator must act"
    } else if says(&["Read-only file system"]) {
        "the registry's storage is read-only: nothing can be pushed or deleted"
    } else if says(&["InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "AuthorizationFailure"]) {
        "the registry's storage does not know its credentials: its operator must act"
    } else {
        "the registry's storage refuses it, for its keys or their permissions: its operator must act"
    }
}

/// Of a disk, by who can act on it.
pub(crate) fn io_error(error: io::Error) -> Error {
    use rustix::io::Errno;
    let text = error.to_string();
    match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Error::Full(text),
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Error::Refused(text),
        Some(Errno::LOOP | Errno::XDEV) => Error::Refused("a symlink leads out of the root".to_owned()),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::TIMEDOUT | Errno::STALE) => Error::Unavailable(text),
        _ if error.kind() == io::ErrorKind::TimedOut => Error::Unavailable(text),
        _ => Error::Failed(text),
    }
}

/// Runs what blocks on a thread for that. It runs to its end even if nobody waits for it any more.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(E::from(Error::Failed(error.to_string()))),
    }
}
