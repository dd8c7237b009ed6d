//! The figures as a picture: bars side by side, one panel for each measure, as SVG that needs nothing besides.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::figures::Summary;
use super::report::{NONE, Report, Row, label, shown};
use crate::cli::words;

/// All lengths are in pixels of the picture.
const WIDTH: f64 = 860.0;
const MARGIN: f64 = 24.0;
const LINE: f64 = 20.0;
const BAR: f64 = 13.0;
/// Where bars begin, and how long the longest is: what is right of it is for its value.
const FROM: f64 = 130.0;
const LONGEST: f64 = 600.0;
const TEXT: f64 = 12.0;
const TITLE: f64 = 15.0;
/// Of the first address, and of the second; told apart by all who see colours in their own way.
const COLOURS: [&str; 2] = ["#0072b2", "#e69f00"];

/// A file that will be there whole, or as it was.
pub struct PlotFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl PlotFile {
    /// Whether it can be written is known before anything is measured.
    ///
    /// # Errors
    /// For people.
    pub fn create(path: &Path) -> Result<Self, String> {
        let failed = |what: &dyn std::fmt::Display| format!("--plot {}: {what}", path.display());
        if path.is_dir() {
            return Err(failed(&"is a folder"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        // As any other file is made: who may read it is said by the umask.
        builder.prefix(".entrepot-bench-").permissions(std::fs::Permissions::from_mode(0o666));
        let file = builder.tempfile_in(folder).map_err(|error| failed(&error))?;
        Ok(PlotFile { file, path: path.to_owned() })
    }

    /// # Errors
    /// For people.
    pub fn write(mut self, text: &str) -> Result<(), String> {
        let failed = |what: &dyn std::fmt::Display| format!("--plot {}: {what}", self.path.display());
        self.file.write_all(text.as_bytes()).map_err(|error| failed(&error))?;
        self.file.persist(&self.path).map(drop).map_err(|error| failed(&error.error))
    }
}

/// The whole picture.
pub fn svg(report: &Report) -> String {
    let mut picture = Picture { body: String::new(), at: MARGIN };
    picture.text((MARGIN, TITLE), "bold", "entrepot bench");
    for (colour, side) in COLOURS.iter().zip(&report.sides) {
        picture.at += LINE;
        picture.bar((MARGIN, BAR), colour);
        picture.text((MARGIN + BAR + 8.0, TEXT), "normal", &side.registry.address.to_string());
    }
    for row in report.rows.iter().filter(|row| row.sides.iter().any(Option::is_some)) {
        picture.at += LINE;
        picture.panel(row, &row.measure.name(report.plan.concurrency), |key| !key.ends_with("per_second"));
    }
    for row in report.rows.iter().filter(|row| row.measure.moves_bytes() && row.sides.iter().any(Option::is_some)) {
        picture.at += LINE;
        picture.panel(row, &row.measure.name(report.plan.concurrency), |key| key == "bytes_per_second");
    }
    picture.whole()
}

struct Picture {
    body: String,
    /// How far down it is: where the next line stands.
    at: f64,
}

impl Picture {
    /// The values of a measure that are `wanted`, by one scale.
    fn panel(&mut self, row: &Row, name: &str, wanted: fn(&str) -> bool) {
        self.at += LINE;
        self.text((MARGIN, TITLE), "bold", name);
        let sides: Vec<_> =
            row.sides.iter().map(|told| told.as_ref().map(Summary::values).unwrap_or_default()).collect();
        let all = || sides.iter().flatten().filter(|(key, _)| wanted(key));
        let most = all().filter_map(|(_, value)| *value).fold(0.0, f64::max);
        let mut keys: Vec<&str> = Vec::new();
        for (key, _) in all() {
            if !keys.contains(key) {
                keys.push(key);
            }
        }
        for key in keys {
            self.at += LINE / 4.0;
            for (index, values) in sides.iter().enumerate() {
                self.at += BAR + 3.0;
                if index == 0 {
                    self.text((MARGIN, TEXT), "normal", label(key, row.measure));
                }
                let Some(value) = values.iter().find(|(known, _)| *known == key).and_then(|(_, value)| *value) else {
                    let count = row.sides.get(index).and_then(Option::as_ref).map_or(0, |told| told.count as u64);
                    self.text((FROM + 6.0, TEXT), "normal", &format!("{NONE} of {}", words::count(count, "sample")));
                    continue;
                };
                let length = if most > 0.0 { value / most * LONGEST } else { 0.0 };
                self.bar((FROM, length), COLOURS.get(index).copied().unwrap_or("black"));
                self.text((FROM + length + 6.0, TEXT), "normal", &shown(key, value));
            }
        }
    }

    /// From `x`, so long.
    fn bar(&mut self, (x, length): (f64, f64), colour: &str) {
        let y = self.at - BAR + 2.0;
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{length:.1}" height="{BAR:.1}" fill="{colour}"/>"#
        );
    }

    /// At `x`, so large.
    fn text(&mut self, (x, large): (f64, f64), weight: &str, text: &str) {
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{:.1}" font-size="{large}" font-weight="{weight}">{}</text>"#,
            self.at,
            escaped(text)
        );
    }

    fn whole(self) -> String {
        let height = self.at + MARGIN;
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
            font-family=\"sans-serif\">\n\
            <title>entrepot bench</title>\n\
            <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// As XML takes it: characters that it has a meaning for are written out, and those that it does not allow are not there.
fn escaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => written.push_str("&amp;"),
            '<' => written.push_str("&lt;"),
            '>' => written.push_str("&gt;"),
            '"' => written.push_str("&quot;"),
            '\'' => written.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => written.push('\u{fffd}'),
            c if c.is_control() => written.push('\u{fffd}'),
            c => written.push(c),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_has_a_meaning_for_is_written_out() {
        assert_eq!(escaped("a<b>&\"c'\u{1b}\n"), "a&lt;b&gt;&amp;&quot;c&#39;\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_of_before() {
        let folder = tempfile::tempdir().unwrap();
        assert!(PlotFile::create(folder.path()).err().unwrap().contains("is a folder"));
        assert!(PlotFile::create(&folder.path().join("no/where.svg")).err().unwrap().contains("where.svg"));
        let path = folder.path().join("a.svg");
        drop(PlotFile::create(&path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        PlotFile::create(&path).unwrap().write("<svg/>").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "<svg/>");
    }
}
