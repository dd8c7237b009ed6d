//! One integration binary, so that linking happens once. A module is a behaviour, a test's name is a fact.

mod harness;

mod access_log;
mod attacks;
mod bad_requests;
mod balance;
mod cache_http;
mod config_files;
mod headers;
mod herd;
mod images;
mod metrics;
mod peers_down;
mod permission;
mod proxy_protocol;
mod redirects;
mod reload;
mod routes;
mod slow_clients;
mod stale;
mod the_harness;
mod tls;
mod uploads;
mod wrong_bytes;
