//! What a status means that is no success.

use http::StatusCode;

use super::RemoteError;

/// What an answer's status says. `home`: the remote itself gave it, and not an object store where it led.
pub fn error(status: StatusCode, home: bool) -> RemoteError {
    match status.as_u16() {
        404 | 410 => RemoteError::Absent(status),
        // Who is led to a store has the right already: what the store has against it is between the two.
        401..=403 | 451 if home => RemoteError::Denied(status),
        405 | 501 if home => RemoteError::Unsupported(status),
        408 | 500.. => RemoteError::Down(format!("it answers {}", status.as_u16())),
        other if home => RemoteError::Useless(format!("it answers {other}")),
        other => RemoteError::Useless(format!("where it leads the answer is {other}")),
    }
}

/// Whether such an answer to a HEAD may only mean that HEAD is not taken: some have no HEAD, and an address that is signed for GET
/// is good for nothing else.
pub fn is_no_head(status: StatusCode, home: bool) -> bool {
    match status.as_u16() {
        405 | 501 => true,
        400 | 401 | 403 => !home,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, home: bool) -> RemoteError {
        error(StatusCode::from_u16(status).unwrap(), home)
    }

    #[test]
    fn a_status_is_read_by_who_gave_it() {
        for (status, home, expected) in [
            (404, true, "Absent"),
            (410, true, "Absent"),
            (404, false, "Absent"),
            (401, true, "Denied"),
            (403, true, "Denied"),
            (403, false, "Useless"),
            (405, true, "Unsupported"),
            (501, true, "Unsupported"),
            (500, true, "Down"),
            (503, false, "Down"),
            (508, true, "Down"),
            (400, true, "Useless"),
            (304, true, "Useless"),
        ] {
            let error = format!("{:?}", of(status, home));
            assert!(error.starts_with(expected), "{status} {home}: {error}");
        }
    }

    #[test]
    fn a_head_is_asked_otherwise_where_it_is_not_taken() {
        let no_head = |status: u16, home| is_no_head(StatusCode::from_u16(status).unwrap(), home);
        assert!(no_head(405, true) && no_head(501, false) && no_head(403, false) && no_head(400, false));
        assert!(!no_head(403, true) && !no_head(404, false) && !no_head(500, false));
    }
}
