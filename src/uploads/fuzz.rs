//! What must hold for what is read of an upload's state, whatever it holds.

use super::state::UploadState;

/// A state that is believed is written as it was read, and its hash is known or not, but nothing breaks.
pub fn state(bytes: &[u8]) {
    let Ok(state) = UploadState::decode(bytes) else { return };
    drop(state.hasher());
    assert!(state.touched() >= state.began());
    let again = state.encode().ok().and_then(|text| UploadState::decode(&text).ok());
    assert_eq!(again, Some(state));
}
