//! `publish` and `listen`, against a hub with scripted answers that records the requests.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{Running, command, run, run_in};

/// What one request said.
struct Heard {
    head: String,
    body: String,
    at: Instant,
}

/// Answers one request after the other with these texts, each ending its connection.
fn hub(answers: &[&str]) -> (SocketAddr, mpsc::Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            tell.send(hear(&stream)).unwrap();
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, heard)
}

fn hear(stream: &TcpStream) -> Heard {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|it| it.lines().next());
    let mut body = vec![0; length.map_or(0, |it| it.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    Heard { head, body: String::from_utf8(body).unwrap(), at: Instant::now() }
}

fn answer(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n{body}")
}

fn stream(body: &str) -> String {
    answer("200 OK", "text/event-stream", body)
}

#[test]
fn publish_sends_the_form_and_prints_the_id() {
    let (address, heard) = hub(&[&answer("200 OK", "text/plain; charset=utf-8", "#a.7")]);
    let url = format!("http://{address}/.well-known/mercure");
    let output = run_in(
        &[
            "publish",
            &url,
            "--topic",
            "a",
            "--topic",
            "https://b.example/?c=d&e",
            "--data",
            "-1 & é\nline",
            "--event",
            "price",
            "--id",
            "7",
            "--retry",
            "5000",
            "--private",
        ],
        &[("PRISM_HUB_TOKEN", "x.y.z")],
    );
    assert_eq!((output.code, output.err.as_str(), output.out.as_str()), (0, "", "#a.7\n"));
    let heard = heard.recv().unwrap();
    assert!(heard.head.starts_with("POST /.well-known/mercure HTTP/1.1\r\n"), "{}", heard.head);
    let head = heard.head.to_lowercase();
    assert!(head.contains("authorization: bearer x.y.z\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-www-form-urlencoded\r\n"), "{head}");
    assert_eq!(
        heard.body,
        "topic=a&topic=https%3A%2F%2Fb.example%2F%3Fc%3Dd%26e&data=-1+%26+%C3%A9%0Aline\
         &type=price&id=7&retry=5000&private=on"
    );
}

#[test]
fn publish_reads_standard_input() {
    let (address, heard) = hub(&[&answer("200 OK", "text/plain", "1")]);
    let url = format!("http://{address}/events");
    let args = ["publish", &url, "--topic", "a", "--data", "-"];
    let mut command = command(&args);
    let file = crate::program::TempFile::new("two\nlines\n");
    command.stdin(Stdio::from(std::fs::File::open(&file.0).unwrap()));
    let mut running = Running::start(&mut command);
    assert_eq!(running.wait().code(), Some(0));
    assert_eq!(heard.recv().unwrap().body, "topic=a&data=two%0Alines");
}

#[test]
fn publish_prints_why_it_was_refused() {
    let problem = r#"{"title":"Forbidden","status":403,"detail":"The token does not allow this."}"#;
    for (answer, message) in [
        (
            answer("403 Forbidden", "application/problem+json", problem),
            "the hub refused: 403 Forbidden: The token does not allow this.",
        ),
        (
            answer("401 Unauthorized", "text/plain", "\u{1b}[31mno"),
            "the hub refused: 401 Unauthorized: \\u{1b}[31mno",
        ),
        (answer("500 Oh", "text/plain", ""), "the hub refused: 500 Internal Server Error"),
    ] {
        let (address, _heard) = hub(&[&answer]);
        let output = run(&["publish", &format!("http://{address}/"), "--topic", "a"]);
        assert_eq!(output.err, format!("prism-hub: {message}\n"));
        assert_eq!((output.code, output.out.as_str()), (1, ""));
    }
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(&["publish", &format!("http://{gone}/"), "--topic", "a"]);
    assert_eq!(output.code, 1);
    assert!(output.err.contains("refused"), "{}", output.err);
}

#[test]
fn listen_reconnects_with_the_last_id_after_the_retry_time() {
    let (address, heard) = hub(&[
        &stream(
            "retry: 300\nid: a\nevent: prism.open\ndata: {}\n\nid: b\ndata: 1\n\nid: c\ndata: cut",
        ),
        &stream(
            "id: d\nevent: price\ndata: 2\ndata: 3\n\n:\n\nid: e\nevent: prism.mark\ndata:\n\n",
        ),
        &answer("503 Service Unavailable", "text/plain", "later"),
        &answer("204 No Content", "text/plain", ""),
    ]);
    let url = format!("http://{address}/events?control=off");
    let args = ["listen", &url, "--topic", "a", "--topic", "b/*", "--json", "--token", "x.y.z"];
    let mut running = Running::start(&mut command(&args));
    assert_eq!(running.line(), r#"{"data":"1","event":"message","id":"b"}"#);
    assert_eq!(running.line(), r#"{"data":"2\n3","event":"price","id":"d"}"#);
    assert_eq!(running.wait().code(), Some(0), "204 ends it");
    assert_eq!(running.rest_of_out(), "");

    let heard: Vec<Heard> = heard.try_iter().collect();
    let heads: Vec<String> = heard.iter().map(|it| it.head.to_lowercase()).collect();
    let line = "get /events?control=off&topic=a&topic=b%2f* http/1.1\r\n";
    assert!(heads.iter().all(|head| head.starts_with(line)), "{heads:?}");
    assert!(heads.iter().all(|head| head.contains("accept: text/event-stream\r\n")));
    assert!(heads.iter().all(|head| head.contains("authorization: bearer x.y.z\r\n")));
    assert!(!heads[0].contains("last-event-id"));
    assert!(heads[1].contains("last-event-id: b\r\n"), "the event that was cut off is not seen");
    assert!(heads[2].contains("last-event-id: e\r\n"));
    assert!(heads[3].contains("last-event-id: e\r\n"));
    let waits = heard.windows(2).map(|pair| pair[1].at - pair[0].at);
    for wait in waits {
        let expected = Duration::from_millis(290)..Duration::from_secs(3);
        assert!(expected.contains(&wait), "{wait:?}");
    }
}

#[test]
fn listen_starts_after_the_given_id_and_prints_text() {
    let (address, heard) = hub(&[
        &stream("retry: 100\nid: 8\nevent: price\ndata: a\u{1b}[31m\ndata: b\n\n"),
        &answer("403 Forbidden", "text/plain", "no"),
    ]);
    let url = format!("http://{address}/events");
    let args = ["listen", &url, "--topic", "a", "--last-event-id", "7"];
    let output = run(&args);
    assert_eq!(output.out, "id: 8\nevent: price\ndata: a\\u{1b}[31m\ndata: b\n\n");
    assert_eq!(output.err, "prism-hub: the hub refused: 403 Forbidden: no\n");
    assert_eq!(output.code, 1, "a refusal is final");
    assert!(heard.recv().unwrap().head.to_lowercase().contains("last-event-id: 7\r\n"));
    assert!(heard.recv().unwrap().head.to_lowercase().contains("last-event-id: 8\r\n"));
}

#[test]
fn listen_refuses_an_answer_that_is_not_a_stream() {
    let (address, _heard) = hub(&[&answer("200 OK", "text/html", "<p>")]);
    let output = run(&["listen", &format!("http://{address}/"), "--topic", "a"]);
    assert_eq!(output.code, 1);
    assert!(output.err.ends_with("this is no stream of events\n"), "{}", output.err);
}

#[test]
fn listen_exits_when_its_output_is_closed() {
    let (address, _heard) = hub(&[&stream(&"data: x\n\n".repeat(100_000))]);
    let mut command = command(&["listen", &format!("http://{address}/"), "--topic", "a"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(0));
}
