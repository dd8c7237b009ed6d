//! The request of a cell, and what has to be there before it: things to delete, tags to move, uploads to go on with.

use serde_json::json;

use super::cells::{Cell, Place, Route, Shown, Who};
use super::expected::may_push;
use super::world::World;
use crate::harness::repository::{ACCEPT, OCI_MANIFEST, location, with_digest};
use crate::harness::{Answer, Image, Repository, digest};

/// Redis forgets after so many cells, if there is one.
const FLUSH_EVERY: usize = 40;

type Asker = (Who, Shown);

/// Asks what a cell asks.
pub fn ask(world: &World, cell: &Cell, number: usize) -> Answer {
    if number.is_multiple_of(FLUSH_EVERY) {
        world.flush();
    }
    let asker = (cell.who, cell.shown);
    let Cell { route, place, .. } = *cell;
    let put = |reference: &str, manifest: Vec<u8>| {
        let target = format!("/v2/{}/manifests/{reference}", place.name());
        let request = world.request(asker, "PUT", target).header("Content-Type", OCI_MANIFEST);
        request.body(manifest).send(world.entrepot.address)
    };
    let delete = |what: String| {
        world.request(asker, "DELETE", format!("/v2/{}/{what}", place.name())).send(world.entrepot.address)
    };
    let tag = format!("n{number}");
    match route {
        Route::TagPut => put(&tag, world.image.manifest.clone()),
        Route::TagAgain => {
            world.seeder.push_manifest(&tag, OCI_MANIFEST, &world.image.manifest);
            put(&tag, world.image.manifest.clone())
        }
        Route::TagMove => {
            world.seeder.push_manifest(&tag, OCI_MANIFEST, &world.image.manifest);
            put(&tag, world.other.manifest.clone())
        }
        Route::DigestPut => {
            let manifest = manifest_of_its_own(&world.image, number);
            put(&digest(&manifest), manifest)
        }
        Route::TagDelete => {
            seed(world, place, |seeder| seeder.push_manifest(&tag, OCI_MANIFEST, &world.image.manifest));
            delete(format!("manifests/{tag}"))
        }
        Route::DigestDelete => {
            let manifest = manifest_of_its_own(&world.image, number);
            seed(world, place, |seeder| seeder.push_manifest(&tag, OCI_MANIFEST, &manifest));
            delete(format!("manifests/{}", digest(&manifest)))
        }
        Route::BlobDelete => {
            let blob = format!("a blob of {number}");
            seed(world, place, |seeder| seeder.push_blob(blob.as_bytes()));
            delete(format!("blobs/{}", digest(blob.as_bytes())))
        }
        Route::UploadStart => start(world, asker, place, ""),
        Route::MountPublic => start(world, asker, place, &mount(world, Place::Public)),
        Route::MountHidden => start(world, asker, place, &mount(world, Place::Hidden)),
        Route::UploadPatch | Route::UploadPut | Route::UploadGet | Route::UploadDelete => {
            // Who may open none asks for somebody else's.
            let opener = match cell.who {
                Who::Expired => (Who::Writer, Shown::Bearer),
                who if may_push(who, place) => asker,
                _ => (Who::Admin, Shown::Bearer),
            };
            go_on(world, asker, route, &opened(world, opener, place), number)
        }
        Route::OthersPatch | Route::OthersPut | Route::OthersGet | Route::OthersDelete => {
            let opener = if cell.who == Who::Admin { Who::Writer } else { Who::Admin };
            go_on(world, asker, route, &opened(world, (opener, Shown::Bearer), place), number)
        }
        _ => read(world, route, place, asker),
    }
}

/// What changes nothing.
pub fn read(world: &World, route: Route, place: Place, asker: Asker) -> Answer {
    let (image, name) = (&world.image, place.name());
    let (layer, manifest) = (&image.layers[0], &image.digest);
    let (method, what) = match route {
        Route::Base => ("GET", "/v2/".to_owned()),
        Route::Catalog => ("GET", "/v2/_catalog".into()),
        Route::Tags => ("GET", format!("/v2/{name}/tags/list")),
        Route::TagGet => ("GET", format!("/v2/{name}/manifests/v1")),
        Route::TagHead => ("HEAD", format!("/v2/{name}/manifests/v1")),
        Route::DigestGet => ("GET", format!("/v2/{name}/manifests/{manifest}")),
        Route::DigestHead => ("HEAD", format!("/v2/{name}/manifests/{manifest}")),
        Route::BlobGet => ("GET", format!("/v2/{name}/blobs/{layer}")),
        Route::BlobHead => ("HEAD", format!("/v2/{name}/blobs/{layer}")),
        Route::Referrers => ("GET", format!("/v2/{name}/referrers/{manifest}")),
        other => panic!("{other:?} changes something"),
    };
    world.request(asker, method, what).header("Accept", ACCEPT).send(world.entrepot.address)
}

/// Nothing is put where nothing shall be.
fn seed(world: &World, place: Place, put: impl FnOnce(&Repository) -> String) {
    if place == Place::Team {
        put(&world.seeder);
    }
}

fn manifest_of_its_own(image: &Image, number: usize) -> Vec<u8> {
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).expect("JSON");
    manifest["annotations"] = json!({ "number": number.to_string() });
    serde_json::to_vec(&manifest).expect("JSON")
}

fn mount(world: &World, from: Place) -> String {
    format!("?mount={}&from={}", world.image.layers[0], from.name())
}

fn start(world: &World, asker: Asker, place: Place, query: &str) -> Answer {
    let target = format!("/v2/{}/blobs/uploads/{query}", place.name());
    world.request(asker, "POST", target).send(world.entrepot.address)
}

/// Where an upload goes on; of a backend that takes none, where it would.
fn opened(world: &World, opener: Asker, place: Place) -> String {
    let answer = start(world, opener, place, "");
    match answer.status {
        202 => location(&answer),
        _ => format!("/v2/{}/blobs/uploads/4d1e4b63-9e2b-4d5c-8f0a-0a1b2c3d4e5f", place.name()),
    }
}

fn go_on(world: &World, asker: Asker, route: Route, upload: &str, number: usize) -> Answer {
    let bytes = format!("the bytes of {number}").into_bytes();
    let request = match route {
        Route::UploadPatch | Route::OthersPatch => {
            let request = world.request(asker, "PATCH", upload).header("Content-Type", "application/octet-stream");
            request.body(bytes)
        }
        Route::UploadPut | Route::OthersPut => {
            world.request(asker, "PUT", with_digest(upload, &digest(&bytes))).body(bytes)
        }
        Route::UploadGet | Route::OthersGet => world.request(asker, "GET", upload),
        _ => world.request(asker, "DELETE", upload),
    };
    request.send(world.entrepot.address)
}
