//! Statuses, heads, ranges and bodies.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const CONTENT: &str = "0123456789";

fn part(range: Option<(u64, Option<u64>)>) -> Ask {
    Ask { range, ..blob() }
}

#[tokio::test]
async fn a_status_becomes_what_can_be_done_about_it() {
    for (status, expected) in [
        (404, "Absent"),
        (403, "Denied"),
        (405, "Unsupported"),
        (500, "Down"),
        (503, "Down"),
        (508, "Down"),
        (400, "Useless"),
        (204, "Useless"),
        (206, "Useless"),
        (304, "Useless"),
        (429, "Throttled(Abuse"),
    ] {
        let server = Server::new(move |_| Some(says(status, "").with("Retry-After", 7))).await;
        let remote = remote(&server.url(), "").await;
        let error = format!("{:?}", blob().body(&remote).await.unwrap_err());
        assert!(error.starts_with(expected), "{status}: {error}");
    }
}

#[tokio::test]
async fn pulls_that_are_used_up_are_told_from_too_many_requests() {
    let server = Server::new(|seen| match seen.method.as_str() {
        "HEAD" => {
            Some(says(200, "abc").with("RateLimit-Remaining", "0;w=21600").with("RateLimit-Limit", "100;w=21600"))
        }
        _ => Some(says(429, "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\"}]}")),
    })
    .await;
    let asked = remote(&server.url(), "").await;
    assert!(matches!(manifest("a").body(&asked).await, Err(RemoteError::Throttled(Throttle::Pulls { .. }))));
    assert!(matches!(manifest("a").body(&asked).await, Err(RemoteError::Exhausted { .. })), "it is not asked again");
    assert!(Ask { head: true, ..manifest("a") }.head(&asked).await.is_ok(), "a HEAD costs nothing");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn referrers_that_lead_to_web_pages_are_not_supported() {
    for status in [303, 307, 429] {
        let server = Server::new(move |_| Some(says(status, "").with("Location", "/elsewhere"))).await;
        let remote = remote(&server.url(), "").await;
        let referrers = Ask { referrers: true, ..blob() };
        for _ in 0..2 {
            assert!(matches!(referrers.body(&remote).await, Err(RemoteError::Unsupported(said)) if said == status));
        }
        assert_eq!((server.count("/elsewhere"), server.seen().len()), (0, 2));
    }
}

#[tokio::test]
async fn a_part_is_given_however_the_remote_answers() {
    let whole = Server::new(|_| Some(says(200, CONTENT))).await;
    let parts = Server::new(|seen| {
        let range = seen.header("range")?.strip_prefix("bytes=")?;
        let (first, last) = range.split_once('-')?;
        let (first, last) =
            (first.parse::<usize>().ok()?, last.parse().unwrap_or(CONTENT.len() - 1).min(CONTENT.len() - 1));
        let says = says(206, &CONTENT[first..=last]);
        Some(says.with("Content-Range", format!("bytes {first}-{last}/{}", CONTENT.len())))
    })
    .await;
    for server in [&whole, &parts] {
        let remote = remote(&server.url(), "").await;
        for (range, expected) in
            [((3, None), "3456789"), ((3, Some(5)), "34"), ((0, Some(1)), "0"), ((8, Some(99)), "89")]
        {
            let answer = part(Some(range)).head(&remote).await.unwrap();
            assert_eq!(answer.status, 206);
            assert_eq!(answer.headers[http::header::CONTENT_LENGTH], expected.len().to_string());
            let said = answer.headers[http::header::CONTENT_RANGE].to_str().unwrap().to_owned();
            assert!(said.starts_with(&format!("bytes {}-", range.0)) && said.ends_with("/10"), "{said}");
            assert_eq!(part(Some(range)).body(&remote).await.unwrap(), expected);
        }
    }
    assert_eq!(parts.seen()[2].header("range"), Some("bytes=3-4"));
    let remote = remote(&whole.url(), "").await;
    assert_eq!(part(Some((0, None))).body(&remote).await.unwrap(), CONTENT);
    assert_eq!(whole.seen().last().unwrap().header("range"), None);
    assert!(
        part(Some((10, None))).body(&remote).await.is_err() && part(Some((5, Some(5)))).body(&remote).await.is_err()
    );
}

#[tokio::test]
async fn another_part_than_was_asked_for_is_refused() {
    for range in ["bytes 0-9/10", "bytes 4-9/10", "bytes */10", "nonsense"] {
        let server = Server::new(move |_| Some(says(206, CONTENT).with("Content-Range", range))).await;
        let remote = remote(&server.url(), "").await;
        assert!(matches!(part(Some((3, None))).body(&remote).await, Err(RemoteError::Useless(_))), "{range}");
    }
}

#[tokio::test]
async fn a_size_is_found_where_head_is_not_taken() {
    let store = Server::new(|seen| match (seen.method.as_str(), seen.header("range")) {
        ("GET", Some("bytes=0-0")) => Some(says(206, "0").with("Content-Range", "bytes 0-0/10")),
        _ => Some(says(403, "")), // signed for GET
    })
    .await;
    let location = store.url();
    let server = Server::new(move |seen| match (seen.path().starts_with("/v2/a/b/blobs/"), seen.method.as_str()) {
        (true, _) => Some(says(307, "").with("Location", format!("{location}/blob?X-Amz-Signature=hush"))),
        (false, "HEAD") => Some(says(405, "")),
        (false, _) => Some(says(200, CONTENT).with("Content-Type", "application/vnd.oci.image.index.v1+json")),
    })
    .await;
    let remote = remote(&server.url(), "").await;
    for ask in [blob(), manifest("a")] {
        let answer = Ask { head: true, ..ask }.head(&remote).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.headers[http::header::CONTENT_LENGTH].to_str().unwrap()),
            (200, "10")
        );
        assert!(answer.body.try_collect::<Vec<_>>().await.unwrap().is_empty());
    }
    assert_eq!(server.seen().iter().filter(|seen| seen.path().starts_with("/v2/a/b/blobs/")).count(), 2, "asked anew");
}

#[tokio::test]
async fn the_size_of_nothing_is_found_too() {
    let server = Server::new(|seen| match seen.method.as_str() {
        "HEAD" => Some(says(501, "")),
        _ => Some(says(416, "").with("Content-Range", "bytes */0")),
    })
    .await;
    let remote = remote(&server.url(), "").await;
    let answer = Ask { head: true, ..blob() }.head(&remote).await.unwrap();
    assert_eq!(answer.headers[http::header::CONTENT_LENGTH], "0");
}

#[tokio::test]
async fn a_body_that_ends_or_stands_still_too_soon_is_a_failure() {
    let server = Server::new(|_| Some(Says { only: Some(3), ..says(200, CONTENT) })).await;
    let remote = remote(&server.url(), "timeouts = { read = \"50ms\" }").await;
    let answer = blob().head(&remote).await.unwrap();
    let pieces: Result<Vec<_>, _> = answer.body.try_collect().await;
    assert!(matches!(pieces, Err(RemoteError::Down(_))));
    drop(server);
    let cut = Server::new(|_| Some(says(200, CONTENT[..3].to_owned()).with("X", "y"))).await;
    let remote = super::remote(&cut.url(), "").await;
    assert_eq!(blob().body(&remote).await.unwrap(), "012");
    assert!(matches!(part(Some((2, Some(9)))).body(&remote).await.as_deref(), Ok("2")));
}

#[tokio::test]
async fn a_kept_connection_that_breaks_is_no_outage() {
    let count = Arc::new(AtomicUsize::new(0));
    // Every second request finds its connection closed.
    let server =
        Server::new(move |_| count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2).then(|| says(200, CONTENT))).await;
    let remote = remote(&server.url(), "").await;
    for _ in 0..4 {
        assert_eq!(blob().body(&remote).await.unwrap(), CONTENT);
    }
    let gone = Server::new(|_| None).await;
    let remote = super::remote(&gone.url(), "").await;
    assert!(matches!(blob().body(&remote).await, Err(RemoteError::Down(_))));
    assert_eq!(gone.seen().len(), 2);
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_down() {
    let server = Server::new(|_| Some(Says { only: Some(0), ..says(200, CONTENT) })).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    for url in [silent.as_str(), "http://127.0.0.1:1"] {
        let remote = remote(url, "").await;
        let digest = blob().digest;
        let question = Question {
            repository: Some(&blob().repository),
            what: What::Blob(&digest),
            head: false,
            accept: &[],
            range: None,
            asker: &Asker::Mirror,
            within: Duration::from_millis(50),
        };
        assert!(matches!(remote.ask(question).await, Err(RemoteError::Down(_))), "{url}");
    }
    drop(server);
}
