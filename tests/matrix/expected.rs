//! What each cell is answered, written from what was promised and not from the program.

use super::cells::{Backend, Cell, Place, Route, Shown, Who};
use crate::harness::Answer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Who asks may; this is what the registry says.
    Status(u16),
    /// 401 with a challenge: log in.
    Login,
    /// 401 with a challenge: get another token.
    InvalidToken,
    /// 401 with a challenge: this token is for something else.
    InsufficientScope,
    /// 403: known, and may not.
    Denied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Pull,
    Push,
    Overwrite,
    Delete,
    Catalog,
}

/// The rules of [`super::world::RULES`], and what the robot was made for.
fn may(who: Who, action: Action, place: Place) -> bool {
    use Action::{Catalog, Overwrite, Pull, Push};
    let team = matches!(place, Place::Team | Place::Absent);
    match who {
        Who::Admin => true,
        _ if place == Place::Public && action == Pull => true,
        Who::Other if action == Catalog => true,
        Who::Other => place == Place::Hidden && matches!(action, Pull | Push | Overwrite),
        Who::Reader => team && action == Pull,
        Who::Writer | Who::Robot => team && matches!(action, Pull | Push),
        Who::Anonymous | Who::WrongPassword | Who::RevokedRobot | Who::Expired => false,
    }
}

pub fn may_push(who: Who, place: Place) -> bool {
    may(who, Action::Push, place)
}

/// What a request needs; `None`: nothing but to be somebody.
fn needed(route: Route) -> Option<Action> {
    Some(match route {
        Route::Base => return None,
        Route::Catalog => Action::Catalog,
        Route::Tags | Route::TagGet | Route::TagHead | Route::DigestGet | Route::DigestHead => Action::Pull,
        Route::BlobGet | Route::BlobHead | Route::Referrers => Action::Pull,
        Route::TagPut | Route::TagMove | Route::TagAgain | Route::DigestPut => Action::Push,
        Route::TagDelete | Route::DigestDelete | Route::BlobDelete => Action::Delete,
        Route::UploadStart | Route::MountPublic | Route::MountHidden => Action::Push,
        Route::UploadPatch | Route::UploadPut | Route::UploadGet | Route::UploadDelete => Action::Push,
        Route::OthersPatch | Route::OthersPut | Route::OthersGet | Route::OthersDelete => Action::Push,
    })
}

/// What whoever may is answered by the registry.
fn done(route: Route, place: Place) -> u16 {
    match route {
        Route::Base | Route::Catalog => 200,
        // "MUST NOT be 404", also for what is not there.
        Route::Referrers => 200,
        _ if place == Place::Absent && route != Route::UploadStart => 404,
        Route::Tags | Route::TagGet | Route::TagHead | Route::DigestGet | Route::DigestHead => 200,
        Route::BlobGet | Route::BlobHead => 200,
        Route::TagPut | Route::TagMove | Route::TagAgain | Route::DigestPut => 201,
        Route::TagDelete | Route::DigestDelete | Route::BlobDelete => 202,
        Route::UploadStart => 202,
        Route::MountPublic | Route::MountHidden => 201,
        Route::UploadPatch | Route::OthersPatch => 202,
        Route::UploadPut | Route::OthersPut => 201,
        Route::UploadGet | Route::OthersGet | Route::UploadDelete | Route::OthersDelete => 204,
    }
}

fn is_own_upload(route: Route) -> bool {
    matches!(route, Route::UploadPatch | Route::UploadPut | Route::UploadGet | Route::UploadDelete)
}

fn is_others_upload(route: Route) -> bool {
    matches!(route, Route::OthersPatch | Route::OthersPut | Route::OthersGet | Route::OthersDelete)
}

pub fn expected(backend: Backend, cell: &Cell) -> Expected {
    match backend {
        Backend::Filesystem | Backend::Minio => by_rules(cell),
        Backend::ClusterByRules => before_open_peers(cell),
        Backend::ClusterByPeers => by_peers(cell),
    }
}

fn by_rules(cell: &Cell) -> Expected {
    let Cell { route, place, who, shown } = *cell;
    match who {
        // A credential that is nobody's is never taken for nobody's at all, not even where everybody may.
        Who::WrongPassword => return Expected::Login,
        Who::RevokedRobot if shown == Shown::Basic => return Expected::Login,
        Who::RevokedRobot => return Expected::InvalidToken,
        // Good for the uploads of its subject, and for nothing else.
        Who::Expired if is_own_upload(route) => return Expected::Status(done(route, place)),
        Who::Expired => return Expected::InvalidToken,
        _ => {}
    }
    let allowed = match needed(route) {
        None => who != Who::Anonymous || shown == Shown::Bearer,
        Some(action) => may(who, action, place),
    };
    match shown {
        Shown::Nothing if !allowed => Expected::Login,
        Shown::Basic if !allowed => Expected::Denied,
        Shown::Bearer if !allowed => Expected::InsufficientScope,
        // No token would help.
        _ if route == Route::TagMove && !may(who, Action::Overwrite, place) => Expected::Denied,
        // As if it were not there.
        _ if is_others_upload(route) => Expected::Status(404),
        // From where one may not read, nothing is there: an upload begins.
        _ if route == Route::MountHidden && !may(who, Action::Pull, Place::Hidden) => Expected::Status(202),
        _ => Expected::Status(done(route, place)),
    }
}

/// Docker-registry 2.8 behind our rules, which asks nobody anything.
fn before_open_peers(cell: &Cell) -> Expected {
    if cell.who == Who::Expired {
        // Whose an upload is, the peer does not know.
        return Expected::InvalidToken;
    }
    match (by_rules(cell), cell.route) {
        // So that whoever may push, and knows its address, may go on with it.
        (Expected::Status(_), route) if is_others_upload(route) => Expected::Status(done(route, cell.place)),
        // 2.8 has none, and deletes no tags.
        (Expected::Status(_), Route::Referrers) => Expected::Status(404),
        (Expected::Status(_), Route::TagDelete) => Expected::Status(400),
        (other, _) => other,
    }
}

/// The peer's own words: it knows tokens and nothing else, and hears of no revocation before a token's end.
fn by_peers(cell: &Cell) -> Expected {
    let Cell { route, place, who, shown } = *cell;
    if route == Route::Referrers {
        // v3 has none, for nobody.
        return Expected::Status(404);
    }
    if shown != Shown::Bearer {
        return Expected::Login;
    }
    if who == Who::Expired {
        return Expected::InvalidToken;
    }
    let who = if who == Who::RevokedRobot { Who::Robot } else { who };
    let needed = match route {
        Route::UploadGet | Route::OthersGet => Some(Action::Pull),
        Route::UploadDelete | Route::OthersDelete => Some(Action::Delete),
        _ => needed(route),
    };
    // To mount is to pull from there.
    let from = route != Route::MountHidden || may(who, Action::Pull, Place::Hidden);
    if !from || needed.is_some_and(|action| !may(who, action, place)) {
        return Expected::InsufficientScope;
    }
    Expected::Status(done(route, place))
}

impl Expected {
    pub fn is_refusal(self) -> bool {
        !matches!(self, Expected::Status(_))
    }

    /// # Errors
    /// What is wrong with the answer.
    pub fn met_by(self, answer: &Answer, cell: &Cell) -> Result<(), String> {
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let error = challenge.split_once(",error=").map_or("", |(_, error)| error);
        let (status, code, said) = match self {
            Expected::Status(status) => (status, None, ""),
            Expected::Login => (401, Some("UNAUTHORIZED"), ""),
            Expected::InvalidToken => (401, Some("UNAUTHORIZED"), "\"invalid_token\""),
            Expected::InsufficientScope => (401, Some("UNAUTHORIZED"), "\"insufficient_scope\""),
            Expected::Denied => (403, Some("DENIED"), ""),
        };
        let head = matches!(cell.route, Route::TagHead | Route::DigestHead | Route::BlobHead);
        let code_is = head || code.is_none_or(|code| answer.error_code() == code);
        let challenged = challenge.starts_with("Bearer realm=") == (status == 401);
        match answer.status == status && error == said && code_is && challenged {
            true => Ok(()),
            false => Err(format!("{self:?} expected, and it was {} {challenge} {}", answer.status, answer.text())),
        }
    }
}
