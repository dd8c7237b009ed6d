//! What a request counts for. A rate counts usual requests; what is cheap for us is a part of one, what is dear several.

/// A usual request: GET of content, a list, a push.
pub const REQUEST: u32 = 4;
/// HEAD, OPTIONS, and `/v2/`: clients ask them by the dozen, and nothing is sent.
pub const CHEAP: u32 = 1;
/// A token is signed, and rules are asked for each of its scopes.
pub const TOKEN: u32 = 4 * REQUEST;
/// A password that has to be computed, beside the request that shows it.
pub const PASSWORD: u32 = 3 * REQUEST;
/// The costliest that one request can be: there is always room for one after a pause.
pub const MOST: u32 = TOKEN + PASSWORD;

/// In the count of logins: one that turns out to be right, and one that is wrong.
pub const LOGIN: u32 = 1;
pub const WRONG: u32 = 2;
