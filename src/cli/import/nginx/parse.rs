//! Words → directives and blocks; an `include` stands for what the files say that it names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::Files;
use super::notes::{Notes, plain};
use super::tokens::{Token, Tokens};
use super::tree::{Directive, Fault, Place};

/// Of all files, so many directives.
const MAX_DIRECTIVES: usize = 100_000;
/// Words of one directive.
const MAX_WORDS: usize = 4096;
/// Blocks in blocks.
const MAX_DEPTH: usize = 20;
/// Files that include files.
const MAX_INCLUDES: usize = 10;
/// Files in all, each as often as it is included.
const MAX_FILES: usize = 500;
/// Bytes of all files.
const MAX_BYTES: usize = 8 << 20;

/// Reads a file and all that it includes.
///
/// # Errors
/// What nginx would refuse too, at its line, and what goes over the bounds.
pub fn parse(files: &dyn Files, main: &Path, notes: &mut Notes) -> Result<Vec<Directive>, Fault> {
    // As nginx has it: what is included is looked for beside the main file, not beside the one that includes.
    let beside = main.parent().unwrap_or(Path::new("")).to_owned();
    let mut parser = Parser { files, beside, notes, directives: 0, read: 0, bytes: 0 };
    let mut found = Vec::new();
    let bytes = files.read(main).map_err(|what| Fault::File(plain(&main.display().to_string()), what))?;
    parser.text(main, &bytes, (0, 0), &mut found)?;
    Ok(found)
}

struct Parser<'a> {
    files: &'a dyn Files,
    beside: PathBuf,
    notes: &'a mut Notes,
    directives: usize,
    read: usize,
    bytes: usize,
}

/// Blocks and files around what is read.
type Depth = (usize, usize);

impl Parser<'_> {
    fn text(&mut self, file: &Path, bytes: &[u8], depth: Depth, found: &mut Vec<Directive>) -> Result<(), Fault> {
        let start = Place { file: Arc::from(plain(&file.display().to_string())), line: 1 };
        self.read += 1;
        self.bytes += bytes.len();
        if self.read > MAX_FILES || self.bytes > MAX_BYTES {
            let what = format!("with it, more than {MAX_FILES} files or {MAX_BYTES} bytes are included");
            return Err(Fault::File(start.file.to_string(), what));
        }
        let text = String::from_utf8_lossy(bytes);
        self.block(&mut Tokens::new(&text, start), None, depth, found)
    }

    /// What stands up to the end of the block that began at `within`, or of the file.
    fn block(
        &mut self,
        tokens: &mut Tokens<'_>,
        within: Option<&Place>,
        depth: Depth,
        found: &mut Vec<Directive>,
    ) -> Result<(), Fault> {
        if depth.0 > MAX_DEPTH {
            return tokens.fault(format!("more than {MAX_DEPTH} blocks in blocks"));
        }
        let mut words: Vec<String> = Vec::new();
        let mut begun = tokens.place();
        loop {
            let Some((token, at)) = tokens.read()? else {
                return match (within, words.is_empty()) {
                    (None, true) => Ok(()),
                    (Some(open), true) => {
                        Err(Fault::At(open.clone(), "the block that begins here has no end: a \"}\" is missing".into()))
                    }
                    (_, false) => {
                        Err(Fault::At(begun, "the file ends within this directive: a \";\" is missing".into()))
                    }
                };
            };
            match token {
                Token::Word(word) => {
                    if words.is_empty() {
                        begun = at;
                    }
                    words.push(word);
                    if words.len() > MAX_WORDS {
                        return Err(Fault::At(begun, format!("more than {MAX_WORDS} words: is a \";\" missing?")));
                    }
                }
                Token::Close if words.is_empty() && within.is_some() => return Ok(()),
                Token::Close => return Err(Fault::At(at, "unexpected \"}\"".into())),
                Token::End | Token::Open if words.is_empty() => {
                    let sign = if token == Token::End { ";" } else { "{" };
                    return Err(Fault::At(at, format!("unexpected \"{sign}\"")));
                }
                Token::End | Token::Open => {
                    let mut words = std::mem::take(&mut words).into_iter();
                    let name = words.next().unwrap_or_default();
                    let mut directive = Directive { name, args: words.collect(), block: None, at: begun.clone() };
                    if token == Token::Open {
                        directive.block = Some(self.inner(tokens, &directive, depth)?);
                    }
                    self.add(directive, depth, found)?;
                }
            }
        }
    }

    fn inner(&mut self, tokens: &mut Tokens<'_>, directive: &Directive, depth: Depth) -> Result<Vec<Directive>, Fault> {
        let mut inner = Vec::new();
        match directive.name.ends_with("_by_lua_block") {
            true => tokens.skip_lua()?,
            false => self.block(tokens, Some(&directive.at), (depth.0 + 1, depth.1), &mut inner)?,
        }
        Ok(inner)
    }

    fn add(&mut self, directive: Directive, depth: Depth, found: &mut Vec<Directive>) -> Result<(), Fault> {
        self.directives += 1;
        if self.directives > MAX_DIRECTIVES {
            return Err(Fault::At(directive.at, format!("more than {MAX_DIRECTIVES} directives in all files")));
        }
        match directive.name == "include" && directive.block.is_none() && directive.args.len() == 1 {
            true => self.include(&directive, depth, found),
            false => {
                found.push(directive);
                Ok(())
            }
        }
    }

    fn include(&mut self, include: &Directive, depth: Depth, found: &mut Vec<Directive>) -> Result<(), Fault> {
        if depth.1 >= MAX_INCLUDES {
            let what = format!("more than {MAX_INCLUDES} files that include files: does one include itself?");
            return Err(Fault::At(include.at.clone(), what));
        }
        let pattern = self.beside.join(include.arg(0));
        let files = self.files.matching(&pattern).map_err(|what| Fault::At(include.at.clone(), what))?;
        if files.is_empty() && self.absent(include) {
            found.push(include.clone());
        }
        for file in files {
            match self.files.read(&file) {
                Ok(bytes) => self.text(&file, &bytes, (depth.0, depth.1 + 1), found)?,
                Err(what) => {
                    let what = format!("{}: {what}", plain(&file.display().to_string()));
                    return Err(Fault::At(include.at.clone(), what));
                }
            }
        }
        Ok(())
    }

    /// A file that is not on this machine is no reason to give up: it is said that what it says does not count. Tells whether it has
    /// to stay in sight, as nginx would not start without it and it may say who may.
    fn absent(&mut self, include: &Directive) -> bool {
        let file = include.arg(0);
        // What every nginx comes with, and nothing here asks for.
        let usual = ["mime.types", "fastcgi_params", "proxy_params", "modules-enabled/*.conf", "modules/*.conf"];
        if usual.iter().any(|usual| file.ends_with(usual)) {
            return false;
        }
        let why = format!("{} is not here, so what it says is not in this configuration", plain(file));
        let needed = !file.contains(['*', '?', '[']);
        match needed {
            true => self.notes.leave("include", why, &include.at),
            false => self.notes.lost("include", why, &include.at),
        }
        needed
    }
}
