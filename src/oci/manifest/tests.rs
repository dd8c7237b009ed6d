use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::oci::media_type::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST};

fn parse(value: serde_json::Value) -> Manifest {
    Manifest::parse(value.to_string().as_bytes()).unwrap()
}

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

#[test]
fn an_image_names_its_config_and_layers() {
    let manifest = parse(json!({
        "schemaVersion": 2, "config": {"mediaType": "c", "digest": digest('a'), "size": 1},
        "layers": [{"mediaType": "l", "digest": digest('b'), "size": 1},
            {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "digest": digest('c'), "size": 1}],
    }));
    let needed: Vec<_> = manifest.needed().map(|named| named.digest.clone()).collect();
    assert_eq!(needed, [digest('a'), digest('b')]);
    assert_eq!((manifest.implied_media_type(), manifest.referrer_type()), (OCI_MANIFEST, Some("c")));
    assert_eq!(manifest.check(OCI_MANIFEST), Ok(()));
    assert_eq!(manifest.check("application/vnd.example+json"), Ok(()));
    assert_eq!(manifest.check(OCI_INDEX), Err(ManifestError::Kind(OCI_INDEX.into())));
}

#[test]
fn an_index_names_what_need_not_be_there() {
    let index = parse(json!({"schemaVersion": 2, "manifests": [{"mediaType": "m", "digest": "blake3:a", "size": 1}]}));
    assert_eq!((index.implied_media_type(), index.needed().count()), (OCI_INDEX, 0));
    assert_eq!((index.check(OCI_INDEX), index.check(DOCKER_MANIFEST_LIST)), (Ok(()), Ok(())));
    assert_eq!(index.referrer_type(), None);
    assert_eq!(index.check(DOCKER_MANIFEST), Err(ManifestError::Kind(DOCKER_MANIFEST.into())));
}

#[test]
fn null_is_absent() {
    let config = json!({"digest": digest('a')});
    let manifest =
        parse(json!({"schemaVersion": 2, "manifests": null, "layers": [], "config": config, "subject": null}));
    assert_eq!((manifest.check(OCI_MANIFEST), manifest.implied_media_type()), (Ok(()), OCI_MANIFEST));
}

#[test]
fn what_is_required_must_be_there() {
    let config = json!({"digest": digest('a')});
    let images =
        [json!({"schemaVersion": 2, "config": config}), json!({"schemaVersion": 2, "config": config, "layers": null})];
    for media_type in [OCI_MANIFEST, DOCKER_MANIFEST] {
        for image in &images {
            assert_eq!(parse(image.clone()).check(media_type), Ok(()), "{image}");
        }
        assert_eq!(parse(json!({"config": config})).check(media_type), Err(ManifestError::SchemaVersion));
        for image in [json!({"schemaVersion": 2, "layers": []}), json!({"schemaVersion": 2, "config": null})] {
            assert_eq!(parse(image).check(media_type), Err(ManifestError::Missing("config")));
        }
    }
    for media_type in [OCI_INDEX, DOCKER_MANIFEST_LIST] {
        for index in [json!({"schemaVersion": 2, "manifests": []}), json!({"schemaVersion": 2, "manifests": null})] {
            assert_eq!(parse(index).check(media_type), Ok(()));
        }
        assert_eq!(parse(json!({"manifests": []})).check(media_type), Err(ManifestError::SchemaVersion));
        assert_eq!(parse(json!({"schemaVersion": 2})).check(media_type), Err(ManifestError::Missing("manifests")));
    }
    assert_eq!(parse(json!({})).check("application/vnd.example+json"), Ok(()));
}

#[test]
fn what_could_be_taken_for_something_else_is_refused() {
    let both = parse(json!({"schemaVersion": 2, "manifests": [], "layers": []}));
    assert_eq!(both.check(OCI_INDEX), Err(ManifestError::Ambiguous));
    let other = parse(json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}));
    assert!(matches!(other.check(OCI_MANIFEST), Err(ManifestError::MediaType { .. })));
    assert_eq!(parse(json!({"schemaVersion": 3, "layers": []})).check(OCI_MANIFEST), Err(ManifestError::SchemaVersion));
    let config = json!({"digest": digest('a')});
    let bad = parse(json!({"schemaVersion": 2, "config": config, "layers": [{"digest": "sha256:short"}]}));
    assert_eq!(bad.check(OCI_MANIFEST), Err(ManifestError::Digest("sha256:short".into())));
    for text in [
        r#"{"layers":[],"layers":[]}"#,
        r#"{"x":1,"x":2}"#,
        r#"{"Layers":[]}"#,
        r#"{"MANIFESTS":[]}"#,
        r#"{"mediaType":"a","mediaType":"b"}"#,
        r#"{"m\u0065diaType":"a","mediaType":"b"}"#,
        r#"{"config":{"digest":"a:b","digest":"a:c"}}"#,
        r#"{"annotations":{"a":"b","a":"c"}}"#,
        r#"{} {}"#,
        "[]",
        "null",
        "",
        "{",
        "\u{feff}{}",
    ] {
        assert!(matches!(Manifest::parse(text.as_bytes()), Err(ManifestError::Json(_))), "{text}");
    }
}

#[test]
fn schema_1_is_told_by_its_parts() {
    let signed = parse(json!({"schemaVersion": 1, "fsLayers": [], "signatures": []}));
    assert_eq!(signed.implied_media_type(), media_type::DOCKER_SCHEMA1_SIGNED);
    assert_eq!(signed.check(OCI_MANIFEST), Err(ManifestError::Schema1));
    assert_eq!(parse(json!({"schemaVersion": 1})).check(OCI_MANIFEST), Err(ManifestError::Schema1));
}

#[test]
fn plain_objects_are_told_from_others() {
    assert!(is_plain_object(br#"{"layers": 5, "x": [{}, {"a": null}]}"#));
    for text in ["[]", "1", "", r#"{"a":1,"a":2}"#, "{}x"] {
        assert!(!is_plain_object(text.as_bytes()), "{text}");
    }
}

#[test]
fn deep_nesting_is_no_stack_overflow() {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let _ = Manifest::parse(deep.as_bytes());
    let _ = is_plain_object(deep.as_bytes());
}

proptest! {
    #[test]
    fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::parse(&bytes);
        let _ = is_plain_object(&bytes);
    }

    #[test]
    fn anything_like_a_manifest_is_no_panic(
        text in r#"\{("(schemaVersion|mediaType|config|layers|manifests|subject|annotations|x)":(2|"a"|\[\]|\{\}|null|\{"digest":"a:b"\}),?){0,6}\}"#
    ) {
        if let Ok(manifest) = Manifest::parse(text.as_bytes()) {
            prop_assert!(is_plain_object(text.as_bytes()));
            let implied = manifest.implied_media_type().to_owned();
            let _ = (manifest.check(&implied), manifest.needed().count(), manifest.referrer_type());
        }
    }
}
