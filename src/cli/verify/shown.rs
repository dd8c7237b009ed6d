//! What a look for damage found, as people read it.

use std::fmt::Write as _;

use crate::cli::words::{printable, size};
use crate::maintenance::verify::{Damage, Looked, Report, State};

/// Damages that a table shows.
const MOST_SHOWN: usize = 1000;

/// For programs: one object.
pub(super) fn json(report: &Report) -> String {
    // What is in a report can be JSON.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}

/// For people: what is wrong, and what was looked at.
pub(super) fn report(report: &Report) -> String {
    let mut text = table(&report.damages);
    let more = report.found.saturating_sub(report.damages.len().min(MOST_SHOWN) as u64);
    // Writing to a String cannot fail.
    if more > 0 {
        let _ = writeln!(text, "… and {more} more: --json lists up to 100000");
    }
    let part = if report.sample == "100%" { String::new() } else { format!("a sample of {}: ", report.sample) };
    let _ = writeln!(
        text,
        "{part}{} blobs ({} of {}), {} links, {} manifests and {} tags in {} repositories were looked at, in {:.0}s",
        of(report.blobs),
        size(Some(report.bytes.looked_at)),
        size(Some(report.bytes.there)),
        of(report.links),
        of(report.manifests),
        of(report.tags),
        report.repositories,
        report.seconds
    );
    if report.sparse > 0 {
        let _ = writeln!(text, "{} names lead to content that is not here and need not be", report.sparse);
    }
    let _ = match (report.found, report.repaired, report.left) {
        (0, ..) => writeln!(text, "nothing is wrong"),
        (found, repaired, 0) => writeln!(text, "{found} damages: all {repaired} are repaired"),
        (found, 0, _) => writeln!(text, "{found} damages"),
        (found, repaired, left) => writeln!(text, "{found} damages: {repaired} are repaired, {left} are left"),
    };
    text
}

fn of(looked: Looked) -> String {
    format!("{} of {}", looked.looked_at, looked.there)
}

/// A line for each, in columns; nothing for none.
pub(super) fn table(damages: &[Damage]) -> String {
    if damages.is_empty() {
        return String::new();
    }
    let head = ["KIND", "STATE", "WHERE", "WHAT", "BY"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(damages.iter().take(MOST_SHOWN).map(row)).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (kind, state, place, what) = (width(0), width(1), width(2), width(3));
    let mut text = String::new();
    for [one, two, three, four, five] in &rows {
        let line = format!("{one:kind$}  {two:state$}  {three:place$}  {four:what$}  {five}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(damage: &Damage) -> [String; 5] {
    let state = match damage.state {
        State::Found => "",
        State::Repaired => "repaired",
        State::Left => "left",
    };
    let mut place = damage.repositories.first().map(|name| printable(name)).unwrap_or_default();
    if let Some(tag) = &damage.tag {
        place.push(':');
        place.push_str(&printable(tag));
    }
    let others = damage.repositories.len().saturating_sub(1);
    if others > 0 {
        let _ = write!(place, " +{others}");
    }
    let what = damage.digest.map_or_else(|| printable(&damage.key), |digest| digest.text());
    let by = damage.by.as_deref().map(printable).unwrap_or_default();
    [damage.kind.word().to_owned(), state.to_owned(), place, what, by]
}

/// One, as it is met.
pub(super) fn line(damage: &Damage) -> String {
    let what = printable(&damage.what);
    let by = damage.by.as_deref().map(printable).unwrap_or_default();
    match damage.state {
        State::Found => format!("damaged: {what}"),
        State::Repaired => format!("repaired: {what}; by {by}"),
        State::Left => format!("left: {what}; {by}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintenance::verify::Kind;
    use crate::oci::{Algorithm, Digest};

    fn damage(kind: Kind, state: State, by: Option<&str>) -> Damage {
        Damage {
            kind,
            digest: Some(Digest::of(Algorithm::Sha256, b"x")),
            repositories: vec!["team/app".into(), "team/b".into()],
            tag: None,
            key: "docker/registry/v2/blobs/…".into(),
            what: "the 4 bytes of it\u{1b}[2J have another digest".into(),
            state,
            by: by.map(str::to_owned),
        }
    }

    fn whole(damages: Vec<Damage>) -> Report {
        let looked = Looked { there: 10, looked_at: 5 };
        let (found, repaired) =
            (damages.len() as u64, damages.iter().filter(|damage| damage.state == State::Repaired).count() as u64);
        Report {
            began: "2026-11-30T00:00:00Z".into(),
            seconds: 12.4,
            sample: "50%".into(),
            repositories: 2,
            blobs: looked,
            bytes: Looked { there: 4096, looked_at: 2048 },
            links: looked,
            manifests: looked,
            tags: looked,
            sparse: 0,
            found,
            repaired,
            left: found - repaired,
            left_by_kind: Vec::new(),
            damages,
        }
    }

    #[test]
    fn a_report_says_what_was_looked_at_and_what_is_left() {
        let well = report(&whole(vec![]));
        assert_eq!(
            well,
            "a sample of 50%: 5 of 10 blobs (2.0 KiB of 4.0 KiB), 5 of 10 links, 5 of 10 manifests and 5 of 10 tags in 2 repositories were \
             looked at, in 12s\nnothing is wrong\n"
        );
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let both = whole(vec![
            damage(Kind::WrongBytes, State::Repaired, Some("the trash")),
            damage(Kind::NoBytes, State::Left, Some("no source has its bytes")),
        ]);
        let told = report(&both);
        assert!(told.starts_with("KIND         STATE     WHERE"), "{told}");
        assert!(told.contains(&format!("wrong_bytes  repaired  team/app +1  {digest}  the trash\n")), "{told}");
        assert!(told.ends_with("\n2 damages: 1 are repaired, 1 are left\n"), "{told}");
        assert!(report(&whole(vec![damage(Kind::TornLink, State::Found, None)])).ends_with("\n1 damages\n"));
        let parsed: serde_json::Value = serde_json::from_str(&json(&both)).unwrap();
        assert_eq!((&parsed["left"], &parsed["damages"][0]["kind"]), (&1.into(), &"wrong_bytes".into()));
    }

    #[test]
    fn a_line_shows_nothing_that_a_terminal_would_obey() {
        let found = line(&damage(Kind::WrongBytes, State::Found, None));
        assert_eq!(found, "damaged: the 4 bytes of it\\u{1b}[2J have another digest");
    }
}
