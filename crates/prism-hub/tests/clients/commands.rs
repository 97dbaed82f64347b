//! curl.

use crate::hub::Hub;
use crate::process::Process;
use crate::program::Program;

fn curl(arguments: &[&str]) -> Program {
    let mut command = Process::command("curl");
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]).args(arguments);
    Program::start(command)
}

async fn publish(hub: &Hub, data: &str) -> String {
    let (url, data) = (hub.url("/.well-known/mercure"), format!("data={data}"));
    curl(&["-w", "\n", "-d", "topic=news", "--data-urlencode", &data, &url]).line().await
}

#[tokio::test]
async fn curl_receives_and_resumes_by_header() {
    let hub = Hub::open().await;
    for path in ["/.well-known/mercure?topic=news", "/.well-known/mercure?match=news"] {
        let url = hub.url(path);
        let mut reader = curl(&["-N", &url]);
        assert!(reader.line().await.starts_with("retry: "));
        let first = publish(&hub, "  one\n\ntwo").await;
        let lines = reader.lines_until("data: two").await;
        let id = format!("id: {first}");
        assert!(
            lines.ends_with(&[id, "data:   one".into(), "data:".into(), "data: two".into()]),
            "{lines:?}"
        );
        drop(reader);

        let second = publish(&hub, "missed").await;
        let header = format!("Last-Event-ID: {first}");
        let mut reader = curl(&["-N", "-i", "-H", &header, &url]);
        let lines = reader.lines_until("data: missed").await;
        let repeated = |it: &String| it.eq_ignore_ascii_case(&header);
        assert!(lines.iter().any(repeated), "{lines:#?}");
        assert!(lines.contains(&format!("id: {second}")), "{lines:#?}");
        assert_eq!(lines.iter().filter(|it| it.starts_with("data:")).count(), 1, "{lines:#?}");
    }
}
