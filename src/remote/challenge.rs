//! `WWW-Authenticate` as registries and what stands before them write it (RFC 9110 §11.6.1): several lines or one, in any case, with
//! schemes that we do not know. Strict readers of it are why logins fail behind proxies, so what can be understood is.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Bytes of one line that are read; scopes of hundreds of repositories are shorter.
const MAX_LINE: usize = 16 << 10;
/// Challenges, and parameters of one, that are read.
const MAX_CHALLENGES: usize = 16;
const MAX_PARAMETERS: usize = 32;
/// Scopes of one challenge that are read.
const MAX_SCOPES: usize = 16;

/// One challenge. Parameters without a value are there, with an empty one; those of a `token68` are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// In lower case.
    pub scheme: String,
    /// In the order in which they came, names in lower case, perhaps twice.
    pub parameters: Vec<(String, String)>,
}

/// A way to prove oneself that we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    Bearer(Bearer),
    Basic,
}

/// What a Bearer challenge says (distribution's token protocol).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bearer {
    /// Where tokens are given; never empty.
    pub realm: String,
    pub service: Option<String>,
    /// Told apart, each once.
    pub scopes: Vec<String>,
    pub error: Option<String>,
}

/// What can be done about an answer's challenges, the best first: Bearer before Basic.
pub fn offers(headers: &HeaderMap) -> Vec<Offer> {
    let mut basic = false;
    let mut offers = Vec::new();
    for challenge in read(headers) {
        match challenge.scheme.as_str() {
            "bearer" => offers.extend(challenge.bearer().map(Offer::Bearer)),
            "basic" => basic = true,
            _ => {}
        }
    }
    offers.extend(basic.then_some(Offer::Basic));
    offers
}

/// All challenges of an answer.
pub fn read(headers: &HeaderMap) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for line in headers.get_all(WWW_AUTHENTICATE) {
        let text = String::from_utf8_lossy(line.as_bytes());
        if text.len() <= MAX_LINE {
            Reader { text: &text }.read(&mut challenges);
        }
    }
    challenges
}

impl Challenge {
    /// The first value of a parameter that has one.
    fn parameter(&self, name: &str) -> Option<&str> {
        let mut values = self.parameters.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        values.find(|value| !value.is_empty())
    }

    fn bearer(&self) -> Option<Bearer> {
        let mut scopes: Vec<String> = Vec::new();
        let values = self.parameters.iter().filter(|(name, _)| name == "scope");
        for scope in values.flat_map(|(_, value)| value.split_ascii_whitespace()) {
            if scopes.len() < MAX_SCOPES && !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        }
        Some(Bearer {
            realm: self.parameter("realm")?.to_owned(),
            service: self.parameter("service").map(str::to_owned),
            scopes,
            error: self.parameter("error").map(str::to_owned),
        })
    }
}

/// What is left of a line.
struct Reader<'a> {
    text: &'a str,
}

impl<'a> Reader<'a> {
    fn read(mut self, challenges: &mut Vec<Challenge>) {
        let first = challenges.len();
        // Behind a scheme and before a comma a word alone is a token68.
        let mut at_scheme = false;
        loop {
            at_scheme &= !self.skip_to_member();
            if self.text.is_empty() {
                return;
            }
            let word = self.word();
            if word.is_empty() {
                self.skip_garbage();
            } else if let Some(padding) = self.equals() {
                at_scheme = false;
                // More than one `=`: the padding of a token68, which no scheme that we know has.
                if padding == 1 {
                    let value = self.value();
                    let Some(current) = challenges.get_mut(first..).and_then(<[Challenge]>::last_mut) else { continue };
                    if let Some(value) = value.filter(|_| current.parameters.len() < MAX_PARAMETERS) {
                        current.parameters.push((word.to_ascii_lowercase(), value));
                    }
                }
            } else if at_scheme {
                at_scheme = false;
            } else {
                if challenges.len() == MAX_CHALLENGES {
                    return;
                }
                challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                at_scheme = true;
            }
        }
    }

    /// Skips white space and commas; whether there was a comma.
    fn skip_to_member(&mut self) -> bool {
        let rest = self.text.trim_start_matches([' ', '\t', ',']);
        let skipped = self.text.get(..self.text.len() - rest.len()).unwrap_or_default();
        self.text = rest;
        skipped.contains(',')
    }

    fn skip_space(&mut self) {
        self.text = self.text.trim_start_matches([' ', '\t']);
    }

    /// Letters of a token and of a token68, perhaps none.
    fn word(&mut self) -> &'a str {
        self.take_while(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c))
    }

    fn take_while(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let end = self.text.find(|c| !of(c)).unwrap_or(self.text.len());
        let (taken, rest) = self.text.split_at(end);
        self.text = rest;
        taken
    }

    /// How many `=` come next, with white space around; `None`: another thing does.
    fn equals(&mut self) -> Option<usize> {
        let before = self.text;
        self.skip_space();
        let count = self.take_while(|c| c == '=').len();
        if count == 0 {
            self.text = before;
            return None;
        }
        self.skip_space();
        Some(count)
    }

    /// A parameter's value; `None`: a quoted one that does not end.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.text.strip_prefix('"') else {
            // Some write URLs without quotes.
            return Some(self.take_while(|c| !matches!(c, ',' | ' ' | '\t' | '"')).to_owned());
        };
        let mut value = String::new();
        let mut letters = quoted.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.text = quoted.get(at + 1..).unwrap_or_default();
                    return Some(value);
                }
                '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
                letter => value.push(letter),
            }
        }
        self.text = "";
        None
    }

    /// Skips one letter, or one quoted text, that stands where nothing may.
    fn skip_garbage(&mut self) {
        if self.text.starts_with('"') {
            let _ = self.value();
        } else {
            let mut letters = self.text.chars();
            letters.next();
            self.text = letters.as_str();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    fn bearer(lines: &[&str]) -> Bearer {
        match offers(&headers(lines)).first() {
            Some(Offer::Bearer(bearer)) => bearer.clone(),
            other => panic!("{lines:?}: {other:?}"),
        }
    }

    fn hub() -> Bearer {
        Bearer {
            realm: "https://auth.example/token".into(),
            service: Some("registry.example".into()),
            scopes: vec!["repository:library/alpine:pull".into()],
            error: None,
        }
    }

    #[test]
    fn a_challenge_is_read_however_it_is_written() {
        let realm = "realm=\"https://auth.example/token\"";
        let rest = "service=\"registry.example\",scope=\"repository:library/alpine:pull\"";
        for lines in [
            &[format!("Bearer {realm},{rest}")] as &[_],
            &[format!("bEARER  {realm} , {rest}")],
            &[format!("Bearer {realm} service=\"registry.example\" scope=\"repository:library/alpine:pull\"")],
            &[format!("BEARER {realm},,service = registry.example ,Scope=repository:library/alpine:pull")],
            &[format!("Basic realm=\"x, Bearer y\", Bearer {realm},{rest}")],
            &[format!("Negotiate, NTLM YWJj==, Bearer {realm},{rest}, Digest nonce=\"a,b\"")],
            &["Basic realm=\"x\"".to_owned(), format!("Bearer {realm},{rest}")],
            &[format!("Bearer {realm},{rest},realm=\"https://evil.example\",service=\"other\"")],
            &[format!("Bearer error=\"\",service=,{realm},{rest}")],
            &["Bearer realm=https://auth.example/token,service=registry.example,scope=\"repository:library/alpine:pull\"".to_owned()],
            &[format!(",, Bearer {realm},{rest},")],
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(bearer(&lines), hub(), "{lines:?}");
        }
    }

    #[test]
    fn quoted_text_may_hold_commas_and_escaped_letters() {
        let read =
            bearer(&[r#"Bearer realm="https://a.example/\"t\"",scope="repository:a:pull,push repository:b:pull""#]);
        assert_eq!(read.realm, "https://a.example/\"t\"");
        assert_eq!(read.scopes, ["repository:a:pull,push", "repository:b:pull"]);
    }

    #[test]
    fn empty_parameters_are_as_good_as_none() {
        let read = bearer(&["Bearer realm=\"https://a.example/t\",service=\"\",scope=\"\",error=\"invalid_token\""]);
        assert_eq!((read.service, read.scopes.len(), read.error.as_deref()), (None, 0, Some("invalid_token")));
    }

    #[test]
    fn bearer_comes_before_basic_wherever_it_stands() {
        let both = headers(&["Basic realm=\"r\"", "Bearer realm=\"https://a.example\""]);
        assert!(matches!(offers(&both).as_slice(), [Offer::Bearer(_), Offer::Basic]));
        assert_eq!(offers(&headers(&["Basic"])), [Offer::Basic]);
        assert_eq!(offers(&headers(&["Basic realm=\"r\",Basic realm=\"s\""])), [Offer::Basic]);
    }

    #[test]
    fn what_leads_nowhere_is_no_offer() {
        for line in [
            "",
            "Bearer",
            "Bearer realm=\"\"",
            "Bearer realm=\"https://a.example",
            "Negotiate abc",
            "realm=\"x\"",
            "\"Bearer realm=x\"",
        ] {
            assert_eq!(offers(&headers(&[line])), [], "{line}");
        }
        assert_eq!(offers(&headers(&[&format!("Bearer realm=\"{}\"", "x".repeat(MAX_LINE))])), []);
    }
}
