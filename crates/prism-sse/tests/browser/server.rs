//! The servers of the pages: the built examples, and servers of the tests.

use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use axum::Router;
use prism_sse::Manager;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::process::Process;
use crate::serving::serve;
use crate::wait::wait_for;

/// A free port of the loopback interface, which the system chooses.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An example, running. Dropping it kills it.
pub(crate) struct Example {
    name: &'static str,
    address: SocketAddr,
    process: Process,
}

impl Example {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::start_at(ANY_PORT, name).await
    }

    /// Kills it and starts it anew at the same address, with nothing of its memory left.
    pub(crate) async fn restart(self) -> Self {
        let Self { name, address, process } = self;
        drop(process);
        Self::start_at(address, name).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn start_at(address: SocketAddr, name: &'static str) -> Self {
        let mut command = Process::command(program(name));
        command.env("PRISM_LISTEN", address.to_string());
        let (process, address) =
            Process::start(command, name, |line| line.strip_prefix("listening on http://")).await;
        let address = address.parse().expect("an example says the address it listens on");
        Self { name, address, process }
    }
}

/// Where cargo puts an example: beside the directory this test is in.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let profile = test.ancestors().nth(2).expect("a test is in target/<profile>/deps");
    let program = profile.join("examples").join(name);
    assert!(
        program.is_file(),
        "{} is missing: run `cargo build -p prism-sse --examples --all-features` first",
        program.display(),
    );
    program
}

/// A server of a test. Stopping or dropping it is like killing its process: its connections are cut
/// off.
pub(crate) struct Server {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    pub(crate) async fn start(app: Router, sse: &Manager) -> Self {
        Self::start_at(ANY_PORT, app, sse).await
    }

    /// At the address of a server that was stopped.
    pub(crate) async fn start_at(address: SocketAddr, app: Router, sse: &Manager) -> Self {
        // With a runtime of its own, all tasks of the server can be dropped at once.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let handle = runtime.handle().clone();
        let mut server = Self { address, runtime: Some(runtime) };

        // A server that was stopped a moment ago may still hold the address.
        let what = format!("listening on {address}");
        let listener = wait_for(&what, || {
            let listener = std::net::TcpListener::bind(address).ok()?;
            listener.set_nonblocking(true).ok()?;
            let _context = handle.enter();
            TcpListener::from_std(listener).ok()
        });
        let listener = listener.await;
        server.address = listener.local_addr().expect("a listener has an address");
        handle.spawn(serve(listener, app, sse.clone(), pending()));
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Stops it and returns its address.
    pub(crate) fn stop(self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
