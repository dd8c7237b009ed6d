//! What a client's frames of HTTP/2 cost us, found out before the library reads them: a byte of a compressed head may stand for a
//! field of kilobytes, and a frame of nine bytes for an answer. Nothing is decoded but kinds and lengths (RFC 9113 §4.1, RFC 7541
//! §6); what breaks the grammar is left for the library to find.

/// What a connection may cost before it lets others have the thread, where a byte of a body costs 1. Some 200 µs.
const TURN: usize = 32 << 10;
/// A frame, whatever is in it; a head, of which a request is made; one of its fields.
const FRAME: usize = 256;
const HEAD: usize = 2 << 10;
const FIELD: usize = 64;
/// More than 100 fields are refused, but the connection goes on, for which they have to be decoded. So many nobody sends by mistake.
pub(super) const MOST_FIELDS: usize = 512;

const PREFACE: usize = super::h2::PREFACE.len();
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The frames of one connection, as far as they have passed.
pub(super) struct Frames {
    stage: Stage,
    head: [u8; 9],
    /// Bytes of the present frame that have not passed, and how many of them pad its end.
    left: usize,
    padding: usize,
    block: Block,
    /// Of the present head.
    fields: usize,
    /// Since the turn began.
    cost: usize,
}

/// What the next byte is.
#[derive(Clone, Copy)]
enum Stage {
    /// So many bytes of the preface are still to come.
    Preface(usize),
    /// So many bytes of a frame's head have come.
    Head(usize),
    PadLength,
    /// So many bytes before the fields.
    Priority(usize),
    Fields,
    /// Of no interest, up to the frame's end.
    Rest,
}

/// Where in a block of fields we are. Strings that a field is followed by: its value, or its name and value.
#[derive(Clone, Copy)]
enum Block {
    Field,
    /// The rest of a number; then so many strings.
    Index(u8),
    Length(u8),
    LengthRest {
        strings: u8,
        length: usize,
        shift: u32,
    },
    Text {
        strings: u8,
        left: usize,
    },
}

impl Frames {
    pub(super) fn new() -> Self {
        Frames {
            stage: Stage::Preface(PREFACE),
            head: [0; 9],
            left: 0,
            padding: 0,
            block: Block::Field,
            fields: 0,
            cost: 0,
        }
    }

    /// Others have had the thread, or nothing more was there to read.
    pub(super) fn new_turn(&mut self) {
        self.cost = 0;
    }

    pub(super) fn turn_is_over(&self) -> bool {
        self.cost >= TURN
    }

    /// A head has more fields than are decoded: nothing passes any more.
    pub(super) fn overdone(&self) -> bool {
        self.fields > MOST_FIELDS
    }

    /// How many of these bytes may pass in this turn: all, or up to where it is over, or up to the field that is too much.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.turn_is_over() || self.overdone() {
                break;
            }
            at += self.step(rest);
        }
        at
    }

    /// Goes on by at least one byte; by how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let next = bytes.first().copied().unwrap_or_default();
        match self.stage {
            Stage::Preface(left) => {
                let count = left.min(bytes.len());
                self.stage = if count == left { Stage::Head(0) } else { Stage::Preface(left - count) };
                count
            }
            Stage::Head(filled) => {
                if let Some(place) = self.head.get_mut(filled) {
                    *place = next;
                }
                match filled + 1 < self.head.len() {
                    true => self.stage = Stage::Head(filled + 1),
                    false => self.begin(),
                }
                1
            }
            Stage::PadLength => {
                self.padding = usize::from(next);
                self.stage = self.after_pad_length();
                self.took(1)
            }
            Stage::Priority(left) => {
                self.stage = if left > 1 { Stage::Priority(left - 1) } else { Stage::Fields };
                self.took(1)
            }
            Stage::Fields if self.left > self.padding => {
                let most = bytes.len().min(self.left - self.padding);
                let count = self.block(bytes.get(..most).unwrap_or(bytes));
                self.took(count)
            }
            Stage::Fields | Stage::Rest => self.took(self.left.min(bytes.len())),
        }
    }

    /// A frame's head is whole.
    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.padding = 0;
        self.cost += FRAME + if kind == HEADERS { HEAD } else { 0 };
        self.stage = match kind {
            HEADERS => {
                (self.fields, self.block) = (0, Block::Field);
                if flags & PADDED != 0 { Stage::PadLength } else { self.after_pad_length() }
            }
            CONTINUATION => Stage::Fields,
            _ => Stage::Rest,
        };
        self.took(0);
    }

    fn after_pad_length(&self) -> Stage {
        let [.., flags, _, _, _, _] = self.head;
        if flags & PRIORITY != 0 { Stage::Priority(5) } else { Stage::Fields }
    }

    /// So many bytes of the frame have passed; it may be over.
    fn took(&mut self, count: usize) -> usize {
        self.left = self.left.saturating_sub(count);
        self.cost += count;
        if self.left == 0 {
            self.stage = Stage::Head(0);
        }
        count
    }

    /// Goes on in a block of fields by at least one byte; by how many.
    fn block(&mut self, bytes: &[u8]) -> usize {
        if let Block::Text { strings, left } = self.block {
            let count = left.min(bytes.len());
            self.block = text(strings, left - count);
            return count;
        }
        let next = bytes.first().copied().unwrap_or_default();
        self.block = match self.block {
            Block::Field => self.field(next),
            Block::Index(strings) if next & 0x80 != 0 => Block::Index(strings),
            Block::Index(strings) => strings_follow(strings),
            Block::Length(strings) => match next & 0x7f {
                0x7f => Block::LengthRest { strings, length: 0x7f, shift: 0 },
                length => text(strings, usize::from(length)),
            },
            Block::LengthRest { strings, length, shift } => {
                let more = usize::from(next & 0x7f).checked_shl(shift).unwrap_or(usize::MAX);
                let length = length.saturating_add(more);
                match next & 0x80 {
                    0 => text(strings, length),
                    _ => Block::LengthRest { strings, length, shift: shift + 7 },
                }
            }
            text => text,
        };
        1
    }

    /// The first byte of a field, or of a new size for the table (RFC 7541 §6).
    fn field(&mut self, first: u8) -> Block {
        // The bits of a number that the first byte has, and how many strings follow when its name is in a table.
        let (bits, strings) = match first {
            0x80.. => (0x7f, 0),
            0x40.. => (0x3f, 1),
            0x20.. => (0x1f, 0),
            _ => (0x0f, 1),
        };
        if !(0x20..0x40).contains(&first) {
            self.fields += 1;
            self.cost += FIELD;
        }
        match first & bits {
            number if number == bits => Block::Index(strings),
            0 if strings == 1 => Block::Length(2),
            _ => strings_follow(strings),
        }
    }
}

fn strings_follow(strings: u8) -> Block {
    match strings {
        0 => Block::Field,
        strings => Block::Length(strings),
    }
}

/// A string of which so many bytes are left, the first of `strings`.
fn text(strings: u8, left: usize) -> Block {
    match left {
        0 => strings_follow(strings.saturating_sub(1)),
        left => Block::Text { strings, left },
    }
}

#[cfg(test)]
mod tests;
