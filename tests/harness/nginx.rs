//! nginx in front of registries: what Entrepot replaces, here to check the tests' clients against.

use std::fmt::Write;
use std::net::{SocketAddr, TcpStream};

use super::process::{Ending, Process, command};
use super::{ports, scratch};

pub struct Nginx {
    pub address: SocketAddr,
    process: Process,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// A plain balancer over these peers.
    pub fn before(peers: &[SocketAddr]) -> Self {
        let mut servers = String::new();
        for peer in peers {
            let _ = write!(servers, "server {peer}; ");
        }
        Nginx::start(|address| {
            format!(
                "upstream registries {{ {servers} }}
    server {{
        listen {address};
        client_max_body_size 0;
        proxy_request_buffering off;
        location / {{ proxy_pass http://registries; proxy_set_header Host $http_host; proxy_http_version 1.1; }}
    }}"
            )
        })
    }

    /// With whatever `http` section `section` makes for the address.
    pub fn start(section: impl Fn(SocketAddr) -> String) -> Self {
        let folder = scratch();
        for _ in 0..5 {
            let address = ports::free();
            let home = folder.path().display();
            let text = format!(
                "daemon off;\nmaster_process off;\npid {home}/pid;\nerror_log {home}/log info;\nevents {{}}\nhttp {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    {}\n}}\n",
                section(address)
            );
            std::fs::write(folder.path().join("nginx.conf"), text).expect("nginx's configuration");
            let mut command = command("/usr/sbin/nginx");
            command.arg("-c").arg(folder.path().join("nginx.conf")).arg("-p").arg(folder.path());
            let mut process = Process::start("nginx", command, &folder.path().join("output"), Ending::Kill);
            if process.wait_ready(|| TcpStream::connect(address).is_ok()) {
                return Nginx { address, process, folder };
            }
        }
        panic!("nginx does not start: {}", std::fs::read_to_string(folder.path().join("output")).unwrap_or_default());
    }
}
