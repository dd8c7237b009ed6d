//! The parsers of `oci` for libFuzzer. The room is compiled here by itself: it needs nothing of the other rooms, so that
//! an instrumented build takes half a minute instead of ten.

#[path = "../../src/oci/mod.rs"]
pub mod oci;
pub mod properties;
