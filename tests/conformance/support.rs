//! "Determining Support".

use super::data::push_image;
use super::expect::Expect;
use super::{Algorithm, Repo};

on_every_storage![
    get_of_v2_must_be_200,
    every_answer_should_name_the_docker_api_version,
    nothing_outside_v2_is_taken_for_the_registry,
    ns_of_a_proxy_s_client_must_not_disturb,
];

/// "Determining Support": 200 means that the registry implements the specification.
fn get_of_v2_must_be_200(repo: &Repo) {
    repo.get("/v2/").status_is(200);
}

/// "Legacy Docker support HTTP headers", optional; distribution: on every answer, and docker looks for it.
fn every_answer_should_name_the_docker_api_version(repo: &Repo) {
    for what in ["/v2/", "tags/list", "manifests/absent", "/v2/_catalog"] {
        repo.get(what).header_is("docker-distribution-api-version", "registry/2.0");
    }
    repo.post("blobs/uploads/").header_is("docker-distribution-api-version", "registry/2.0");
}

/// "Endpoints": all are below `/v2/`.
fn nothing_outside_v2_is_taken_for_the_registry(repo: &Repo) {
    for what in ["/v1/", "/v3/", "/V2/"] {
        repo.get(what).status_is(404);
    }
}

/// main, "Registry Proxying": a registry that is no proxy may ignore it.
fn ns_of_a_proxy_s_client_must_not_disturb(repo: &Repo) {
    let image = push_image(repo, "v1");
    let digest = repo.push(Algorithm::Sha256, b"{}");
    repo.get("manifests/v1?ns=registry.example").status_is(200).body_is(&image.bytes);
    repo.get(&format!("manifests/{}?ns=registry.example", image.digest)).status_is(200).body_is(&image.bytes);
    repo.get(&format!("blobs/{digest}?ns=registry.example")).status_is(200).body_is(b"{}");
    repo.get("tags/list?ns=registry.example").status_is(200);
    repo.get(&format!("referrers/{digest}?ns=registry.example")).status_is(200);
}
