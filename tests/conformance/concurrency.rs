//! main, "POST then PUT": "Registries MUST support concurrent uploads from one or more clients"; "Layer Upload
//! De-duplication"; "Referrers Tag Schema": the API is the protection against races.

use std::collections::BTreeSet;

use super::data::{Manifest, Set, push_image, referrer};
use super::expect::{Expect, referrers};
use super::flow::Flow;
use super::repo::MANIFEST;
use super::{Algorithm, Repo};

on_every_storage![
    concurrent_pushes_of_one_blob_must_all_be_201,
    concurrent_pushes_of_different_blobs_must_all_be_201,
    concurrent_pushes_of_one_tag_must_leave_one_of_them,
    concurrent_pushes_of_tags_must_all_be_listed,
    concurrent_referrers_of_one_subject_must_all_be_listed,
    concurrent_closings_of_one_upload_must_not_break_the_blob,
];

const CLIENTS: usize = 16;

/// Does it on so many threads at once.
fn at_once(work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn({
                    let work = &work;
                    move || work(number)
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no client fails");
        }
    });
}

fn concurrent_pushes_of_one_blob_must_all_be_201(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let bytes = repo.bytes(300_000);
        let digest = algorithm.digest(&bytes);
        at_once(|number| {
            Flow::ALL[number % Flow::ALL.len()].push(repo, &digest, &bytes).status_is(201).leads_to(repo, &bytes);
        });
        repo.get_blob(&digest).status_is(200).body_is(&bytes);
    }
}

fn concurrent_pushes_of_different_blobs_must_all_be_201(repo: &Repo) {
    at_once(|number| {
        let bytes = repo.bytes(200_000 + number);
        let flow = Flow::ALL[number % Flow::ALL.len()];
        flow.push(repo, &Algorithm::Sha256.digest(&bytes), &bytes).status_is(201).leads_to(repo, &bytes);
    });
}

fn concurrent_pushes_of_one_tag_must_leave_one_of_them(repo: &Repo) {
    let manifests: Vec<Vec<u8>> = (0..CLIENTS).map(|_| Set::bare(repo, MANIFEST, true)).collect();
    repo.put_manifest("latest", MANIFEST, &manifests[0]).status_is(201);
    at_once(|number| {
        for _ in 0..3 {
            repo.put_manifest("latest", MANIFEST, &manifests[number]).status_is(201);
            let found = repo.get_manifest("latest").status_is(200);
            assert!(manifests.contains(&found.body), "{} bytes that nobody pushed", found.body.len());
        }
    });
    let last = repo.get_manifest("latest").status_is(200).body;
    assert_eq!(repo.get_manifest("latest").status_is(200).body, last);
    assert_eq!(repo.tags(""), ["latest"]);
}

fn concurrent_pushes_of_tags_must_all_be_listed(repo: &Repo) {
    let bytes = Set::bare(repo, MANIFEST, true);
    at_once(|number| {
        for round in 0..3 {
            let tag = format!("t{number:02}-{round}");
            repo.put_manifest(&tag, MANIFEST, &bytes).status_is(201);
            assert!(repo.tags("").contains(&tag), "{tag} is not listed");
        }
    });
    assert_eq!(repo.tags("").len(), CLIENTS * 3);
}

fn concurrent_referrers_of_one_subject_must_all_be_listed(repo: &Repo) {
    let image = push_image(repo, "v1");
    let manifests: Vec<Manifest> =
        (0..CLIENTS).map(|_| referrer(repo, &image.descriptor(), "application/vnd.example.a")).collect();
    at_once(|number| {
        manifests[number].push(repo).header_is("oci-subject", &image.digest);
        let found = referrers(&repo.get(&format!("referrers/{}", image.digest)));
        assert!(found.contains(&manifests[number].as_referrer()), "its own referrer is not listed");
    });
    let found = referrers(&repo.get(&format!("referrers/{}", image.digest)));
    let digests: BTreeSet<String> = found.iter().map(|descriptor| descriptor["digest"].to_string()).collect();
    assert_eq!((found.len(), digests.len()), (CLIENTS, CLIENTS));
}

/// A client that saw its connection end sends the PUT again: one may be told 404, none a half.
fn concurrent_closings_of_one_upload_must_not_break_the_blob(repo: &Repo) {
    let bytes = repo.bytes(100_000);
    let digest = Algorithm::Sha256.digest(&bytes);
    let upload = crate::harness::repository::location(&repo.patch(&repo.start(), None, &bytes).status_is(202));
    let done = std::sync::atomic::AtomicUsize::new(0);
    at_once(|_| {
        // 400: what is left of an upload when another has closed it may be nothing.
        let answer = repo.close(&upload, &digest, &[]).status_is_one_of(&[201, 400, 404, 409, 416]);
        done.fetch_add(usize::from(answer.status == 201), std::sync::atomic::Ordering::Relaxed);
    });
    assert!(done.into_inner() >= 1);
    repo.get_blob(&digest).status_is(200).body_is(&bytes);
}
