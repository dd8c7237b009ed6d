//! Sockets that a service manager opens before us, and keeps while we are gone.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::world::configured;
use crate::harness::entrepot::BINARY;
use crate::harness::process::{Ending, Process, command};
use crate::harness::{Connection, Request, eventually, ports};

#[test]
fn systemd_s_own_tool_hands_sockets_over_by_name_and_by_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let (named, addressed) = (ports::free(), ports::free());
    let listeners =
        format!("[[listener]]\nname = \"https\"\naddress = \"127.0.0.1:1\"\n[[listener]]\naddress = \"{addressed}\"");
    let config = configured(folder.path(), &listeners);
    let mut activate = command("systemd-socket-activate");
    let address = |address: std::net::SocketAddr| ["--listen".to_owned(), address.to_string()];
    activate.args(address(named)).args(address(addressed)).args(["--fdname=https:other", BINARY, "serve", "--config"]);
    activate.arg(config);
    let mut process = Process::start("systemd-socket-activate", activate, &folder.path().join("log"), Ending::Kill);
    assert!(process.wait_ready(|| TcpStream::connect(named).is_ok()), "{}", process.log());
    for address in [named, addressed] {
        Request::get("/v2/").send(address).expect(200);
    }
    assert!(process.log().contains("listening"), "{}", process.log());
}

/// As a service manager does: the socket stays with the test, and each process has it as its descriptor 3.
fn start(socket: &TcpListener, config: &Path) -> Child {
    let inherited: OwnedFd = socket.try_clone().expect("a second handle").into();
    let line = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=front; exec \"$@\"";
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "sh", "-c", line, "sh", BINARY, "serve", "--config"]).arg(config);
    command.stdin(Stdio::from(inherited)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process")
}

#[test]
fn a_crash_refuses_no_connection_where_the_socket_is_another_s() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("its address");
    let config = configured(folder.path(), &format!("[[listener]]\naddress = \"{address}\""));
    let mut child = start(&socket, &config);
    Request::get("/v2/").send(address).expect(200);
    child.kill().expect("a process");
    child.wait().expect("its end");
    // Nobody serves, and nobody is refused.
    let waiting: Vec<_> = (0..200).map(|_| Connection::open(address).expect("a connection that waits")).collect();
    let mut child = start(&socket, &config);
    for connection in waiting {
        connection.exchange(Request::get("/v2/")).expect("an answer").finish().expect(200);
    }
    child.kill().expect("a process");
    child.wait().expect("its end");
}

#[test]
fn what_is_handed_over_and_cannot_be_served_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = configured(folder.path(), &format!("[[listener]]\naddress = \"{}\"", ports::free()));
    let line = "exec 3</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
    let output = Command::new("sh").args(["-c", line, "sh", BINARY, "serve", "--config"]).arg(&config).output();
    let output = output.expect("a process");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("socket 0 of the service manager"), "{said}");
    // One that nothing has is closed, and the others serve.
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = socket.local_addr().expect("its address");
    let mut child = start(&socket, &config);
    drop(socket);
    eventually("it is closed", || TcpStream::connect(other).is_err());
    child.kill().expect("a process");
    child.wait().expect("its end");
}
