//! The cells: who asks by what for which thing where.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Filesystem,
    Minio,
    /// Open peers; our own rules come first. Nothing is written through it.
    ClusterByRules,
    /// distribution v3, which takes the tokens that we give.
    ClusterByPeers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing has been read through this process; who may least asks first.
    Cold,
    /// Who may has read everything.
    Warm,
    /// The same with Redis, which is emptied again and again.
    Flushed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Anonymous,
    /// A user with another's password.
    WrongPassword,
    RevokedRobot,
    /// The writer, by a token that has ended a while ago.
    Expired,
    /// May write elsewhere.
    Other,
    Reader,
    Writer,
    Robot,
    Admin,
}

/// What is shown of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shown {
    Nothing,
    Basic,
    Bearer,
}

pub const ASKERS: [(Who, Shown); 16] = [
    (Who::Anonymous, Shown::Nothing),
    (Who::Anonymous, Shown::Bearer),
    (Who::WrongPassword, Shown::Basic),
    (Who::RevokedRobot, Shown::Basic),
    (Who::RevokedRobot, Shown::Bearer),
    (Who::Expired, Shown::Bearer),
    (Who::Other, Shown::Basic),
    (Who::Other, Shown::Bearer),
    (Who::Reader, Shown::Basic),
    (Who::Reader, Shown::Bearer),
    (Who::Writer, Shown::Basic),
    (Who::Writer, Shown::Bearer),
    (Who::Robot, Shown::Basic),
    (Who::Robot, Shown::Bearer),
    (Who::Admin, Shown::Basic),
    (Who::Admin, Shown::Bearer),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Not everybody's.
    Team,
    /// In the same rules, and not there.
    Absent,
    /// Everybody may pull.
    Public,
    /// The other's own; only mounted from.
    Hidden,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Place::Team => "team/app",
            Place::Absent => "team/none",
            Place::Public => "public/app",
            Place::Hidden => "other/hidden",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    Base,
    Catalog,
    Tags,
    TagGet,
    TagHead,
    DigestGet,
    DigestHead,
    BlobGet,
    BlobHead,
    Referrers,
    /// A manifest under a tag that is not there; that is there and moves; that is there and stays.
    TagPut,
    TagMove,
    TagAgain,
    DigestPut,
    TagDelete,
    DigestDelete,
    BlobDelete,
    UploadStart,
    /// From where everybody may pull; from where only some may.
    MountPublic,
    MountHidden,
    /// Of an upload that the asker has opened, if they may open any.
    UploadPatch,
    UploadPut,
    UploadGet,
    UploadDelete,
    /// Of an upload of somebody else.
    OthersPatch,
    OthersPut,
    OthersGet,
    OthersDelete,
}

pub const READS: [Route; 8] = [
    Route::Tags,
    Route::TagGet,
    Route::TagHead,
    Route::DigestGet,
    Route::DigestHead,
    Route::BlobGet,
    Route::BlobHead,
    Route::Referrers,
];

const WRITES: [Route; 18] = [
    Route::TagPut,
    Route::TagMove,
    Route::TagAgain,
    Route::DigestPut,
    Route::TagDelete,
    Route::DigestDelete,
    Route::BlobDelete,
    Route::UploadStart,
    Route::MountPublic,
    Route::MountHidden,
    Route::UploadPatch,
    Route::UploadPut,
    Route::UploadGet,
    Route::UploadDelete,
    Route::OthersPatch,
    Route::OthersPut,
    Route::OthersGet,
    Route::OthersDelete,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub route: Route,
    pub place: Place,
    pub who: Who,
    pub shown: Shown,
}

impl Cell {
    pub fn name(&self, backend: Backend, state: State) -> String {
        let Cell { route, place, who, shown } = self;
        format!("{backend:?} {state:?}, {route:?} in {place:?} as {who:?} by {shown:?}")
    }
}

/// All of one backend in one state.
pub fn cells() -> Vec<Cell> {
    let mut asked = vec![(Route::Base, Place::Team), (Route::Catalog, Place::Team)];
    for place in [Place::Team, Place::Absent, Place::Public] {
        asked.extend(READS.map(|route| (route, place)));
    }
    asked.extend(WRITES.map(|route| (route, Place::Team)));
    asked.extend([Route::UploadStart, Route::TagDelete, Route::BlobDelete].map(|route| (route, Place::Absent)));
    let by_all = |(route, place)| ASKERS.map(|(who, shown)| Cell { route, place, who, shown });
    asked.into_iter().flat_map(by_all).collect()
}

impl Backend {
    pub const ALL: [Backend; 4] =
        [Backend::Filesystem, Backend::Minio, Backend::ClusterByRules, Backend::ClusterByPeers];
}

impl State {
    pub const ALL: [State; 3] = [State::Cold, State::Warm, State::Flushed];
}
