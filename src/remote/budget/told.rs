//! What is told of budgets to people and programs that ask.

use serde::Serialize;

/// The budgets at one remote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BudgetState {
    /// Nothing at all is asked for so long: it was too much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_seconds: Option<u64>,
    pub credentials: Vec<PullsLeft>,
}

/// What one credential has left. Two that the remote counts together have one `source`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PullsLeft {
    /// A user's name, `anonymous`, or how a helper is called.
    pub credential: String,
    /// By what the remote counts: an address or an account, as it told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `None`: it never told, or long ago, as where there is no limit.
    pub left: Option<u64>,
    pub limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
    /// None are left; the next is tried after so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u64>,
}
