//! History on disk: the hub ends in the middle of its work, and goes on.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;

use crate::program::{Running, TempDirectory, command, get, run_in};

/// Starts a hub on a directory.
fn start(directory: &TempDirectory, more: &[&str]) -> (Running, SocketAddr) {
    let engine = format!("embedded:{}", directory.path().join("data").display());
    let usual = ["serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "off"];
    let mut hub = Running::start(command(&[&usual, more].concat()).args(["--engine", &engine]));
    let address = hub.address("listening on http://");
    (hub, address)
}

/// Publishes an event. Returns the answer: its status line, and its body.
fn publish(address: SocketAddr, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST /events HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn member<'a>(json: &'a str, name: &str) -> &'a str {
    let (_, rest) = json.split_once(&format!("\"{name}\":\"")).unwrap();
    rest.split('"').next().unwrap()
}

/// Publishes a number. Returns its id.
fn publish_number(address: SocketAddr, number: usize, durability: &str) -> String {
    let (status, answer) = publish(address, &format!("{{\"topic\":\"a\",\"data\":{number}}}"));
    assert_eq!(status, "HTTP/1.1 200 OK", "{answer}");
    assert_eq!(member(&answer, "durability"), durability);
    member(&answer, "id").to_owned()
}

/// What comes after an id, until as many events are there: their data, and their ids.
fn read(address: SocketAddr, last: &str, count: usize) -> Vec<(String, String)> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!(
        "GET /events?topic=a HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\
         Last-Event-ID: {last}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let (mut all, mut id, mut name) = (Vec::new(), String::new(), String::new());
    while all.len() < count {
        let line = lines.next().unwrap();
        if let Some(text) = line.strip_prefix("id: ") {
            text.clone_into(&mut id);
        } else if let Some(text) = line.strip_prefix("event: ") {
            text.clone_into(&mut name);
        } else if let Some(text) = line.strip_prefix("data: ") {
            assert_ne!(name, "prism.gap", "{text}");
            if name.is_empty() {
                all.push((text.to_owned(), std::mem::take(&mut id)));
            }
        } else if line.is_empty() {
            name.clear();
        }
    }
    all
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9_and_readers_resume() {
    for (durability, more) in
        [("os", &[][..]), ("fsync", &["--durability", "fsync", "--memory", "4KiB"])]
    {
        let directory = TempDirectory::new();
        let mut ids: Vec<String> = Vec::new();
        for round in 0..4 {
            let (mut hub, address) = start(&directory, more);
            for (from, id) in ids.iter().enumerate().step_by(7) {
                let expected: Vec<_> =
                    (from + 1..ids.len()).map(|it| (it.to_string(), ids[it].clone())).collect();
                assert_eq!(read(address, id, expected.len()), expected, "after {from}");
            }
            for _ in 0..25 {
                ids.push(publish_number(address, ids.len(), durability));
            }
            hub.signal(if round == 2 { Signal::TERM } else { Signal::KILL });
            hub.wait();
        }
        assert!(ids.iter().collect::<std::collections::HashSet<_>>().len() == 100, "{ids:?}");
    }
}

#[test]
fn a_directory_that_another_hub_has_is_refused_with_its_process_id() {
    let directory = TempDirectory::new();
    let (hub, _) = start(&directory, &[]);
    let engine = format!("embedded:{}", directory.path().join("data").display());
    let variables = [("PRISM_HUB_ENGINE", engine.as_str())];
    let usual = ["serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "off"];
    let output = run_in(&usual, &variables);
    assert_eq!(output.code, 1);
    let reason = format!("the process {} has it open; `--engine embedded:DIR`", hub.id());
    assert!(output.err.contains(&reason), "{}", output.err);
    assert!(output.err.contains("`--engine memory` needs none"), "{}", output.err);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = TempDirectory::new();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let engine = format!("embedded:{}", file.join("data").display());
    let usual = ["serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "off"];
    let output = run_in(&usual, &[("PRISM_HUB_ENGINE", &engine)]);
    assert_eq!(output.code, 1);
    let reason = format!("the directory {} cannot be used: ", file.join("data").display());
    assert!(output.err.contains(&reason), "{}", output.err);
}

#[test]
fn a_retry_with_its_idempotency_key_after_kill_9_is_no_second_event() {
    let directory = TempDirectory::new();
    let (mut hub, address) = start(&directory, &[]);
    let event = r#"{"topic":"a","data":"once","key":"k-1"}"#;
    let (_, first) = publish(address, event);
    hub.signal(Signal::KILL);
    hub.wait();
    let (_hub, address) = start(&directory, &[]);
    let (status, again) = publish(address, event);
    assert_eq!(status, "HTTP/1.1 200 OK", "{again}");
    assert_eq!(member(&again, "id"), member(&first, "id"));
    let (status, _) = publish(address, r#"{"topic":"a","data":"twice","key":"k-1"}"#);
    assert_eq!(status, "HTTP/1.1 409 Conflict");
    assert!(get(address, "/readyz?for=publish").0.starts_with("http/1.1 200"));
}
