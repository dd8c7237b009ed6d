//! "Mounting a blob from another repository", end-11.

use super::expect::Expect;
use super::login::Login;
use super::repo::with_query;
use super::{Algorithm, Repo};
use crate::harness::Answer;
use crate::harness::repository::location;

on_every_storage![
    mount_must_be_201_with_a_location,
    mount_without_from_must_be_201_where_it_is_supported,
    mount_must_not_depend_on_a_body,
    mount_of_what_is_nowhere_should_be_202_with_an_upload,
    mount_from_an_unknown_repository_should_be_202_with_an_upload,
    mount_from_itself_must_work,
    mount_of_a_bad_digest_must_be_400_or_202,
    mount_must_be_independent_of_where_it_came_from,
];

fn mount(repo: &Repo, digest: &str, from: Option<&Repo>) -> Answer {
    let target = with_query("blobs/uploads/", "mount", digest);
    repo.post(&from.map_or(target.clone(), |from| with_query(&target, "from", &from.name.replace('/', "%2F"))))
}

#[track_caller]
fn assert_upload(repo: &Repo, answer: &Answer) {
    let bytes = repo.bytes(100);
    assert_eq!(answer.status, 202, "{}", answer.text());
    repo.close(&location(answer), &Algorithm::Sha256.digest(&bytes), &bytes).status_is(201).leads_to(repo, &bytes);
}

fn mount_must_be_201_with_a_location(repo: &Repo) {
    let source = repo.neighbour("source");
    for algorithm in Algorithm::ALL {
        let bytes = repo.bytes(3000);
        let digest = source.push(algorithm, &bytes);
        let answer = mount(repo, &digest, Some(&source)).status_is(201);
        answer.header_is("docker-content-digest", &digest).leads_to(repo, &bytes);
        repo.get_blob(&digest).status_is(200).body_is(&bytes);
        repo.head(&format!("blobs/{digest}")).status_is(200);
    }
}

/// `from` may be optional; the official suite skips where it is not. Where not everybody may read everything, it is not.
fn mount_without_from_must_be_201_where_it_is_supported(repo: &Repo) {
    let source = repo.neighbour("source");
    for algorithm in Algorithm::ALL {
        let bytes = repo.bytes(3000);
        let digest = source.push(algorithm, &bytes);
        let answer = mount(repo, &digest, None);
        match repo.login {
            Login::None => drop(answer.status_is(201).leads_to(repo, &bytes)),
            _ => assert_upload(repo, &answer),
        }
    }
}

/// Docker's POST has no body and says so; others say nothing at all.
fn mount_must_not_depend_on_a_body(repo: &Repo) {
    let source = repo.neighbour("source");
    let bytes = repo.bytes(3000);
    let digest = source.push(Algorithm::Sha256, &bytes);
    let target = with_query(&with_query("blobs/uploads/", "from", &source.name), "mount", &digest);
    let request = repo.request("POST", &target).header("Content-Type", "application/octet-stream");
    repo.send(request).status_is(201).leads_to(repo, &bytes);
}

fn mount_of_what_is_nowhere_should_be_202_with_an_upload(repo: &Repo) {
    let source = repo.neighbour("source");
    source.push(Algorithm::Sha256, b"so that it exists");
    for algorithm in Algorithm::ALL {
        let digest = algorithm.digest(&repo.bytes(9));
        for from in [None, Some(&source)] {
            assert_upload(repo, &mount(repo, &digest, from));
            repo.get_blob(&digest).status_is(404);
        }
    }
}

fn mount_from_an_unknown_repository_should_be_202_with_an_upload(repo: &Repo) {
    let digest = Algorithm::Sha256.digest(&repo.bytes(9));
    assert_upload(repo, &mount(repo, &digest, Some(&repo.neighbour("absent"))));
}

fn mount_from_itself_must_work(repo: &Repo) {
    let bytes = repo.bytes(3000);
    let digest = repo.push(Algorithm::Sha256, &bytes);
    mount(repo, &digest, Some(repo)).status_is(201).leads_to(repo, &bytes);
}

fn mount_of_a_bad_digest_must_be_400_or_202(repo: &Repo) {
    let source = repo.neighbour("source");
    for digest in ["sha256:baddigeststring", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        mount(repo, digest, Some(&source)).status_is_one_of(&[202, 400]);
    }
}

/// "Deleting Blobs": of `<name>`, and no other; the official suite deletes both.
fn mount_must_be_independent_of_where_it_came_from(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let (source, third) = (repo.neighbour("source"), repo.neighbour("third"));
        let bytes = repo.bytes(3000);
        let digest = source.push(algorithm, &bytes);
        mount(repo, &digest, Some(&source)).status_is(201);
        source.delete(&format!("blobs/{digest}")).status_is(202);
        source.get_blob(&digest).status_is(404);
        repo.get_blob(&digest).status_is(200).body_is(&bytes);
        mount(&third, &digest, Some(repo)).status_is(201).leads_to(&third, &bytes);
        repo.delete(&format!("blobs/{digest}")).status_is(202);
        repo.get_blob(&digest).status_is(404);
        third.get_blob(&digest).status_is(200).body_is(&bytes);
    }
}
