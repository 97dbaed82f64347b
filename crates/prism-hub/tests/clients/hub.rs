//! The real program, on a port that the system chose.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::form_urlencoded;

use crate::process::Process;
use crate::wait::{DEADLINE, wait_for};

/// An empty directory for one hub.
fn new_directory() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hub-{number}"));
    // What an earlier run left is no history of this one.
    drop(std::fs::remove_dir_all(&path));
    std::fs::create_dir_all(&path).expect("the directory can be made");
    path
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_prism-hub");

/// A running hub. Dropping it kills the process.
pub(crate) struct Hub {
    arguments: Vec<String>,
    scheme: &'static str,
    address: SocketAddr,
    process: Process,
    /// The working directory, in which a demo keeps its history.
    directory: PathBuf,
}

impl Hub {
    /// A hub with `--dev` and a short reconnection time.
    pub(crate) async fn open() -> Self {
        Self::serve(&["--dev", "--retry", "300ms", "--cors-origin", "*"]).await
    }

    pub(crate) async fn serve(arguments: &[&str]) -> Self {
        Self::start(&[&["serve", "--admin-listen", "off"], arguments].concat()).await
    }

    pub(crate) async fn demo() -> Self {
        Self::start(&["demo"]).await
    }

    async fn start(arguments: &[&str]) -> Self {
        let scheme = if arguments.contains(&"--tls-cert") { "https" } else { "http" };
        let arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        Self::start_at("127.0.0.1:0", arguments, scheme, new_directory()).await
    }

    /// Kills the hub and starts a new one at the same address: without its history, unless it is a
    /// demo.
    pub(crate) async fn kill_and_restart(self) -> Self {
        let Self { arguments, scheme, address, process, directory } = self;
        drop(process);
        // The address is free once the system has removed the process.
        wait_for("the address is free", || TcpListener::bind(address).ok()).await;
        Self::start_at(&address.to_string(), arguments, scheme, directory).await
    }

    async fn start_at(
        listen: &str,
        arguments: Vec<String>,
        scheme: &'static str,
        directory: PathBuf,
    ) -> Self {
        let mut command = Process::command(PROGRAM);
        forget_settings(&mut command);
        command.args(&arguments).args(["--listen", listen]).stderr(Stdio::null());
        command.env("PRISM_HUB_ENGINE", "memory").current_dir(&directory);
        let (process, origin) =
            Process::start(command, "prism-hub", |line| line.strip_prefix("listening on ")).await;
        let address = origin.strip_prefix(scheme).and_then(|it| it.strip_prefix("://"));
        let address = address.and_then(|it| it.parse().ok());
        let address = address.unwrap_or_else(|| panic!("listening on {origin:?}?"));
        Self { arguments, scheme, address, process, directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The origin with the host `localhost`, which certificates are for, and where browsers accept
    /// secure cookies without TLS.
    pub(crate) fn named_origin(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// Publishes a form and returns the id.
    pub(crate) async fn publish(&self, fields: &[(&str, &str)]) -> String {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = format!(
            "POST /.well-known/mercure HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        );
        let answer = timeout(DEADLINE, exchange(self.address, request.as_bytes())).await;
        let answer = answer.expect("the hub answers").expect("the hub is there");
        let (head, id) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        id.to_owned()
    }
}

async fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Runs the program to its end and returns its output.
pub(crate) fn say(arguments: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    forget_settings(&mut command);
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text").trim_end().to_owned()
}

/// Removes the variables that would configure the program.
fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PRISM_HUB_") {
            command.env_remove(name);
        }
    }
}
