//! What becomes of each directive that nothing is made of: whether it is missed, and why not.

use super::notes::{Notes, Weight};
use super::tree::Directive;

/// Blocks in blocks; the parser lets no more through.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Copy)]
enum Fate {
    /// It is read where it counts.
    Read,
    Needless(&'static str),
    Lost(&'static str),
    Opener(&'static str),
}
use Fate::{Lost, Needless, Opener, Read};

/// Directives, with blanks between them, and what becomes of them. The first that has a name counts.
const KNOWN: &[(&str, Fate)] = &[
    (
        "http server location upstream if limit_except include events map set listen server_name proxy_pass return allow deny satisfy \
         auth_basic auth_basic_user_file auth_delay auth_request auth_jwt least_conn ip_hash hash random keepalive proxy_set_header add_header \
         proxy_connect_timeout proxy_read_timeout proxy_send_timeout proxy_next_upstream proxy_next_upstream_tries proxy_cache_path \
         proxy_cache limit_req limit_conn limit_req_zone limit_conn_zone access_log error_log client_header_timeout client_body_timeout \
         send_timeout keepalive_timeout large_client_header_buffers http2_max_concurrent_streams set_real_ip_from real_ip_header \
         ssl ssl_protocols ssl_ciphers ssl_certificate ssl_certificate_key ssl_verify_client ssl_client_certificate ssl_crl health_check \
         client_max_body_size root try_files index alias internal stub_status fastcgi_pass uwsgi_pass grpc_pass scgi_pass \
         content_by_lua_block access_by_lua_block access_by_lua access_by_lua_file js_access proxy_ssl_verify \
         proxy_ssl_trusted_certificate proxy_ssl_name proxy_ssl_certificate proxy_ssl_certificate_key",
        Read,
    ),
    // TLS, to peers and to clients.
    ("proxy_ssl_crl", Lost("lists of revoked certificates are not read")),
    (
        "proxy_ssl_password_file ssl_password_file",
        Lost("a key with a passphrase cannot be read: write it without one, for its owner alone"),
    ),
    (
        "ssl_prefer_server_ciphers ssl_dhparam ssl_ecdh_curve ssl_conf_command",
        Needless("ciphers and curves are those of TLS 1.3, and of TLS 1.2 those with ECDHE and AEAD: none is weak"),
    ),
    (
        "ssl_stapling ssl_stapling_verify ssl_stapling_file ssl_stapling_responder",
        Lost("no OCSP answer is stapled; clients of registries do not ask for one"),
    ),
    ("ssl_reject_handshake", Lost("who asks for an unknown name gets the first certificate")),
    ("ssl_verify_depth ssl_ocsp ssl_trusted_certificate", Needless("chains are checked up to the authorities")),
    ("ssl_early_data", Needless("no early data is taken")),
    // What passes through.
    (
        "proxy_buffering proxy_request_buffering proxy_buffers proxy_buffer_size proxy_busy_buffers_size proxy_max_temp_file_size \
         proxy_temp_path proxy_temp_file_write_size proxy_http_version",
        Needless("bodies stream in both directions, over HTTP/1.1 to peers, and memory is bounded"),
    ),
    ("proxy_redirect", Needless("addresses in answers lead back here by themselves")),
    ("proxy_next_upstream_timeout", Lost("tries have a number (`retry.tries`), and each its own timeouts")),
    ("proxy_cache_use_stale", Needless("while no peer answers, what is known is served for `stale` (1h)")),
    (
        "proxy_cache_lock proxy_cache_lock_timeout proxy_cache_lock_age proxy_cache_background_update",
        Needless("a blob is downloaded once, and all who wait for it read along"),
    ),
    (
        "proxy_cache_valid proxy_cache_key proxy_cache_methods proxy_cache_revalidate proxy_cache_min_uses proxy_cache_bypass \
         proxy_no_cache proxy_ignore_headers proxy_cache_convert_head proxy_cache_max_range_offset proxy_store",
        Needless("what has a digest never changes, and tags are asked of the registry each time"),
    ),
    ("proxy_intercept_errors", Lost("a registry's own words reach its clients")),
    ("proxy_hide_header", Lost("a peer's fields are handed on, but cookies and those of one hop")),
    (
        "proxy_pass_header proxy_pass_request_headers proxy_pass_request_body",
        Needless("fields and bodies are handed on"),
    ),
    ("proxy_cookie_path proxy_cookie_domain proxy_cookie_flags", Needless("cookies are not handed on from /v2/")),
    ("proxy_limit_rate limit_rate limit_rate_after", Lost("the rate of one transfer is not bounded")),
    ("proxy_method proxy_set_body", Lost("requests are handed on as they are")),
    ("proxy_bind", Lost("connections to peers begin at the address that the system chooses")),
    ("proxy_protocol", Lost("peers are told of clients by X-Forwarded-For, not by the PROXY protocol")),
    // The process.
    (
        "worker_processes worker_connections worker_rlimit_nofile worker_cpu_affinity worker_priority multi_accept use accept_mutex \
         thread_pool aio sendfile sendfile_max_chunk tcp_nopush tcp_nodelay directio output_buffers reset_timedout_connection \
         postpone_output worker_shutdown_timeout open_file_cache open_file_cache_valid open_file_cache_min_uses open_file_cache_errors \
         timer_resolution",
        Needless(
            "one process has a thread for each processor (`threads`); `max_connections` of a listener and [drain] have the bounds",
        ),
    ),
    (
        "user pid daemon master_process working_directory env load_module lock_file pcre_jit",
        Needless("what starts Entrepot says who it runs as"),
    ),
    (
        "chunked_transfer_encoding client_body_buffer_size client_body_temp_path client_header_buffer_size client_body_in_file_only \
         client_body_in_single_buffer lingering_close lingering_timeout lingering_time ignore_invalid_headers underscores_in_headers \
         merge_slashes request_pool_size connection_pool_size max_ranges etag if_modified_since absolute_redirect port_in_redirect \
         server_name_in_redirect msie_padding disable_symlinks http2 http2_recv_timeout http2_idle_timeout http2_max_requests \
         http2_max_field_size http2_max_header_size http2_chunk_size http2_body_preread_size keepalive_requests keepalive_disable \
         keepalive_time",
        Needless("Entrepot speaks HTTP/1.1, and HTTP/2 over TLS, by its own bounds"),
    ),
    (
        "gzip gunzip brotli zstd",
        Needless("layers are compressed already, and a digest counts for the bytes as they are"),
    ),
    (
        "zone queue resolver resolver_timeout state ntlm",
        Needless(
            "names of peers are asked for again each `resolve_interval` (30s), and all threads share what is known of them",
        ),
    ),
    (
        "sticky sticky_cookie_insert",
        Needless("an upload finds its registry by its address, so that clients need not be bound to one"),
    ),
    (
        "check check_http_send check_http_expect_alive check_keepalive_requests",
        Needless("peers are asked for /v2/ each 5s (`health` of the cluster)"),
    ),
    ("real_ip_recursive", Needless("chains are walked as far as they name `trusted_proxies`")),
    (
        "default_type types charset types_hash_max_size types_hash_bucket_size server_names_hash_bucket_size server_names_hash_max_size \
         map_hash_bucket_size map_hash_max_size variables_hash_max_size variables_hash_bucket_size expires log_not_found log_subrequest",
        Needless("registries say of what type their content is"),
    ),
    ("log_format open_log_file_cache", Needless("a request is a JSON line with all that is known of it")),
    (
        "limit_req_status limit_conn_status limit_req_log_level limit_conn_log_level",
        Needless("who is over a limit is told 429 with Retry-After, which clients understand"),
    ),
    ("server_tokens more_clear_headers", Needless("answers do not say of which version Entrepot is")),
    ("error_page recursive_error_pages", Lost("errors are those of the registry's specification, which clients read")),
    ("rewrite rewrite_log break", Lost("paths are handed on as they are asked for")),
    ("mirror mirror_request_body", Lost("requests go to one peer")),
    ("more_set_headers", Lost("fixed fields of answers are `headers` of a listener")),
    (
        "stream",
        Lost(
            "Entrepot speaks HTTP and balances no other connections: what passes through `stream` has to come to it as HTTP",
        ),
    ),
    ("mail", Lost("Entrepot speaks HTTP alone")),
    ("geo split_clients", Lost("there are no variables")),
    (
        "valid_referers secure_link secure_link_secret secure_link_md5 modsecurity modsecurity_rules_file",
        Opener("nobody is refused for it here"),
    ),
];

/// Beginnings of names, for those that are not in [`KNOWN`].
const FAMILIES: &[(&str, Fate)] = &[
    (
        "proxy_ssl_",
        Needless("peers are spoken to with TLS 1.2 or 1.3, their name is told and their certificate looked at"),
    ),
    ("ssl_", Needless("sessions of TLS are resumed without being told")),
    ("proxy_", Needless("how peers are spoken to is Entrepot's own")),
    ("gzip_", Needless("nothing is compressed on the way")),
    ("brotli_", Needless("nothing is compressed on the way")),
    ("sub_filter", Lost("bodies are handed on as they are")),
    ("lua_", Lost("programs in nginx do not run here: see what it is for")),
    ("js_", Lost("programs in nginx do not run here: see what it is for")),
    ("perl", Lost("programs in nginx do not run here: see what it is for")),
    ("otel_", Lost("metrics are at /metrics of the [admin] address")),
    ("opentracing", Lost("metrics are at /metrics of the [admin] address")),
    ("vhost_traffic", Lost("metrics are at /metrics of the [admin] address")),
];

/// Says of each directive that nothing else looks at what becomes of it. Servers that nothing is made of are passed over.
pub fn rest(level: &[Directive], imported: &dyn Fn(&Directive) -> bool, notes: &mut Notes) {
    walk(level, imported, 0, notes);
}

fn walk(level: &[Directive], imported: &dyn Fn(&Directive) -> bool, depth: usize, notes: &mut Notes) {
    for directive in level {
        if directive.name == "server" && directive.block.is_some() && !imported(directive) {
            continue;
        }
        let name = directive.name.as_str();
        if name == "client_max_body_size" {
            body_size(directive, notes);
        }
        match fate(name) {
            Read => {}
            Needless(why) => notes.say(Weight::Needless, name, why, &directive.at),
            Lost(why) => notes.lost(name, why, &directive.at),
            Opener(why) => notes.opener(name, why, &directive.at),
        }
        let into = matches!(name, "http" | "server" | "location" | "if" | "limit_except" | "upstream" | "events");
        if into && depth < MAX_DEPTH {
            walk(directive.inner(), imported, depth + 1, notes);
        }
    }
}

/// Most configurations have to switch it off, and forget some place.
fn body_size(directive: &Directive, notes: &mut Notes) {
    match directive.arg(0) {
        "0" => notes.say(Weight::Needless, &*directive.name, "no push is too large", &directive.at),
        _ => {
            let why = "no push is too large, and none is refused for its size; of a registry of its own, [[quota]] bounds what \
                       repositories hold";
            notes.lost(&*directive.name, why, &directive.at);
        }
    }
}

fn fate(name: &str) -> Fate {
    let known = KNOWN.iter().find(|(names, _)| names.split_whitespace().any(|known| known == name));
    let family = || FAMILIES.iter().find(|(start, _)| name.starts_with(start));
    match known.or_else(family) {
        Some((_, fate)) => *fate,
        None if name.contains("_by_lua") => Lost("programs in nginx do not run here: see what it is for"),
        None => Lost("is not known here: see what it is for, and whether it is missed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_has_one_fate() {
        let mut names: Vec<&str> = KNOWN.iter().flat_map(|(names, _)| names.split_whitespace()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(matches!(fate("proxy_cache_lock"), Needless(why) if why.contains("downloaded once")));
        assert!(matches!(fate("proxy_anything"), Needless(_)) && matches!(fate("set_by_lua_block"), Lost(_)));
        assert!(matches!(fate("anything"), Lost(why) if why.contains("not known")));
    }
}
