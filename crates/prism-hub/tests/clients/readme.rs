//! The commands in README.md.

use crate::hub::{Hub, say};
use crate::process::Process;
use crate::program::Program;

const README: &str = include_str!("../../../../README.md");

/// The default address of a hub.
const USUAL: &str = "127.0.0.1:8080";

/// The shell commands that begin like this.
fn lines(beginning: &str) -> Vec<&'static str> {
    let blocks = README.split("```").skip(1).step_by(2);
    let shell = blocks.filter_map(|block| block.strip_prefix("sh\n"));
    shell.flat_map(str::lines).filter(|line| line.starts_with(beginning)).collect()
}

/// Runs a command as written, but with the address of the test's hub.
fn run(line: &str, hub: &Hub) -> Program {
    assert_eq!(line.matches(USUAL).count(), 1, "{line}");
    let line = line.replace(USUAL, &hub.address().to_string());
    let mut command = Process::command("sh");
    command.env("NO_PROXY", "*").args(["-c", &format!("{line} --silent --show-error && echo")]);
    Program::start(command)
}

#[tokio::test]
async fn the_lines_of_curl_work_in_a_second_terminal() {
    assert!(lines("cargo run").contains(&"cargo run -p prism-hub -- demo"));
    assert!(say(&["demo", "--help"]).contains(USUAL), "the default address changed");
    let hub = Hub::demo().await;

    let (reads, publishes): (Vec<_>, Vec<_>) =
        lines("curl ").into_iter().partition(|line| line.starts_with("curl -N "));
    assert!(!reads.is_empty() && !publishes.is_empty());
    let mut ids = Vec::new();
    for line in publishes {
        let id = run(line, &hub).line().await;
        assert!(id.starts_with('#'), "{line}: {id}");
        ids.push(id);
    }
    for line in reads {
        let mut reader = run(line, &hub);
        let mut seen = vec![reader.line().await];
        // The stream may begin with the history, and then has what is published now.
        let id = hub.publish(&[("topic", "orders"), ("data", "now")]).await;
        while !seen.ends_with(&[format!("id: {id}")]) {
            seen.push(reader.line().await);
        }
        if line.contains("replay=oldest") {
            let all = ids.iter().all(|id| seen.contains(&format!("id: {id}")));
            assert!(all, "{line}: {seen:#?}");
        }
    }
}
