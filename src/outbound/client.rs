//! What all HTTP clients of ours have in common; whoever makes one adds its times and how many connections it keeps.

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, retry};
use rustls::ClientConfig;

/// HTTP/1.1 over connections that are trusted by `tls`. Nothing is done that was not asked for: no redirect is followed, no request sent
/// again, no proxy of the environment used, which is meant for other programs.
pub fn client(tls: ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .retry(retry::never())
        .tcp_nodelay(true)
}
