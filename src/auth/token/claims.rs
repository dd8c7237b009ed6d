//! What stands in a token of ours. The names are those of distribution's token protocol; `ent` is ours.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    /// Name of who it was given to; empty for nobody.
    pub sub: String,
    /// One text: distribution 2.8 reads no list.
    pub aud: String,
    /// Seconds since 1970, all three.
    pub exp: u64,
    pub nbf: u64,
    pub iat: u64,
    pub jti: String,
    pub access: Vec<Access>,
    pub ent: Subject,
}

/// What was granted of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub actions: Vec<String>,
}

/// Who it was given to, so that it can be asked later whether they still are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "lowercase")]
pub enum Subject {
    Anonymous,
    User {
        /// Tied to the password.
        #[serde(rename = "v")]
        version: String,
    },
    Robot {
        /// Of its secret.
        #[serde(rename = "s")]
        id: String,
    },
    Workload {
        /// Of the entry of the configuration that it is here by.
        #[serde(rename = "v")]
        version: String,
    },
}
