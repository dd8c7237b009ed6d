//! What goes wrong in storage, by who can act on it. "Not there" is never an error here: it is `None` or `false`.

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
    /// Larger than the caller's limit in bytes.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// A conditional write met another version.
    #[error("somebody else wrote it first")]
    Conflict,
    /// What is stored cannot be what was written.
    #[error("storage holds damaged content: {0}")]
    Damaged(String),
    #[error("storage failed: {0}")]
    Failed(String),
}
