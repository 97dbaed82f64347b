//! The real program, over sockets.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Program {
    child: Child,
    address: SocketAddr,
    /// The second address that it printed, if there is one.
    admin: Option<SocketAddr>,
}

impl Program {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prism-hub"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PRISM_HUB_") {
                command.env_remove(name);
            }
        }
        command.env("PRISM_HUB_ENGINE", "memory");
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut address = |words: &str| {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line.trim().strip_prefix(words).unwrap().parse().unwrap()
        };
        let public = address("listening on http://");
        let has_admin = !args.windows(2).any(|pair| pair == ["--admin-listen", "off"]);
        let admin = has_admin.then(|| address("admin on http://"));
        Self { child, address: public, admin }
    }

    /// Ends the program and returns its log.
    fn log(mut self) -> String {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
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
        // The program may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn read_until(stream: &mut TcpStream, what: &str) -> String {
    let mut seen = String::new();
    let mut buf = [0; 4096];
    while !seen.contains(what) {
        let len = stream.read(&mut buf).unwrap();
        assert!(len > 0, "the stream ended before {what:?}: {seen:?}");
        seen += std::str::from_utf8(&buf[..len]).unwrap();
    }
    seen
}

#[test]
fn a_posted_event_reaches_a_socket_and_a_subscriber_resumes() {
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
fn connections_of_one_address_are_limited() {
    let hub = Program::start(&[
        "serve",
        "--dev",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "off",
        "--max-connections-per-ip",
        "1",
        "--trusted-proxy",
        "127.0.0.1",
        "--refuse",
        "status",
    ]);
    let from = "X-Forwarded-For: 198.51.100.1, 192.0.2.1\r\n";
    let mut first = hub.read("/events", from);
    read_until(&mut first, "prism.open");
    let mut second = hub.read("/events", from);
    let seen = read_until(&mut second, "\r\n\r\n");
    assert!(seen.starts_with("HTTP/1.1 429"), "{seen}");
    let mut other = hub.read("/events", "X-Forwarded-For: 192.0.2.2\r\n");
    read_until(&mut other, "prism.open");
    drop(first);
    let freed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let mut again = hub.read("/events", from);
        read_until(&mut again, "\r\n\r\n").starts_with("HTTP/1.1 200")
    });
    assert!(freed, "a permit is released with its connection");
}

#[test]
fn m07_073_and_075_and_m08_192_and_194_keys_and_tokens_are_not_logged() {
    let key = "a key that nobody else must ever learn of";
    let hub = Program::start(&[
        "--log",
        "json",
        "--log-level",
        "debug",
        "serve",
        "--publisher-key",
        key,
        "--subscriber-key",
        key,
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--drain",
        "100ms",
    ]);
    let args = ["token", "--key", key, "--publish", "*", "--subscribe", "*"];
    let token = Command::new(env!("CARGO_BIN_EXE_prism-hub")).args(args).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
    let bad = format!("{token}x");
    let mut output = String::new();
    for token in [&token, &bad] {
        for path in ["/events", "/.well-known/mercure", "/nothing"] {
            for request in [
                format!("GET {path}?topic=a&authorization={token} HTTP/1.1\r\n"),
                format!("GET {path}?topic=a HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"),
                format!("GET {path}?topic=a HTTP/1.1\r\nCookie: mercureAuthorization={token}\r\n"),
                format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"),
            ] {
                let mut stream = hub.send(&format!("{request}Host: localhost\r\n\r\n"));
                output += &read_until(&mut stream, "\r\n\r\n");
            }
        }
    }
    let admin = TcpStream::connect(hub.admin.unwrap());
    let mut metrics = admin.unwrap();
    metrics.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    metrics.read_to_string(&mut output).unwrap();
    let log = hub.log();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    assert!(log.contains("\"answered\"") && log.contains("a token was refused"), "{log}");
    let signature = token.rsplit('.').next().unwrap();
    for secret in [key, token.as_str(), signature] {
        assert!(!log.contains(secret), "{log}");
        assert!(!output.contains(secret), "{output}");
    }
}

#[test]
fn every_example_in_the_protocol_documentation_runs() {
    const DOCUMENT: &str = include_str!("../../../../docs/protocol.md");
    let hub = Program::start(&[
        "serve",
        "--dev",
        "--publisher-key",
        "try-it-out",
        "--subscriber-key",
        "try-it-out",
        "--subscriptions",
        "on",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    let args = ["token", "--key", "try-it-out", "--publish", "*", "--subscribe", "*"];
    let token = Command::new(env!("CARGO_BIN_EXE_prism-hub")).args(args).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
    let home = std::env::temp_dir().join(format!("prism-hub-curl-{}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    // A stream does not end: a curl that reached its `--max-time` got a response.
    std::fs::write(home.join(".curlrc"), "max-time = 0.5\nfail-with-body\nsilent\n").unwrap();

    let blocks = DOCUMENT.split("```sh\n").skip(1);
    let commands: Vec<&str> =
        blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines()).collect();
    assert!(commands.len() > 15, "too few examples were found");
    for command in commands {
        let local = command
            .replace("127.0.0.1:8080", &hub.address.to_string())
            .replace("127.0.0.1:9090", &hub.admin.unwrap().to_string());
        let mut shell = Command::new("sh");
        shell.args(["-c", &local]).env("CURL_HOME", &home).env("TOKEN", &token);
        let output = shell.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let is_answered = matches!(output.status.code(), Some(0 | 28)) && !text.is_empty();
        assert!(is_answered, "{command}: {output:?}");
    }
    std::fs::remove_dir_all(&home).unwrap();
}

#[test]
fn m07_040_and_m08_133_a_stream_on_a_delivery_shard_ends_when_its_token_expires() {
    let key = "a key that nobody else must ever learn of";
    let hub = Program::start(&[
        "serve",
        "--publisher-key",
        key,
        "--subscriber-key",
        key,
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "off",
    ]);
    let args = ["token", "--key", key, "--subscribe", "*", "--ttl", "2s"];
    let token = Command::new(env!("CARGO_BIN_EXE_prism-hub")).args(args).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap();
    let header = format!("Authorization: Bearer {}\r\n", token.trim());
    let mut reader = hub.read("/events?topic=a", &header);
    read_until(&mut reader, "prism.open");
    let began = std::time::Instant::now();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the last chunk is missing: {rest:?}");
    let took = began.elapsed();
    let range = Duration::from_millis(500)..Duration::from_millis(2500);
    assert!(range.contains(&took), "{took:?}");
    let mut again = hub.read("/events?topic=a", &header);
    assert!(read_until(&mut again, "\r\n\r\n").starts_with("HTTP/1.1 401"));
}
