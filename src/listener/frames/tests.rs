//! Forms of fields, and what passes in a turn.

use super::*;

fn frame(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], body].concat()
}

fn begun() -> Frames {
    let mut frames = Frames::new();
    assert_eq!(frames.pass(crate::listener::h2::PREFACE), PREFACE);
    frames
}

/// Lets all of it pass, in pieces, with a new turn whenever one is over.
fn all(frames: &mut Frames, bytes: &[u8], piece: usize) -> bool {
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            piece = &piece[frames.pass(piece)..];
            if frames.overdone() {
                return false;
            }
            frames.new_turn();
        }
    }
    true
}

/// A block with each form of a field, and how many those are.
fn forms() -> (Vec<u8>, usize) {
    let long = [b"\x7f\x81\x00".to_vec(), vec![b'v'; 0x7f + 1]].concat();
    let parts: [&[u8]; 9] = [
        b"\x82",                     // indexed
        b"\xff\x80\x01",             // indexed, in three bytes
        b"\x3f\xe1\x1f",             // a new size: no field
        b"\x44\x01/",                // kept, its name indexed
        b"\x40\x01a\x02bc",          // kept, its name spelt
        b"\x7f\x00\x01b",            // kept, the index in two bytes
        b"\x00\x01a\x00",            // not kept, an empty value
        b"\x1f\x05\x83\x01\x02\x03", // never kept, Huffman's code
        &[b"\x10\x01a", &long[..]].concat(),
    ];
    (parts.concat(), 8)
}

#[test]
fn each_form_of_a_field_counts_once_however_its_bytes_come() {
    let (block, count) = forms();
    let (first, rest) = block.split_at(block.len() / 2);
    let padded = [&[3, 0, 0, 0, 0, 7][..], &block, &[0x82; 3]].concat();
    let heads = [
        frame(HEADERS, 0x4, &block),
        frame(HEADERS, 0x4 | PADDED | PRIORITY, &padded),
        [frame(HEADERS, 0, first), frame(CONTINUATION, 0x4, rest)].concat(),
        [frame(HEADERS, 0, &[]), frame(CONTINUATION, 0, &block), frame(CONTINUATION, 0x4, &[])].concat(),
    ];
    for head in &heads {
        for piece in [1, 2, 7, 1000] {
            let mut frames = begun();
            assert!(all(&mut frames, &[&frame(0, 0, b"\x82\x82")[..], head].concat(), piece));
            assert_eq!(frames.fields, count);
        }
    }
}

#[test]
fn a_head_of_too_many_fields_does_not_pass_and_those_before_it_do() {
    let good = frame(HEADERS, 0x4, &[0x82; MOST_FIELDS]);
    let bad = frame(HEADERS, 0x4, &[0x82; MOST_FIELDS + 1]);
    for piece in [1, 100, 10_000] {
        let mut frames = begun();
        assert!(all(&mut frames, &good.repeat(3), piece));
        assert!(!all(&mut frames, &bad, piece));
        assert_eq!(frames.pass(b"more"), 0);
    }
}

#[test]
fn fields_are_dearer_than_their_bytes_and_frames_than_what_is_in_them() {
    let passed = |bytes: &[u8]| begun().pass(bytes);
    let body = frame(0, 0, &[0; 20_000]);
    assert_eq!(passed(&body), body.len());
    let heads = frame(HEADERS, 0x4, &[0x82; 300]).repeat(10);
    assert!(passed(&heads) < heads.len() / 5);
    let pings = frame(6, 0, b"entrepot").repeat(1000);
    assert!(passed(&pings) < pings.len() / 5);
}
