//! What must hold for everything that commands read and others wrote, whatever it is.

/// A configuration of nginx: refused at a line, or made into one of ours that has what it promises.
pub fn nginx(bytes: &[u8]) {
    super::import::nginx::property(bytes);
}
