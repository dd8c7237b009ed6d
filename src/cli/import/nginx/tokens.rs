//! nginx's words: what stands between white space, quoted or not, and the three signs that end or hold directives.

use super::tree::{Fault, Place};

/// Of one word, in bytes; nginx itself takes no longer one than 4 KiB.
const MAX_WORD: usize = 16 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Word(String),
    /// `;`
    End,
    /// `{`
    Open,
    /// `}`
    Close,
}

pub struct Tokens<'a> {
    rest: &'a str,
    at: Place,
}

impl<'a> Tokens<'a> {
    pub fn new(text: &'a str, start: Place) -> Self {
        Tokens { rest: text.strip_prefix('\u{feff}').unwrap_or(text), at: start }
    }

    /// Where the next one is looked for.
    pub fn place(&self) -> Place {
        self.at.clone()
    }

    pub fn fault<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::At(self.at.clone(), what.into()))
    }

    /// The next one, and where it begins; `None` at the end.
    pub fn read(&mut self) -> Result<Option<(Token, Place)>, Fault> {
        self.skip_space();
        let at = self.at.clone();
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let token = match first {
            ';' => self.sign(Token::End),
            '{' => self.sign(Token::Open),
            '}' => self.sign(Token::Close),
            '"' | '\'' => self.quoted(first)?,
            _ => self.bare()?,
        };
        Ok(Some((token, at)))
    }

    /// Goes past a block in Lua: to the brace that ends it, whatever stands in its strings and comments.
    pub fn skip_lua(&mut self) -> Result<(), Fault> {
        let begun = self.at.clone();
        let mut depth = 1usize;
        while let Some(c) = self.take() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                '"' | '\'' => self.skip_lua_string(c),
                '-' if self.rest.starts_with('-') => self.skip_lua_comment(),
                '[' if self.rest.starts_with('[') => self.skip_to("]]"),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(Fault::At(begun, "the block that begins here has no end".into()))
    }

    fn skip_lua_string(&mut self, quote: char) {
        while let Some(c) = self.take() {
            match c {
                '\\' => drop(self.take()),
                _ if c == quote => return,
                _ => {}
            }
        }
    }

    fn skip_lua_comment(&mut self) {
        match self.rest.starts_with("-[[") {
            true => self.skip_to("]]"),
            false => self.skip_to("\n"),
        }
    }

    fn skip_to(&mut self, end: &str) {
        while !self.rest.is_empty() && !self.rest.starts_with(end) {
            let _ = self.take();
        }
        for _ in end.chars() {
            let _ = self.take();
        }
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        if c == '\n' {
            self.at.line = self.at.line.saturating_add(1);
        }
        Some(c)
    }

    fn sign(&mut self, token: Token) -> Token {
        let _ = self.take();
        token
    }

    /// White space, and comments, which begin where a word could.
    fn skip_space(&mut self) {
        while let Some(c) = self.rest.chars().next() {
            match c {
                ' ' | '\t' | '\r' | '\n' => drop(self.take()),
                '#' => self.skip_to("\n"),
                _ => return,
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Token, Fault> {
        let begun = self.at.clone();
        let _ = self.take();
        let mut word = String::new();
        loop {
            match self.take() {
                None => return Err(Fault::At(begun, "the text that is quoted from here on has no end".into())),
                Some('\\') => self.escaped(&mut word),
                Some(c) if c == quote => break,
                Some(c) => word.push(c),
            }
            self.bounded(&word)?;
        }
        // nginx lets a parenthesis follow, which ends the condition of an `if`.
        match self.rest.chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | ';' | '{' | ')') => Ok(Token::Word(word)),
            Some(c) => self.fault(format!("unexpected {c:?} behind a quoted text")),
        }
    }

    fn bare(&mut self) -> Result<Token, Fault> {
        let mut word = String::new();
        // A brace behind a dollar belongs to a variable: `${name}`.
        let mut dollar = false;
        while let Some(c) = self.rest.chars().next() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' => break,
                '{' if !dollar => break,
                '\\' => {
                    let _ = self.take();
                    self.escaped(&mut word);
                }
                _ => {
                    let _ = self.take();
                    word.push(c);
                }
            }
            dollar = c == '$';
            self.bounded(&word)?;
        }
        Ok(Token::Word(word))
    }

    /// What stands behind a backslash. One before anything else stays: it is a regular expression's.
    fn escaped(&mut self, word: &mut String) {
        match self.take() {
            Some(c @ ('"' | '\'' | '\\')) => word.push(c),
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            Some(c) => word.extend(['\\', c]),
            None => word.push('\\'),
        }
    }

    fn bounded(&self, word: &str) -> Result<(), Fault> {
        match word.len() > MAX_WORD {
            true => self.fault(format!("a word is longer than {MAX_WORD} bytes: is a quotation mark missing?")),
            false => Ok(()),
        }
    }
}
