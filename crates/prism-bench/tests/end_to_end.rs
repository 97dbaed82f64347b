//! The program measures its own targets without a fault, and sees the faults of a bad server.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_prism-bench"))
        .args(arguments)
        // Other tests run at the same time: nothing here depends on quiet.
        .args(["--no-pin", "--json", "--settle", "0.01", "--retries", "0", "--patience", "0.01"])
        .output()
        .unwrap()
}

fn report(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}"))
}

#[test]
fn every_target_delivers_every_event() {
    for target in ["prism-serve", "prism-layer", "axum-idiom", "raw"] {
        for pace in [["--in-flight", "1"], ["--in-flight", "8"], ["--rate", "100"]] {
            let load = ["fanout", target, "-n", "40", "-m", "20", "--publishers", "2"];
            let output = bench(&[&load[..], &pace].concat());
            let report = report(&output);
            let run = &report["runs"][0];
            assert!(output.status.success(), "{report:#}");
            assert_eq!(run["delivery"]["deliveries"], 800, "{report:#}");
            let figure = |name: &str| run["delivery"][name].as_f64().unwrap();
            assert!(figure("deliveries_per_second") > 0.0 && figure("client_busy") > 0.0);
            // No server is faster than a few microseconds, nor slower than the whole run.
            let latency = [0.002, figure("p50_ms"), figure("p99_ms"), figure("seconds") * 1e3];
            assert!(latency.is_sorted(), "{latency:?}");
        }
    }
}

#[test]
fn idle_connections_cost_memory() {
    for target in ["prism-serve", "prism-layer", "axum-idiom", "never-ready", "one-line", "raw"] {
        let output = bench(&["idle", target, "-n", "100"]);
        let report = report(&output);
        assert!(output.status.success() && report["runs"][0]["delivery"].is_null(), "{report:#}");
        assert!(report["runs"][0]["connects_per_second"].as_f64().unwrap() > 0.0);
    }
}

/// The only run of a report that is without a fault.
fn faultless_run(output: &Output) -> Value {
    let report = report(output);
    assert!(output.status.success(), "{report:#}");
    report["runs"][0].clone()
}

/// A metric of a comparison that is without a fault.
fn compared(output: &Output, name: &str) -> Value {
    let report = report(output);
    assert!(output.status.success(), "{report:#}");
    let compared = report["compared"].as_array().unwrap();
    compared.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("{report:#}")).clone()
}

#[test]
fn a_storm_replays_everything_to_everybody() {
    for target in ["prism-serve", "prism-layer", "raw"] {
        let run = faultless_run(&bench(&["storm", target, "-n", "30", "--replay", "200"]));
        assert_eq!(run["storm"]["events"], 6000, "{run:#}");
        assert!(run["storm"]["live_ms"].as_f64().unwrap() > 0.0, "{run:#}");
    }
}

#[test]
fn nobody_misses_anything_while_others_come_and_go() {
    for target in ["prism-serve", "prism-layer", "raw"] {
        let load = ["-n", "10", "--churning", "5", "--rate", "100", "-m", "20"];
        let run = faultless_run(&bench(&[&["churn", target], &load[..]].concat()));
        assert_eq!(run["delivery"]["deliveries"], 200, "{run:#}");
        assert!(run["churn"]["opened"].as_u64().unwrap() > 0, "{run:#}");
    }
}

#[test]
fn readers_that_never_read_are_compared_to_none() {
    let load = ["--pairs", "1", "-n", "20", "-m", "20", "--slow", "0.5"];
    for target in ["prism-serve", "raw"] {
        let output = bench(&[&["slow", target], &load[..]].concat());
        let pair = &report(&output)["pairs"][0];
        assert_eq!(
            (&pair["a"]["connections"], &pair["b"]["connections"]),
            (&20.into(), &10.into())
        );
        for run in [&pair["a"], &pair["b"]] {
            assert_eq!(run["delivery"]["deliveries"], 200, "{run:#}");
        }
        assert!(compared(&output, "p99 ms")["ratio"]["median"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn events_of_a_topic_reach_its_readers_alone() {
    for private in [&[][..], &["--private"]] {
        let load = ["-n", "40", "--topics", "20", "-m", "60", "--publishers", "2", "--pairs", "1"];
        let output = bench(&[&["topics", "prism-serve"], &load[..], private].concat());
        let pair = &report(&output)["pairs"][0];
        assert_eq!(pair["a"]["delivery"]["deliveries"], 120, "{pair:#}");
        assert_eq!(pair["b"]["connections"], 4, "{pair:#}");
        compared(&output, "CPU us/publish");
    }
}

#[test]
fn a_million_is_any_number_in_any_number_of_processes() {
    for target in ["prism-serve", "raw"] {
        let load = ["-n", "101", "--processes", "2", "--broadcasts", "2"];
        let run = faultless_run(&bench(&[&["million", target], &load[..]].concat()));
        assert_eq!(run["crowd"]["deliveries"], 202, "{run:#}");
        assert_eq!(run["crowd"]["broadcast_seconds"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_page_is_drawn_from_what_was_printed() {
    let directory = std::env::temp_dir().join(format!("prism-bench-page-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let [json, page] = ["run.json", "page.html"].map(|name| directory.join(name));
    fs::write(&json, bench(&["fanout", "raw", "-n", "10", "-m", "10"]).stdout).unwrap();
    let program = || Command::new(env!("CARGO_BIN_EXE_prism-bench"));
    let drawn = program().arg("report").arg(&json).arg("--out").arg(&page).status().unwrap();
    let text = fs::read_to_string(&page).unwrap();
    let refused = program().arg("report").arg(&page).output().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    assert!(drawn.success() && text.contains("<svg") && text.contains("100 deliveries"), "{text}");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("no result of --json"), "{error}");
}

#[test]
fn servers_are_compared_in_pairs() {
    let output = bench(&["compare", "prism-layer", "raw", "--pairs", "2", "-n", "10", "-m", "10"]);
    assert_eq!(report(&output)["pairs"].as_array().unwrap().len(), 2);
    let rate = compared(&output, "deliveries/s");
    let ratio = ["low", "median", "high"].map(|end| rate["ratio"][end].as_f64().unwrap());
    assert!(ratio.is_sorted() && ratio[0] > 0.0, "{ratio:?}");
}

#[test]
fn nginx_is_measured_where_it_is_installed() {
    for load in [&["fanout"][..], &["storm", "--replay", "20"]] {
        let output = bench(&[load, &["nginx-nchan", "-n", "10", "-m", "20"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || error.contains("is not installed"), "{error}");
    }
}

#[test]
fn publishers_are_answered_as_fast_as_they_come() {
    for target in ["bare-publish", "prism-hub"] {
        let output = bench(&["publish", target, "--publishers", "8", "-m", "400"]);
        if is_missing_hub(&output) {
            continue;
        }
        let run = faultless_run(&output);
        let published = &run["published"];
        assert_eq!((&published["answered"], &published["deliveries"]), (&400.into(), &400.into()));
        let figure = |name: &str| published[name].as_f64().unwrap();
        let latency = [0.002, figure("ack_p50_ms"), figure("ack_p99_ms"), figure("ack_max_ms")];
        assert!(latency.is_sorted() && figure("answered_per_second") > 0.0, "{run:#}");
    }
}

#[test]
fn the_hub_has_readers_topics_and_a_past() {
    for load in [
        &["fanout", "prism-hub", "-n", "20", "-m", "20"][..],
        &["topics", "prism-hub", "--private", "-n", "20", "-m", "60", "--pairs", "1"],
        &["storm", "prism-hub", "-n", "20", "--replay", "50"],
    ] {
        let output = bench(load);
        assert!(output.status.success() || is_missing_hub(&output), "{load:?}: {output:?}");
    }
}

/// Whether the hub is not there, because only this package was built.
fn is_missing_hub(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("prism-hub is not there")
}

#[test]
fn what_cannot_be_measured_is_refused() {
    for (arguments, why) in [
        (&["fanout", "never-ready", "-n", "1"][..], "nothing can be published to it"),
        (&["fanout", "external", "-n", "1", "--url", "http://127.0.0.1:1/"], "needs --publish-url"),
        (&["storm", "axum-idiom", "-n", "1"], "storm is not for axum-idiom"),
        (&["topics", "raw", "-n", "1"], "it has no topics"),
        (&["publish", "raw"], "it takes no forms"),
        (&["publish", "prism-hub", "--hub", "/nowhere/hub"], "/nowhere/hub does not start"),
        (&["million", "raw", "-n", "1", "--processes", "2"], "do not fit"),
        (&["idle", "raw", "-n", "100000000"], "do not fit"),
        (&["idle", "external", "-n", "1"], "needs --url"),
        (&["idle", "external", "-n", "1", "--url", "http://127.0.0.1:1/"], "Connection refused"),
    ] {
        let output = bench(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(why), "{error}");
    }
}

#[test]
fn the_faults_of_a_bad_server_are_seen() {
    let address = bad_server();
    let url = format!("http://{address}/events");
    let publish_url = format!("http://{address}/publish");
    let urls = ["--url", &url, "--publish-url", &publish_url];
    let load = ["fanout", "external", "-n", "3", "-m", "20", "-w", "8", "--stall", "0.5"];
    let output = bench(&[&load[..], &urls].concat());
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let faults = &report["runs"][0]["faults"];
    let expected = [("lost", 3), ("doubled", 3), ("reordered", 3), ("damaged", 3)];
    for (name, count) in expected {
        assert_eq!(faults[name], count, "{name}: {report:#}");
    }
}

/// A server that doubles its third event, swaps the fourth and fifth, cuts the sixth short and
/// loses the last of all, the 28th: 8 to warm up and 20 that count.
fn bad_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let streams = Arc::new(Mutex::new(Vec::new()));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let streams = Arc::clone(&streams);
            thread::spawn(move || serve_badly(stream.unwrap(), &streams));
        }
    });
    address
}

fn serve_badly(mut stream: TcpStream, streams: &Mutex<Vec<TcpStream>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut held_back = Vec::new();
    for number in 1.. {
        let (mut subscribes, mut length) = (false, 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            subscribes |= line.starts_with("GET ");
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        if subscribes {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n: welcome\n\n").unwrap();
            streams.lock().unwrap().push(stream);
            return;
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text).unwrap();
        let event = |text: &[u8]| [b"data: ", text, b"\n\n"].concat();
        let sent = match number {
            3 => event(&text).repeat(2),
            4 => {
                held_back = event(&text);
                Vec::new()
            }
            5 => [event(&text), std::mem::take(&mut held_back)].concat(),
            6 => event(&text[..50]),
            28 => Vec::new(),
            _ => event(&text),
        };
        for stream in &mut *streams.lock().unwrap() {
            stream.write_all(&sent).unwrap();
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    }
}
