//! Conformance: one named test for each MUST and SHOULD of the OCI distribution specification that a registry can break,
//! version 1.1.1 and what the main branch added, on every storage. The doc comment of a test names the section it
//! tests in quotes, with "main" where 1.1.1 has no such rule; what the specification leaves open and distribution has
//! settled says "distribution", what HTTP settles says its RFC.
//!
//! A module is a part of the specification and begins with the list of its tests: a test not on the list is dead code.
//! Tests know only HTTP, so they can ask any registry: `ENTREPOT_CONFORMANCE_AT=127.0.0.1:5000 cargo test conformance`.

#[macro_use]
mod server;

mod audit;
mod data;
mod expect;
mod flow;
mod hash;
mod login;
mod repo;

mod blobs;
mod cancel;
mod catalog;
mod chunks;
mod concurrency;
mod conditions;
mod data_sets;
mod deletion;
mod deletion_disabled;
mod errors;
mod large;
mod manifests;
mod mount;
mod names;
mod pushed_blobs;
mod pushed_manifests;
mod ranges;
mod referrers;
mod referrers_of_tags;
mod sessions;
mod sparse;
mod subjects;
mod support;
mod tag_parameters;
mod tags;

use hash::Algorithm;
use repo::Repo;
