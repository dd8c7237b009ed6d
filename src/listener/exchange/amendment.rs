//! What is changed of an answer's head, whoever gives the answer.

use http::{HeaderMap, HeaderName};

/// Fields that go, and fields that come.
#[derive(Debug)]
pub struct Amendment {
    pub without: &'static [HeaderName],
    pub with: HeaderMap,
}

impl Amendment {
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for name in self.without {
            headers.remove(name);
        }
        for (name, value) in &self.with {
            // Lists such as Vary may be said in parts, but not twice.
            if !headers.get_all(name).iter().any(|said| said == value) {
                headers.append(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, VARY};

    use super::*;

    #[test]
    fn what_goes_is_gone_and_what_comes_is_said_once() {
        let mut headers = HeaderMap::new();
        headers.append(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.append(VARY, HeaderValue::from_static("Accept"));
        let mut with = HeaderMap::new();
        with.insert(VARY, HeaderValue::from_static("Origin"));
        let amendment = Amendment { without: &[ACCESS_CONTROL_ALLOW_ORIGIN], with };
        for _ in 0..2 {
            amendment.apply(&mut headers);
            assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
            assert_eq!(headers.get_all(VARY).iter().collect::<Vec<_>>(), ["Accept", "Origin"]);
        }
    }
}
