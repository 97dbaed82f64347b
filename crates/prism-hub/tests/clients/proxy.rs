//! A TCP proxy between clients and the hub. It records requests, and can cut connections.
//!
//! While the proxy holds requests, a client that reconnects waits. So the test decides how long the
//! client is disconnected.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wait::wait_for;

/// A request that arrived at the proxy.
#[derive(Clone, Debug)]
pub(crate) struct ProxiedRequest {
    pub(crate) at: Instant,
    head: String,
}

impl ProxiedRequest {
    pub(crate) fn last_event_id(&self) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("last-event-id").then(|| value.trim())
        })
    }
}

pub(crate) struct Proxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<ProxiedRequest>>>,
    is_forwarding: watch::Sender<bool>,
    cuts: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to this address. It connects to the hub for each request anew.
    pub(crate) async fn to(hub: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let requests = Arc::<Mutex<Vec<ProxiedRequest>>>::default();
        let (is_forwarding, forwarding) = watch::channel(true);
        let (cuts, cut) = watch::channel(0);
        let recorded = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((reader, _)) = listener.accept().await {
                let (recorded, forwarding, mut cut) =
                    (Arc::clone(&recorded), forwarding.clone(), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.changed() => {}
                        _ = forward(reader, hub, &recorded, forwarding) => {}
                    }
                });
            }
        });
        Self { address, requests, is_forwarding, cuts, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn hold_requests(&self) {
        self.is_forwarding.send_replace(false);
    }

    pub(crate) fn forward_requests(&self) {
        self.is_forwarding.send_replace(true);
    }

    /// Cuts every connection. Returns an instant just before.
    pub(crate) fn cut_connections(&self) -> Instant {
        let instant = Instant::now();
        self.cuts.send_modify(|count| *count += 1);
        instant
    }

    /// Waits for the request with this number, counted from 1.
    pub(crate) async fn request(&self, number: usize) -> ProxiedRequest {
        let what = format!("request {number}");
        wait_for(&what, || lock(&self.requests).get(number - 1).cloned()).await
    }

    pub(crate) fn request_count(&self) -> usize {
        lock(&self.requests).len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut_connections();
    }
}

/// Forwards one connection, which has one request.
async fn forward(
    mut reader: TcpStream,
    hub: SocketAddr,
    requests: &Mutex<Vec<ProxiedRequest>>,
    mut forwarding: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // Browsers open spare connections, and may close them unused.
        if reader.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    lock(requests).push(ProxiedRequest { at: Instant::now(), head: text });
    // An error means that the proxy was dropped.
    if forwarding.wait_for(|it| *it).await.is_err() {
        return Ok(());
    }
    let mut hub = TcpStream::connect(hub).await?;
    hub.write_all(&head).await?;
    copy_bidirectional(&mut reader, &mut hub).await?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
