//! An application under `serve` over connections in memory.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tower_service::Service;

use super::pipe::{Pipe, PipeSocket};
use crate::limits;
use crate::serve::{
    ConnectionCount, ConnectionGuard, DeliveryShard, HttpService, Inbox, NextTurn, ServeSettings,
    Server, ShardCommand,
};

/// Serves an application as [`serve`](crate::serve()) does, over connections in memory and in the
/// runtime's time. Each request has a connection of its own.
///
/// It differs from a real server in two things: connections are in memory, and the shard is a task
/// instead of a thread.
#[derive(Clone)]
pub struct Served<A> {
    app: A,
    server: Arc<Server<PipeSocket>>,
    open: Arc<ConnectionCount>,
    guard: Arc<ShutdownGuard>,
}

/// Stops the shard when the last handle on the server is dropped.
struct ShutdownGuard {
    inbox: Arc<Inbox<PipeSocket>>,
    shutdown: watch::Sender<bool>,
}

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        self.inbox.send(ShardCommand::Stop);
    }
}

impl<A: HttpService> Served<A> {
    /// Starts a server with one shard.
    pub fn new(app: A) -> Self {
        let waker = Arc::new(ShardWaker::default());
        let inbox = Arc::new(Inbox::new(Waker::from(Arc::clone(&waker))));
        tokio::spawn(run_shard(Arc::clone(&inbox), waker));
        let (shutdown, receiver) = watch::channel(false);
        let server = Server::new(vec![Arc::clone(&inbox)], &ServeSettings::default(), receiver);
        let server = Arc::new(server);
        tokio::spawn(Arc::clone(&server).wake_shards());
        Self {
            app,
            server,
            open: Arc::default(),
            guard: Arc::new(ShutdownGuard { inbox, shutdown }),
        }
    }

    /// Ends all streams within `window`, as a graceful shutdown does.
    pub fn drain(&self, window: Duration) {
        self.guard.shutdown.send_replace(true);
        self.guard.inbox.send(ShardCommand::Drain(window));
    }

    /// How many connections the shard has, which were handed over to it by hyper.
    pub fn handed_over(&self) -> usize {
        self.guard.inbox.load()
    }
}

/// Wakes the shard's task.
#[derive(Default)]
struct ShardWaker {
    woken: Notify,
    /// Keys of connections whose socket may be readable or writable.
    ready: Mutex<Vec<u32>>,
}

impl Wake for ShardWaker {
    fn wake(self: Arc<Self>) {
        self.woken.notify_one();
    }
}

/// Wakes the shard's task for one socket.
struct SocketWaker {
    key: u32,
    shard: Arc<ShardWaker>,
}

impl Wake for SocketWaker {
    fn wake(self: Arc<Self>) {
        self.shard.ready.lock().unwrap_or_else(PoisonError::into_inner).push(self.key);
        self.shard.woken.notify_one();
    }
}

/// The shard's task: what the thread of a real shard does.
async fn run_shard(inbox: Arc<Inbox<PipeSocket>>, waker: Arc<ShardWaker>) {
    let started = Instant::now();
    let now = || started.elapsed().as_millis() as u64;
    let mut delivery = DeliveryShard::new(Waker::from(Arc::clone(&waker)), limits::STALLED_BYTES);
    loop {
        let ready =
            std::mem::take(&mut *waker.ready.lock().unwrap_or_else(PoisonError::into_inner));
        for key in ready {
            delivery.socket_ready(key, true, true);
        }
        for command in inbox.take() {
            match command {
                ShardCommand::Adopt(connection) => {
                    let key = delivery.next_key();
                    let waker = SocketWaker { key, shard: Arc::clone(&waker) };
                    connection.socket.watch(&Waker::from(Arc::new(waker)));
                    delivery.adopt(connection, now());
                    delivery.socket_ready(key, true, true);
                }
                ShardCommand::Drain(window) => delivery.drain(now(), window),
                ShardCommand::Stop => return delivery.drop_all(),
            }
        }
        inbox.set_load(delivery.len());
        match delivery.turn(now()) {
            NextTurn::Now | NextTurn::AfterYield => tokio::task::yield_now().await,
            NextTurn::WhenWoken => waker.woken.notified().await,
            NextTurn::At(at) => {
                let until = started + Duration::from_millis(at);
                // A turn follows whether the shard was woken or the time has come.
                drop(tokio::time::timeout_at(until, waker.woken.notified()).await);
            }
        }
    }
}

impl<A: HttpService> Service<Request<String>> for Served<A> {
    type Response = Response<Received>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Received>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let (mut near, far) = Pipe::pair();
        let guard = ConnectionGuard::new(&self.open);
        let server = Arc::clone(&self.server);
        tokio::spawn(server.serve_connection(far, self.app.clone(), guard));
        let guard = Arc::clone(&self.guard);
        Box::pin(async move {
            near.write_all(&encoded(&request)).await?;
            let bytes = BytesMut::new();
            let mut received = Received { pipe: near, bytes, chunked: true, left: 0, guard };
            let head = poll_fn(|cx| received.poll_head(cx)).await?;
            if let Some(len) = head.headers().get(CONTENT_LENGTH) {
                let len = len.to_str().ok().and_then(|len| len.parse().ok());
                received.left = len.ok_or(ErrorKind::InvalidData)?;
                received.chunked = false;
            }
            Ok(head.map(|()| received))
        })
    }
}

fn encoded(request: &Request<String>) -> Vec<u8> {
    let mut out = format!("{} {} HTTP/1.1\r\nhost: test\r\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        out += &format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
    }
    (out + "\r\n").into_bytes()
}

/// The body of a response, without its chunked coding. It reads from the connection only when it is
/// polled.
pub struct Received {
    pipe: Pipe,
    bytes: BytesMut,
    chunked: bool,
    /// Bytes that are still to come, of the present chunk and its line break or of a body of known
    /// length.
    left: usize,
    /// Keeps the shard running.
    guard: Arc<ShutdownGuard>,
}

impl Received {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Response<()>>> {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.bytes.split_to(end + 4);
                return Poll::Ready(parse_head(&head).ok_or_else(|| ErrorKind::InvalidData.into()));
            }
            ready!(self.poll_more(cx))?;
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = [0; 64];
        let mut read = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut read))?;
        if read.filled().is_empty() {
            return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
        }
        self.bytes.extend_from_slice(read.filled());
        Poll::Ready(Ok(()))
    }

    /// The next bytes of a chunk; `None` is the end of the body.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            let line_break = if self.chunked { 2 } else { 0 };
            if self.left > line_break && !self.bytes.is_empty() {
                let len = self.bytes.len().min(self.left - line_break);
                self.left -= len;
                return Poll::Ready(Ok(Some(self.bytes.split_to(len).freeze())));
            }
            if !self.chunked && self.left == 0 {
                return Poll::Ready(Ok(None));
            }
            if self.left > 0 && self.left <= line_break && self.bytes.len() >= self.left {
                // The line break after a chunk.
                self.bytes.advance(self.left);
                self.left = 0;
            }
            let line = self.bytes.windows(2).position(|two| two == b"\r\n");
            if let (0, Some(end)) = (self.left, line) {
                let size = self.bytes.split_to(end + 2);
                let size = std::str::from_utf8(&size[..end]).ok();
                match size.and_then(|size| usize::from_str_radix(size, 16).ok()) {
                    Some(0) => return Poll::Ready(Ok(None)),
                    Some(size) => self.left = size + 2,
                    None => return Poll::Ready(Err(ErrorKind::InvalidData.into())),
                }
                continue;
            }
            ready!(self.poll_more(cx))?;
        }
    }
}

fn parse_head(head: &[u8]) -> Option<Response<()>> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?;
    let mut response = Response::builder().status(status);
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        response = response.header(name, value);
    }
    response.body(()).ok()
}

impl Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match ready!(self.poll_piece(cx)) {
            // An `EventSource` does not tell an end without the last chunk from one with it.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            piece => piece,
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)).transpose())
    }
}

impl<A> std::fmt::Debug for Served<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("open", &self.open.get()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("connections", &self.guard.inbox.load())
            .finish_non_exhaustive()
    }
}
