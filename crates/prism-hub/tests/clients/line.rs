//! The line between readers and the hub. It can be cut, and it notes who comes.
//!
//! While its gate is closed, whoever comes waits. So a reader is away for as long as a test wants,
//! not for as long as it happens to take.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wait::wait_for;

/// Somebody came, and sent this head of a request.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    head: String,
}

impl Arrival {
    pub(crate) fn last_event_id(&self) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("last-event-id").then(|| value.trim())
        })
    }
}

pub(crate) struct Line {
    address: SocketAddr,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    gate: watch::Sender<bool>,
    cuts: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Line {
    /// A line to the program at this address, whenever there is one.
    pub(crate) async fn to(hub: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let arrivals = Arc::<Mutex<Vec<Arrival>>>::default();
        let (gate, opening) = watch::channel(true);
        let (cuts, cut) = watch::channel(0);
        let noted = Arc::clone(&arrivals);
        let task = tokio::spawn(async move {
            while let Ok((reader, _)) = listener.accept().await {
                let (noted, opening, mut cut) = (Arc::clone(&noted), opening.clone(), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.changed() => {}
                        _ = carry(reader, hub, &noted, opening) => {}
                    }
                });
            }
        });
        Self { address, arrivals, gate, cuts, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn close_gate(&self) {
        self.gate.send_replace(false);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Ends every connection. Whoever was connected was so until after the returned instant.
    pub(crate) fn cut(&self) -> Instant {
        let instant = Instant::now();
        self.cuts.send_modify(|count| *count += 1);
        instant
    }

    /// The arrival with this number, from 1, as soon as it is there.
    pub(crate) async fn arrival(&self, number: usize) -> Arrival {
        let what = format!("arrival {number}");
        wait_for(&what, || lock(&self.arrivals).get(number - 1).cloned()).await
    }

    pub(crate) fn arrivals(&self) -> usize {
        lock(&self.arrivals).len()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

/// Carries one connection, which is for one stream of events.
async fn carry(
    mut reader: TcpStream,
    hub: SocketAddr,
    arrivals: &Mutex<Vec<Arrival>>,
    mut gate: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // Browsers open connections that they may need one day.
        if reader.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    lock(arrivals).push(Arrival { at: Instant::now(), head: text });
    // An error means that the test is over.
    if gate.wait_for(|open| *open).await.is_err() {
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
