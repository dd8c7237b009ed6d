//! What every answer of a registry must keep to, whatever it answers: every answer of the suite passes here.

use crate::harness::Answer;

/// The specification's fourteen, then distribution's for what the specification has none.
const CODES: [&str; 20] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
    "MANIFEST_UNVERIFIED",
    "TAG_INVALID",
    "RANGE_INVALID",
    "PAGINATION_NUMBER_INVALID",
    "UNAVAILABLE",
    "UNKNOWN",
];

#[track_caller]
pub fn audit(what: &str, answer: &Answer) {
    assert!(answer.complete, "{what}: the body ended before its time, after {} bytes", answer.body.len());
    assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.text());
    warnings(what, answer);
    if what.starts_with("HEAD") {
        assert!(answer.body.is_empty(), "{what}: an answer to HEAD has no body");
    } else if answer.status >= 400 {
        error_body(what, answer);
    }
}

/// "Error Codes": a body in JSON has this format; ours always is.
fn error_body(what: &str, answer: &Answer) {
    let media_type = answer.header("content-type").unwrap_or_default();
    assert!(media_type.starts_with("application/json"), "{what}: {} as {media_type:?}", answer.status);
    let body = answer.json();
    let errors = body["errors"].as_array().unwrap_or_else(|| panic!("{what}: no list of errors: {body}"));
    assert!(!errors.is_empty(), "{what}: no error in {body}");
    for error in errors {
        let code = error["code"].as_str().unwrap_or_else(|| panic!("{what}: no code in {body}"));
        assert!(CODES.contains(&code), "{what}: an invented code {code}");
        assert!(error["message"].is_null() || error["message"].is_string(), "{what}: {body}");
    }
}

/// "Warnings": code 299, agent `-`, no date, and 4096 bytes at most.
fn warnings(what: &str, answer: &Answer) {
    let all: Vec<&str> = answer.headers.all("warning").collect();
    assert!(all.iter().map(|value| value.len()).sum::<usize>() <= 4096, "{what}: too much warning");
    for value in all {
        let text = value.strip_prefix("299 - \"").unwrap_or_else(|| panic!("{what}: Warning: {value}"));
        assert!(text.find('"') == Some(text.len() - 1), "{what}: Warning: {value}");
    }
}
