//! 10,000 handshakes, while the keys of five certificates are changed again and again.

#[path = "../acme/handshakes.rs"]
mod handshakes;
#[path = "../acme/world.rs"]
mod world;

#[test]
fn no_handshake_of_ten_thousand_fails_while_keys_are_changed() {
    handshakes::none_fails_while_keys_are_changed(10_000, 5);
}
