//! What is said beside the configuration: what of nginx's has no counterpart, what is done in another way, and why.

use std::fmt::Write as _;

use super::tree::Place;

/// How much it matters; those that matter most come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// nginx keeps somebody from something here, and the result does not.
    Opener,
    /// It is not in the result.
    Lost,
    /// It is, in another way.
    Other,
    /// The result does the same without it, or has nothing that it could be for.
    Needless,
}

/// Places of one note that are shown; of the others, how many they are.
const MAX_PLACES: usize = 6;
/// Different notes: more is no help.
const MAX_NOTES: usize = 500;
/// Columns of a comment.
const WIDTH: usize = 118;

struct Note {
    weight: Weight,
    what: String,
    why: String,
    places: Vec<Place>,
    more: usize,
}

#[derive(Default)]
pub struct Notes {
    notes: Vec<Note>,
    left_out: usize,
    /// A server or a part of one is not in the result, or lets more through there.
    incomplete: bool,
}

impl Weight {
    const ALL: [Weight; 4] = [Weight::Opener, Weight::Lost, Weight::Other, Weight::Needless];

    fn heading(self) -> &'static str {
        match self {
            Weight::Opener => "LOOK AT THESE FIRST: nginx lets less through here than what is below",
            Weight::Lost => "Has no counterpart",
            Weight::Other => "Is done in another way",
            Weight::Needless => "Is not needed",
        }
    }
}

impl Notes {
    /// The same said of several places is one note.
    pub fn say(&mut self, weight: Weight, what: impl Into<String>, why: impl Into<String>, at: &Place) {
        self.incomplete |= weight == Weight::Opener;
        let (what, why) = (plain(&what.into()), plain(&why.into()));
        let known = self.notes.iter_mut().find(|note| note.weight == weight && note.what == what && note.why == why);
        if let Some(note) = known {
            match (note.places.contains(at), note.places.len() < MAX_PLACES) {
                (true, _) => {}
                (false, true) => note.places.push(at.clone()),
                (false, false) => note.more += 1,
            }
            return;
        }
        match self.notes.len() < MAX_NOTES {
            true => self.notes.push(Note { weight, what, why, places: vec![at.clone()], more: 0 }),
            false => self.left_out += 1,
        }
    }

    /// A server, a location, or an address: who asks there is answered otherwise than by nginx, where a directive that is lost changes how.
    pub fn leave(&mut self, what: impl Into<String>, why: impl Into<String>, at: &Place) {
        self.incomplete = true;
        self.lost(what, why, at);
    }

    pub fn is_complete(&self) -> bool {
        !self.incomplete
    }

    pub fn lost(&mut self, what: impl Into<String>, why: impl Into<String>, at: &Place) {
        self.say(Weight::Lost, what, why, at);
    }

    pub fn other(&mut self, what: impl Into<String>, why: impl Into<String>, at: &Place) {
        self.say(Weight::Other, what, why, at);
    }

    pub fn opener(&mut self, what: impl Into<String>, why: impl Into<String>, at: &Place) {
        self.say(Weight::Opener, what, why, at);
    }

    /// A line for each, under headings.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for weight in Weight::ALL {
            let notes: Vec<&Note> = self.notes.iter().filter(|note| note.weight == weight).collect();
            if !notes.is_empty() {
                lines.push(format!("{}:", weight.heading()));
                lines.extend(notes.into_iter().map(Note::line));
            }
        }
        if self.left_out > 0 {
            lines.push(format!("… and {} more of the kind", self.left_out));
        }
        lines
    }

    /// The same as comments.
    pub fn comments(&self) -> String {
        let mut text = String::new();
        for line in self.lines() {
            wrapped(&mut text, &line);
        }
        text
    }
}

impl Note {
    fn line(&self) -> String {
        let mut line = String::from("  ");
        for (index, place) in self.places.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(line, "{}{place}", if index > 0 { ", " } else { "" });
        }
        if self.more > 0 {
            let _ = write!(line, " and {} more", self.more);
        }
        let _ = write!(line, ": {}: {}", self.what, self.why);
        line
    }
}

/// A comment in as many lines as it needs.
pub fn wrapped(text: &mut String, line: &str) {
    let indent: String = line.chars().take_while(|c| *c == ' ').collect();
    let mut column = 0;
    for word in line.split_whitespace() {
        let width = word.chars().count();
        if column == 0 || column + width + 1 > WIDTH {
            let hang = if column == 0 { "" } else { "  " };
            let _ = write!(text, "{}# {indent}{hang}{word}", if column == 0 { "" } else { "\n" });
            column = indent.len() + hang.len() + 2 + width;
        } else {
            let _ = write!(text, " {word}");
            column += width + 1;
        }
    }
    text.push('\n');
}

/// Text of a file as it can be shown on a line.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_several_places_is_said_once_and_the_weightiest_first() {
        let mut notes = Notes::default();
        let at = |line| Place { file: "n.conf".into(), line };
        notes.say(Weight::Needless, "gzip", "no", &at(1));
        (2..20).for_each(|line| notes.lost("sub_filter", "bodies\nstay", &at(line)));
        notes.lost("sub_filter", "bodies\nstay", &at(2));
        notes.opener("geo", "all", &at(30));
        let lines = notes.lines();
        assert_eq!(lines[1], "  n.conf:30: geo: all");
        assert!(
            lines[3].contains("n.conf:2, n.conf:3,") && lines[3].contains("and 12 more: sub_filter: bodies stay"),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 6);
        (0..600).for_each(|n| notes.lost(format!("d{n}"), "", &at(n)));
        assert!(notes.lines().last().unwrap().starts_with("… and"));
    }

    #[test]
    fn a_part_that_is_left_out_or_let_through_is_no_mere_directive() {
        let (at, mut notes) = (Place { file: "n.conf".into(), line: 1 }, Notes::default());
        notes.lost("sub_filter", "", &at);
        notes.other("location /", "", &at);
        assert!(notes.is_complete());
        let mut open = Notes::default();
        open.opener("secure_link", "", &at);
        notes.leave("location /static/", "", &at);
        assert!(!notes.is_complete() && !open.is_complete());
    }

    #[test]
    fn a_long_comment_is_broken_between_words() {
        let mut text = String::new();
        wrapped(&mut text, &format!("  {}", "word ".repeat(60)));
        assert!(text.lines().count() > 2 && text.lines().all(|line| line.starts_with("#   ") && line.len() <= WIDTH));
        assert_eq!(text.matches("word").count(), 60);
    }
}
