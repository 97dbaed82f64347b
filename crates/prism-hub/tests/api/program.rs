//! The real program over sockets.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prism-hub"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PRISM_HUB_") {
                command.env_remove(name);
            }
        }
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
        Self { child, address }
    }

    fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn publish(&self, body: &str) -> String {
        let len = body.len();
        let mut stream = self.send(&format!(
            "POST /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: \
             {len}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n{body}"
        ));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.rsplit_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn read(&self, path: &str, headers: &str) -> TcpStream {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{headers}\r\n"
        ))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn read_until(stream: &mut TcpStream, what: &str) -> String {
    let mut seen = String::new();
    let mut buf = [0; 4096];
    while !seen.contains(what) {
        let len = stream.read(&mut buf).unwrap();
        assert!(len > 0, "the end before {what:?}: {seen:?}");
        seen += std::str::from_utf8(&buf[..len]).unwrap();
    }
    seen
}

#[test]
fn an_event_goes_from_a_post_to_a_socket_and_a_reader_resumes() {
    let hub =
        Program::start(&["serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "off"]);
    let mut reader = hub.read("/events?topic=prices", "");
    let head = read_until(&mut reader, "prism.open");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let first = hub.publish("topic=prices&data=1&type=price");
    let seen = read_until(&mut reader, "data: 1\n\n");
    assert!(seen.contains(&format!("id: {first}\nevent: price\n")), "{seen}");
    drop(reader);
    hub.publish("topic=prices&data=2");
    let mut again =
        hub.read("/.well-known/mercure?topic=prices", &format!("Last-Event-ID: {first}\r\n"));
    let seen = read_until(&mut again, "data: 2\n\n");
    assert!(seen.to_lowercase().contains(&format!("last-event-id: {first}\r\n")), "{seen}");
    assert!(!seen.contains("prism."), "{seen}");
}

#[test]
fn connections_of_one_address_are_bounded() {
    let hub = Program::start(&[
        "serve",
        "--dev",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "off",
        "--max-connections-per-ip",
        "1",
        "--refuse",
        "status",
    ]);
    let mut first = hub.read("/events", "");
    read_until(&mut first, "prism.open");
    let mut second = hub.read("/events", "");
    let seen = read_until(&mut second, "\r\n\r\n");
    assert!(seen.starts_with("HTTP/1.1 429"), "{seen}");
    drop(first);
    let freed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let mut again = hub.read("/events", "");
        read_until(&mut again, "\r\n\r\n").starts_with("HTTP/1.1 200")
    });
    assert!(freed, "a seat is free again when its reader is gone");
}
