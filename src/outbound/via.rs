//! `Via` on what we send to peers and to where they redirect (RFC 9110 §7.6.3): a request that comes back to this process
//! is known by it, and ended.
//!
//! The name in it is made anew by each process: it tells nobody a host's name, and two Entrepots one before the other, or
//! two of a fleet, are no loop. A request that goes round over several is ended by the first that meets it again.
//! Answers carry no `Via`: a gateway may leave it out, and clients need not know what stands here.

use std::future::Future;
use std::sync::{Arc, LazyLock};

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};

/// Who we are in `Via`.
static OURS: LazyLock<String> = LazyLock::new(|| format!("entrepot-{:016x}", rand::random::<u64>()));

/// Whether these fields say that the request has passed this process before.
pub fn passed_here(headers: &HeaderMap) -> bool {
    names(headers, &OURS)
}

fn names(headers: &HeaderMap, pseudonym: &str) -> bool {
    let values = headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    // `1.1 name (comment)`; what a comment may hold besides only its sender is hurt by.
    let mut by = values.flat_map(|value| value.split(',')).filter_map(|member| member.split_ascii_whitespace().nth(1));
    by.any(|by| by.eq_ignore_ascii_case(pseudonym))
}

/// Adds ourselves behind those whom the request passed before. `version` is that of the request as it came to us.
pub fn add(headers: &mut HeaderMap, version: Version) {
    let protocol = match version {
        Version::HTTP_2 => "2.0",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::from_str(&format!("{protocol} {}", *OURS)) {
        headers.append(VIA, value);
    }
}

tokio::task_local! {
    static PASSED: Passed;
}

/// Whom the request passed that a task works for. It goes along by itself, since between a request and what is asked of others
/// because of it lie questions that many share: those go on with what the first of them brought.
#[derive(Clone, Debug, Default)]
pub struct Passed(Arc<[HeaderValue]>);

impl Passed {
    /// Those of a request's fields.
    pub fn of(headers: &HeaderMap) -> Self {
        Passed(headers.get_all(VIA).iter().cloned().collect())
    }

    /// Those of the request that this task works for; none, if it works for none.
    pub fn here() -> Self {
        PASSED.try_with(Clone::clone).unwrap_or_default()
    }

    /// Takes them along into work, which may be given to another task.
    pub fn along<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        PASSED.scope(self, work)
    }

    /// `Via`, as it came.
    pub fn values(&self) -> &[HeaderValue] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_passed_is_known_in_whatever_way_it_is_written() {
        let is = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(VIA, HeaderValue::from_str(value).unwrap());
            }
            names(&headers, "entrepot-1")
        };
        for ours in [
            &["1.1 entrepot-1"] as &[_],
            &["2.0 ENTREPOT-1"],
            &["1.0 fred, 1.1 p.example (Apache/1.1),1.1 entrepot-1"],
            &["1.1 a", "HTTP/1.1   entrepot-1 (x)"],
        ] {
            assert!(is(ours), "{ours:?}");
        }
        for other in
            [&[] as &[_], &[""], &["1.1 entrepot-2"], &["1.1 entrepot-11"], &["entrepot-1"], &["1.1 a (entrepot-1)"]]
        {
            assert!(!is(other), "{other:?}");
        }
    }

    #[test]
    fn our_own_mark_is_known_again_behind_others() {
        let mut headers = HeaderMap::new();
        headers.insert(VIA, HeaderValue::from_static("1.1 entrepot-0000000000000000"));
        assert!(!passed_here(&headers));
        add(&mut headers, Version::HTTP_2);
        assert!(passed_here(&headers));
        assert_eq!(headers.get_all(VIA).iter().count(), 2);
    }

    #[tokio::test]
    async fn work_knows_whom_its_request_passed_also_in_another_task() {
        let headers = HeaderMap::from_iter([(VIA, HeaderValue::from_static("1.1 other"))]);
        let there = async {
            let carried = Passed::here().along(async { Passed::here().values().to_vec() });
            (tokio::spawn(async { Passed::here().values().len() }).await.ok(), tokio::spawn(carried).await.ok())
        };
        let (left, carried) = Passed::of(&headers).along(there).await;
        assert_eq!((left, carried), (Some(0), Some(vec![HeaderValue::from_static("1.1 other")])));
    }
}
