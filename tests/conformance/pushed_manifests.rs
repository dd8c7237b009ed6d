//! "Pushing Manifests".

use serde_json::{Value, json};

use super::data::{CONFIG, LAYER, Manifest, Set, index_of, push_image};
use super::expect::Expect;
use super::repo::{INDEX, MANIFEST};
use super::{Algorithm, Repo};

on_every_storage![
    push_manifest_by_tag_must_be_201_with_a_location,
    push_manifest_by_digest_must_be_201_with_a_location,
    push_manifest_digest_header_must_be_the_digest_of_the_client,
    push_manifest_must_be_stored_in_its_exact_bytes,
    push_manifest_of_unknown_length_must_work,
    push_manifest_content_type_parameters_should_be_ignored,
    push_manifest_of_dockers_types_must_work,
    push_manifest_of_an_index_of_layers_must_work,
    push_manifest_under_a_wrong_digest_must_be_400,
    push_manifest_under_a_bad_digest_must_be_400,
    push_manifest_that_is_no_json_must_be_400,
    push_manifest_that_is_image_and_index_at_once_must_be_400,
    push_manifest_that_others_would_read_otherwise_must_be_400,
    push_manifest_that_names_more_than_anybody_needs_must_be_400,
    push_manifest_with_a_missing_config_must_be_manifest_blob_unknown,
    push_manifest_with_missing_layers_must_be_manifest_blob_unknown,
    push_manifest_with_blobs_of_another_repository_must_be_manifest_blob_unknown,
    push_manifest_refused_must_leave_no_trace,
    push_manifest_of_four_megabytes_should_be_accepted,
    push_manifest_beyond_the_limit_should_be_413,
    push_manifest_beyond_the_limit_should_be_413_of_unknown_length_too,
    push_manifest_twice_must_be_201_twice,
    push_manifest_must_move_a_tag_and_keep_what_it_left,
    push_manifest_must_be_seen_at_once,
    push_manifest_without_an_image_s_fields_must_work,
];

fn push_manifest_by_tag_must_be_201_with_a_location(repo: &Repo) {
    let bytes = Set::bare(repo, MANIFEST, true);
    let answer = repo.put_manifest("v1", MANIFEST, &bytes).status_is(201);
    answer.header_is("docker-content-digest", &Algorithm::Sha256.digest(&bytes)).leads_to(repo, &bytes);
}

fn push_manifest_by_digest_must_be_201_with_a_location(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let bytes = Set::bare(repo, MANIFEST, true);
        repo.put_manifest(&algorithm.digest(&bytes), MANIFEST, &bytes).status_is(201).leads_to(repo, &bytes);
    }
    assert!(repo.tags("").is_empty());
}

/// "MUST be equal to the client provided digest".
fn push_manifest_digest_header_must_be_the_digest_of_the_client(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let bytes = Set::bare(repo, INDEX, true);
        let digest = algorithm.digest(&bytes);
        repo.put_manifest(&digest, INDEX, &bytes).status_is(201).header_is("docker-content-digest", &digest);
    }
}

/// Order of keys, spaces, escapes, numbers and line ends are the client's.
fn push_manifest_must_be_stored_in_its_exact_bytes(repo: &Repo) {
    let config = repo.push(Algorithm::Sha256, b"{}");
    let odd = format!(
        "\n{{ \"layers\":[ ],\t\"config\" : {{\"size\":2,\"digest\":\"{config}\",\"mediaType\":\"{CONFIG}\"}},\r\n\
         \"annotations\":{{\"\\u0065\":\"\\/ \u{fc} \\ud83d\\ude00\"}}, \"x\": 1.50e+3, \"mediaType\":\"{MANIFEST}\",\
         \"schemaVersion\":2}}\n\n"
    );
    let compact = serde_json::to_vec(&serde_json::from_str::<Value>(&odd).expect("JSON")).expect("JSON");
    for bytes in [odd.as_bytes(), &compact] {
        repo.put_manifest("odd", MANIFEST, bytes).status_is(201);
        repo.get_manifest("odd").status_is(200).body_is(bytes);
        repo.get_manifest(&Algorithm::Sha256.digest(bytes)).status_is(200).body_is(bytes);
    }
}

/// RFC 9112, 7.1: the official suite sends manifests in chunks.
fn push_manifest_of_unknown_length_must_work(repo: &Repo) {
    for (tag, bytes) in [("small", Set::bare(repo, MANIFEST, true)), ("large", of_size(repo, 3_900_000))] {
        let body = std::io::Cursor::new(bytes.clone());
        let request = repo.request("PUT", &format!("manifests/{tag}")).header("Content-Type", MANIFEST).chunked(body);
        repo.send(request).status_is(201).leads_to(repo, &bytes);
        repo.get_manifest(tag).status_is(200).body_is(&bytes);
    }
}

fn push_manifest_content_type_parameters_should_be_ignored(repo: &Repo) {
    for media_type in [MANIFEST, INDEX] {
        let bytes = Set::bare(repo, media_type, true);
        repo.put_manifest("v1", &format!("{media_type};charset=UTF-8; a=\"b\""), &bytes).status_is(201);
        repo.get_manifest("v1").status_is(200).body_is(&bytes).header_is("content-type", media_type);
    }
}

/// "Definitions": "and legacy manifests".
fn push_manifest_of_dockers_types_must_work(repo: &Repo) {
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    let bytes = Set::bare(repo, docker, true);
    let child = Manifest { digest: Algorithm::Sha256.digest(&bytes), media_type: docker.into(), bytes, tags: vec![] };
    child.push(repo);
    let mut content = index_of(&[child.descriptor()]);
    content["mediaType"] = list.into();
    let parent = Manifest::new(Algorithm::Sha256, &content);
    repo.put_manifest("list", list, &parent.bytes).status_is(201);
    for (reference, manifest) in [("list", &parent), (&parent.digest, &parent), (&child.digest, &child)] {
        let request = repo.request("GET", &format!("manifests/{reference}")).header("Accept", docker);
        let answer = repo.send(request.header("Accept", list)).status_is(200).body_is(&manifest.bytes);
        answer.header_is("content-type", &manifest.media_type);
    }
}

/// BuildKit's cache is an index whose "manifests" are layers and a config: always accepted.
fn push_manifest_of_an_index_of_layers_must_work(repo: &Repo) {
    let mut set = Set::new(Algorithm::Sha256);
    let layers = [set.blob(LAYER, repo.bytes(500)), set.absent(LAYER, &repo.bytes(500))];
    let config = set.blob("application/vnd.buildkit.cacheconfig.v0", repo.bytes(300));
    let mut content = index_of(&layers);
    content["manifests"].as_array_mut().expect("a list").push(config);
    set.manifest(content);
    let set = set.push(repo);
    let manifest = &set.manifests[0];
    repo.put_manifest("cache", INDEX, &manifest.bytes).status_is(201).leads_to(repo, &manifest.bytes);
    repo.get_manifest("cache").status_is(200).header_is("content-type", INDEX);
    repo.get_blob(&set.blobs[0].digest).status_is(200).body_is(&set.blobs[0].bytes);
}

/// main, "Pushing Manifests": code-4; the digest of other bytes.
fn push_manifest_under_a_wrong_digest_must_be_400(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let bytes = Set::bare(repo, MANIFEST, true);
        let wrong = algorithm.digest(b"other");
        repo.put_manifest(&wrong, MANIFEST, &bytes).error_is(400, "DIGEST_INVALID");
        repo.get_manifest(&wrong).status_is(404);
        repo.get_manifest(&algorithm.digest(&bytes)).status_is(404);
    }
}

/// The official suite's `sha256:baddigeststring`: no tag either.
fn push_manifest_under_a_bad_digest_must_be_400(repo: &Repo) {
    let bytes = Set::bare(repo, MANIFEST, true);
    for digest in ["sha256:baddigeststring", "sha512:00", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        repo.put_manifest(digest, MANIFEST, &bytes).status_is(400);
        repo.get_manifest(digest).status_is_one_of(&[400, 404]);
    }
}

/// code-6.
fn push_manifest_that_is_no_json_must_be_400(repo: &Repo) {
    for bytes in [&b""[..], b"{", b"[]", b"null", b"7", b"\"text\"", b"\xff\xfe", b"{\"schemaVersion\":2}{}"] {
        for media_type in [MANIFEST, INDEX] {
            repo.put_manifest("v1", media_type, bytes).error_is(400, "MANIFEST_INVALID");
        }
    }
    repo.get_manifest("v1").status_is(404);
}

/// Clients would disagree on what it is (CVE-2021-41190); code-6.
fn push_manifest_that_is_image_and_index_at_once_must_be_400(repo: &Repo) {
    let mut set = Set::new(Algorithm::Sha256);
    let mut content = set.image_content(repo);
    let set = set.push(repo);
    assert_eq!(set.blobs.len(), 3);
    content["manifests"] = json!([]);
    content.as_object_mut().expect("an object").remove("mediaType");
    let bytes = serde_json::to_vec(&content).expect("JSON");
    for media_type in [MANIFEST, INDEX] {
        repo.put_manifest("v1", media_type, &bytes).error_is(400, "MANIFEST_INVALID");
    }
}

/// Invalid UTF-8, endless nesting, keys that fold to a known one or stand twice; code-6.
fn push_manifest_that_others_would_read_otherwise_must_be_400(repo: &Repo) {
    let good = String::from_utf8(Set::bare(repo, MANIFEST, true)).expect("JSON");
    let with = |more: &[u8]| {
        let open = good.strip_suffix('}').expect("an object").as_bytes();
        [open, b",", more, b"}"].concat()
    };
    repo.put_manifest("v1", MANIFEST, &with(b"\"extra\":{\"a\":[1]}")).status_is(201);
    let nested = format!("\"extra\":{}{}", "[".repeat(100), "]".repeat(100));
    for more in [
        &b"\"extra\":\"\xff\""[..],
        nested.as_bytes(),
        "\"layer\u{17f}\":[]".as_bytes(),
        "\"\u{17f}ubject\":null".as_bytes(),
        b"\"\\u017fubject\":null",
        b"\"Layers\":[]",
        b"\"MEDIATYPE\":\"application/x\"",
        b"\"extra\":{\"a\":1,\"a\":2}",
        b"\"layers\":[]",
    ] {
        repo.put_manifest("v2", MANIFEST, &with(more)).error_is(400, "MANIFEST_INVALID");
    }
    repo.get_manifest("v2").status_is(404);
}

fn push_manifest_that_names_more_than_anybody_needs_must_be_400(repo: &Repo) {
    let good: Value = serde_json::from_slice(&Set::bare(repo, MANIFEST, true)).expect("JSON");
    let layers = |count: usize| {
        let mut manifest = good.clone();
        let layer = |number: usize| json!({"mediaType": LAYER, "digest": format!("sha256:{number:064}"), "size": 1});
        manifest["layers"] = (0..count).map(layer).collect();
        serde_json::to_vec(&manifest).expect("JSON")
    };
    repo.put_manifest("v1", MANIFEST, &layers(5000)).error_is(400, "MANIFEST_INVALID");
    repo.put_manifest("v1", MANIFEST, &layers(4000)).error_is(400, "MANIFEST_BLOB_UNKNOWN");
    repo.get_manifest("v1").status_is(404);
}

#[track_caller]
fn refuses_missing(repo: &Repo, set: &Set) {
    let manifest = &set.manifests[0];
    for reference in ["v1", &manifest.digest] {
        let answer = repo.put_manifest(reference, MANIFEST, &manifest.bytes).status_is_one_of(&[400, 404]);
        assert_eq!(answer.error_code(), "MANIFEST_BLOB_UNKNOWN", "{}", answer.text());
        repo.get_manifest(reference).status_is(404);
    }
}

/// "Push", code-5.
fn push_manifest_with_a_missing_config_must_be_manifest_blob_unknown(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let set = Set::image(repo, algorithm);
        for blob in &set.blobs[1..] {
            repo.push(algorithm, &blob.bytes);
        }
        refuses_missing(repo, &set);
    }
}

/// "Push", code-5.
fn push_manifest_with_missing_layers_must_be_manifest_blob_unknown(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let set = Set::image(repo, algorithm);
        for blob in &set.blobs[..2] {
            repo.push(algorithm, &blob.bytes);
        }
        refuses_missing(repo, &set);
    }
}

/// "Push": what is elsewhere is not in the repository: it is refused.
fn push_manifest_with_blobs_of_another_repository_must_be_manifest_blob_unknown(repo: &Repo) {
    let set = Set::image(repo, Algorithm::Sha256).push(&repo.neighbour("other"));
    refuses_missing(repo, &set);
}

fn push_manifest_refused_must_leave_no_trace(repo: &Repo) {
    let kept = push_image(repo, "v1");
    let refused = Set::image(repo, Algorithm::Sha256);
    repo.put_manifest("v1", MANIFEST, &refused.manifests[0].bytes).status_is_one_of(&[400, 404]);
    repo.put_manifest("v2", MANIFEST, b"{").status_is(400);
    repo.get_manifest("v1").status_is(200).body_is(&kept.bytes);
    assert_eq!(repo.tags(""), ["v1"]);
}

fn of_size(repo: &Repo, size: usize) -> Vec<u8> {
    let config = json!({"mediaType": CONFIG, "digest": repo.push(Algorithm::Sha256, b"{}"), "size": 2});
    let content = |filler: String| {
        let annotations = json!({"filler": filler, "mark": Algorithm::Sha256.digest(repo.name.as_bytes())});
        let content = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [], "annotations": annotations});
        serde_json::to_vec(&content).expect("JSON")
    };
    let bytes = content("x".repeat(size - content(String::new()).len()));
    assert_eq!(bytes.len(), size);
    bytes
}

/// "Client and registry implementations SHOULD expect to be able to support … at least 4 megabytes."
fn push_manifest_of_four_megabytes_should_be_accepted(repo: &Repo) {
    for size in [1 << 20, 4_000_000, 4 << 20] {
        let bytes = of_size(repo, size);
        repo.put_manifest("large", MANIFEST, &bytes).status_is(201);
        repo.get_manifest("large").status_is(200).body_is(&bytes);
        repo.head("manifests/large").status_is(200).header_is("content-length", &size.to_string());
    }
}

fn push_manifest_beyond_the_limit_should_be_413(repo: &Repo) {
    for size in [(4 << 20) + 1, 16 << 20] {
        repo.put_manifest("large", MANIFEST, &of_size(repo, size)).status_is(413);
    }
    repo.get_manifest("large").status_is(404);
}

fn push_manifest_beyond_the_limit_should_be_413_of_unknown_length_too(repo: &Repo) {
    let bytes = std::io::Cursor::new(of_size(repo, 5 << 20));
    let request = repo.request("PUT", "manifests/large").header("Content-Type", MANIFEST).chunked(bytes);
    repo.send(request).status_is(413);
    repo.get_manifest("large").status_is(404);
}

fn push_manifest_twice_must_be_201_twice(repo: &Repo) {
    let image = push_image(repo, "v1");
    for reference in ["v1", "v2", &image.digest] {
        repo.put_manifest(reference, MANIFEST, &image.bytes).status_is(201).leads_to(repo, &image.bytes);
    }
    assert_eq!(repo.tags(""), ["v1", "v2"]);
}

fn push_manifest_must_move_a_tag_and_keep_what_it_left(repo: &Repo) {
    let images: Vec<Manifest> = (0..5).map(|_| push_image(repo, "latest")).collect();
    repo.get_manifest("latest").status_is(200).body_is(&images[4].bytes);
    for image in &images {
        repo.get_manifest(&image.digest).status_is(200).body_is(&image.bytes);
    }
    assert_eq!(repo.tags(""), ["latest"]);
}

/// A client that was told 201 and asks for 404 before it must not be told 404 again.
fn push_manifest_must_be_seen_at_once(repo: &Repo) {
    for number in 0..10 {
        let tag = format!("v{number}");
        repo.head(&format!("manifests/{tag}")).status_is(404);
        let bytes = Set::bare(repo, MANIFEST, true);
        repo.head(&format!("manifests/{}", Algorithm::Sha256.digest(&bytes))).status_is(404);
        repo.put_manifest(&tag, MANIFEST, &bytes).status_is(201);
        repo.head(&format!("manifests/{tag}")).status_is(200);
        repo.get_manifest(&tag).status_is(200).body_is(&bytes);
        assert_eq!(repo.tags("").len(), number + 1);
    }
}

/// "Image Manifest Property Descriptions": `annotations`, `mediaType` and platform are optional; layers may repeat.
fn push_manifest_without_an_image_s_fields_must_work(repo: &Repo) {
    let mut set = Set::new(Algorithm::Sha256);
    let config = set.blob("application/vnd.example.anything", repo.bytes(10));
    let layer = set.blob(LAYER, repo.bytes(10));
    set.manifest(json!({"schemaVersion": 2, "config": config, "layers": [layer, layer]}));
    let set = set.push(repo);
    repo.get_manifest(&set.manifests[0].digest).status_is(200).header_is("content-type", MANIFEST);
}
