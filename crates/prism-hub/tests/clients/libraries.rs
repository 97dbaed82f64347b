//! EventSource libraries: `requests-sse` for Python, `eventsource` for Node.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::hub::Hub;
use crate::process::Process;
use crate::program::Program;
use crate::proxy::Proxy;

/// A library, run in a program that prints each event as a line of JSON.
#[derive(Clone, Copy, Debug)]
enum Library {
    Python,
    Node,
}

impl Library {
    fn read(self, url: &str) -> Program {
        let script = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
        let mut command: Command;
        match self {
            Self::Python => {
                command = Process::command("python3");
                command.env("PYTHONPATH", installed("python")).arg(script("reader.py"));
            }
            Self::Node => {
                command = Process::command("node");
                command.env("NODE_PATH", installed("node/node_modules")).arg(script("reader.cjs"));
            }
        }
        // A proxy of this machine must not be used for loopback addresses.
        command.env("NO_PROXY", "*").env("PYTHONDONTWRITEBYTECODE", "1");
        command.args([url, "message", "price-update", "prism.gap"]);
        Program::start(command)
    }

    /// The data that the library delivers unchanged.
    fn texts(self) -> &'static [&'static str] {
        match self {
            // It strips spaces before lines, and empty lines at the end.
            Self::Python => &["1", "two\n\nlines", "{\"symbol\": \"AAPL\"}", "日本"],
            Self::Node => &["", "  two\n\n  lines\n", "{\"symbol\": \"AAPL\"}", "日本"],
        }
    }
}

/// Where `cargo xtask test` installs the libraries.
fn installed(what: &str) -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = temporary.parent().expect("it is in the target directory");
    let directory = target.join("clients").join(what);
    let is_there = directory.is_dir();
    assert!(is_there, "{} is missing: run `cargo xtask test`", directory.display());
    directory
}

async fn publish(hub: &Hub, data: &str) -> Value {
    let id = hub.publish(&[("topic", "prices"), ("data", data), ("type", "price-update")]).await;
    json!({"event": "price-update", "data": data, "id": id})
}

async fn receives_resumes_and_obeys_retry(library: Library) {
    const LATE: Duration = Duration::from_secs(4);
    let hub = Hub::open().await;
    let proxy = Proxy::to(hub.address()).await;
    let mut reader = library.read(&proxy.url("/.well-known/mercure?topic=prices&control=on"));
    assert_eq!(proxy.request(1).await.last_event_id(), None);
    assert_eq!(reader.event().await, json!({"event": "open"}));

    // It receives events.
    let mut last = Value::Null;
    for data in library.texts() {
        last = publish(&hub, data).await;
        assert_eq!(reader.event().await, last);
    }

    // It resumes after the reconnection time that the hub sent. By its default Node's library would
    // wait for 3 s, and Python's, which doubles the time, for minutes.
    let mut times_away = Vec::new();
    for visit in 2..=4 {
        proxy.hold_requests();
        let left = proxy.cut_connections();
        let missed = [publish(&hub, "missed").await, publish(&hub, "missed as well").await];
        let request = proxy.request(visit).await;
        assert_eq!(request.last_event_id(), last["id"].as_str());
        times_away.push(request.at - left);
        proxy.forward_requests();
        assert_eq!(reader.event().await, json!({"event": "open"}));
        for missed in missed {
            assert_eq!(reader.event().await, missed);
        }
        last = publish(&hub, "live").await;
        assert_eq!(reader.event().await, last);
    }
    assert!(times_away.iter().all(|away| *away >= Duration::from_millis(300)), "{times_away:?}");
    assert!(times_away.iter().any(|away| *away < Duration::from_secs(3)), "{times_away:?}");

    // A publisher's event can set another reconnection time.
    hub.publish(&[("topic", "prices"), ("data", "later"), ("retry", "4000")]).await;
    let event = reader.event().await;
    assert_eq!((&event["event"], &event["data"]), (&json!("message"), &json!("later")));
    let left = proxy.cut_connections();
    let request = proxy.request(5).await;
    let away = request.at - left;
    assert!(away >= LATE, "told to wait {LATE:?}, it was back after {away:?}");
    assert_eq!(request.last_event_id(), event["id"].as_str());
    assert_eq!(reader.event().await, json!({"event": "open"}));

    // A hub that was killed has lost its history, and sends a gap.
    proxy.hold_requests();
    let hub = hub.kill_and_restart().await;
    proxy.request(6).await;
    proxy.forward_requests();
    assert_eq!(reader.event().await, json!({"event": "open"}));
    let gap = reader.event().await;
    assert_eq!(gap["event"], "prism.gap", "{gap}");
    last = publish(&hub, "anew").await;
    assert_eq!(reader.event().await, last);
}

#[tokio::test]
async fn python_receives_resumes_and_obeys_retry() {
    receives_resumes_and_obeys_retry(Library::Python).await;
}

#[tokio::test]
async fn node_receives_resumes_and_obeys_retry() {
    receives_resumes_and_obeys_retry(Library::Node).await;
}
