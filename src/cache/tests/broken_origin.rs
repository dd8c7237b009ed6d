//! Origins that die, lie or refuse: resumed where that can help, and never believed.

use super::*;
use crate::cache::FillError;

#[tokio::test(start_paused = true)]
async fn a_dying_origin_is_resumed_at_the_byte_where_it_stopped() {
    let fixture = Fixture::new(|_| {}).await;
    for (seed, len) in [(1, 1000), (2, 200_000), (3, 3 * MIB + 5)] {
        for at in [0, 1, len / 2, len - 1] {
            for says_total in [true, false] {
                let data = data(len, seed * 1000 + at as u64 * 2 + u64::from(says_total));
                let origin = Script::new(&data, &[Act::DieAt(at), Act::Whole]);
                let origin = Arc::new(if says_total { origin } else { origin.without_total() });
                assert_eq!(fixture.fill(&sha256(&data), &origin).await.unwrap(), data, "{len} {at} {says_total}");
                assert_eq!(*origin.opened.lock(), [0, at as u64], "{len} {at} {says_total}");
                fixture.settled().await;
                assert!(fixture.get(&sha256(&data)).await.is_some());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_breaks_with_progress_between_are_survived() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(3 * MIB, 4);
    let mut acts: Vec<Act> = (1..20).map(|n| Act::DieAt(n * 150_000)).collect();
    acts.insert(3, Act::OpenBroken);
    acts.insert(9, Act::EndAt(10));
    acts.push(Act::Whole);
    let origin = Arc::new(Script::new(&data, &acts));
    assert_eq!(fixture.fill(&sha256(&data), &origin).await.unwrap(), data);
}

#[tokio::test(start_paused = true)]
async fn breaks_without_progress_end_in_an_error_after_bounded_tries() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(3 * MIB, 5);
    let origin = Arc::new(Script::new(&data, &[Act::DieAt(MIB)]));
    let error = fixture.fill(&sha256(&data), &origin).await.unwrap_err();
    assert!(matches!(error, ReadError::Fill(FillError::Broken(_))), "{error:?}");
    assert_eq!(origin.opens(), 5);
    assert_eq!(fixture.metrics.failed.get(), 1);
}

#[tokio::test]
async fn no_peer_left_is_said_at_once() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(1000, 6);
    let origin = Arc::new(Script::new(&data, &[Act::Unavailable]));
    let refused = fixture.cache.get_or_fill(&sha256(&data), origin.clone()).await;
    assert!(matches!(refused.map(|_| ()), Err(FillError::Unavailable(_))));
    assert_eq!(origin.opens(), 1);
}

#[tokio::test(start_paused = true)]
async fn peers_that_are_gone_for_a_moment_are_waited_for_half_way() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(2 * MIB, 7);
    let acts = [Act::DieAt(MIB), Act::Unavailable, Act::Unavailable, Act::Whole];
    let origin = Arc::new(Script::new(&data, &acts));
    assert_eq!(fixture.fill(&sha256(&data), &origin).await.unwrap(), data);
}

#[tokio::test(start_paused = true)]
async fn wrong_short_and_surplus_bytes_never_end_cleanly_and_are_not_kept() {
    let fixture = Fixture::new(|_| {}).await;
    for len in [1, 1000, 100_000, 2 * MIB + 3] {
        for says_total in [true, false] {
            let flips = [0, len / 2, len - 1].map(Act::FlipAt);
            let others =
                [Act::EndAt(0), Act::EndAt(len / 2), Act::EndAt(len - 1), Act::Surplus(1), Act::Surplus(70_000)];
            for act in flips.into_iter().chain(others) {
                let data = data(len, 8);
                let digest = sha256(&data);
                let origin = Script::new(&data, std::slice::from_ref(&act));
                let origin = Arc::new(if says_total { origin } else { origin.without_total() });
                let case = format!("{len} {says_total} {act:?}");
                match fixture.cache.get_or_fill(&digest, origin).await {
                    Err(_) => {} // it was found out before we asked for a byte
                    Ok((content, _)) => {
                        let (before, end) = collect_partly(content.read(0, None)).await;
                        assert!(end.is_err(), "{case}");
                        // Where no size is known, a byte too many shows that the others were not the last.
                        let surplus = !says_total && matches!(act, Act::Surplus(_));
                        assert!(before < len || surplus, "{case}: the last byte left unproven");
                    }
                }
                assert!(fixture.get(&digest).await.is_none(), "{case}");
            }
        }
    }
    assert_eq!(folder_bytes(&fixture.config.path), 0);
    assert_eq!(fixture.metrics.completed.get(), 0);
    assert_eq!(fixture.metrics.disk.bytes.get(), 0);
}

#[tokio::test]
async fn a_mismatch_is_forgotten_by_the_next_pull() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(2 * MIB, 9);
    let digest = sha256(&data);
    let origin = Arc::new(Script::new(&data, &[Act::FlipAt(5), Act::Whole]));
    assert!(matches!(fixture.fill(&digest, &origin).await, Err(ReadError::Fill(FillError::Mismatched))));
    assert_eq!(fixture.metrics.mismatched.get(), 1);
    assert_eq!(fixture.fill(&digest, &origin).await.unwrap(), data);
}

#[tokio::test]
async fn origins_that_disagree_about_the_size_are_not_mixed() {
    let fixture = Fixture::new(|_| {}).await;
    let (data, longer) = (data(2 * MIB, 10), data(2 * MIB + 1, 10));
    let gate = Arc::new(Semaphore::new(1));
    let one = Arc::new(Script::new(&data, &[Act::DieAt(MIB), Act::Refuse(403)]).gated(&gate));
    let (content, _) = fixture.cache.get_or_fill(&sha256(&data), one).await.unwrap();
    let (_other, _) = fixture.cache.get_or_fill(&sha256(&data), Script::whole(&longer)).await.unwrap();
    gate.add_permits(100);
    assert!(collect(content.read(0, None)).await.is_err());
}

#[tokio::test]
async fn empty_content_and_sha512_are_contents_too() {
    let fixture = Fixture::new(|_| {}).await;
    let empty = Bytes::new();
    for says_total in [true, false] {
        let digest = sha256(&empty);
        let origin = Script::new(&empty, &[Act::Whole]);
        let origin = Arc::new(if says_total { origin } else { origin.without_total() });
        assert_eq!(fixture.fill(&digest, &origin).await.unwrap(), Bytes::new());
        fixture.settled().await;
        assert_eq!(fixture.get(&digest).await.unwrap().total(), Some(0));
        fixture.cache.purge(&digest).await;
    }
    let data = data(2 * MIB, 11);
    let digest = Digest::of(Algorithm::Sha512, &data);
    assert_eq!(fixture.fill(&digest, &Script::whole(&data)).await.unwrap(), data);
    let content = fixture.get(&digest).await.unwrap();
    assert_eq!(collect(content.read(0, None)).await.unwrap(), data);
}
