//! One integration binary, so that linking happens once. A module is a behaviour, a test's name is a fact.

mod ground;
mod harness;

mod access_log;
mod attacks;
mod bad_requests;
mod balance;
mod cache_http;
mod config_files;
mod conformance;
mod crash;
mod dropin;
mod fleet;
mod headers;
mod herd;
mod images;
mod metrics;
mod parsers;
mod peers_down;
mod permission;
mod proxy_protocol;
mod redirects;
mod registry_http;
mod registry_start;
mod reload;
mod routes;
mod slow_clients;
mod stale;
mod storage_faults;
mod the_harness;
mod the_peers;
mod tls;
mod uploads;
mod wrong_bytes;
