//! One integration binary, so that linking happens once. A module is a behaviour, a test's name is a fact.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails, and its helpers are tests too"
)]
#![allow(
    clippy::too_many_lines,
    clippy::too_many_arguments,
    reason = "a behaviour is told from its beginning to its end"
)]

mod ground;
mod harness;

mod access_log;
mod acme;
mod alerts;
mod architecture;
mod at_hand;
mod attacks;
mod audit;
mod authorization;
mod bad_requests;
mod balance;
mod bench_command;
mod bodies;
mod cache_http;
mod check_token;
mod client_certificates;
mod client_files;
mod clients;
mod collect;
mod collected_behind_us;
mod config_files;
mod conformance;
mod crash;
mod dashboards;
mod doctor;
mod dropin;
mod fleet;
mod fleet_secret;
mod garbage_collect;
mod headers;
mod herd;
mod images;
mod import_distribution;
mod import_nginx;
mod led_astray;
mod limits;
mod logs;
mod matrix;
mod metrics;
mod mirror;
mod odd_peers;
mod operate;
mod packaging;
mod packaging_kubernetes;
mod parsers;
mod peers_down;
mod peers_words;
mod permission;
mod permissions;
mod prefix;
mod proxy_protocol;
mod pulls;
mod quota;
mod redirects;
mod refresh_tokens;
mod registry_http;
mod registry_start;
mod reload;
mod resend;
mod routes;
mod ruled_hits;
mod slow_clients;
mod smuggling;
mod stale;
mod storage_faults;
mod the_harness;
mod the_peers;
mod tls;
mod traces;
mod upgrade;
mod upload_addresses;
mod uploads;
mod verdict_by;
mod verify;
mod workloads;
mod wrong_bytes;
