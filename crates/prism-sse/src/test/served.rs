//! An application under `serve`, without a socket: everything but the system's calls.

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
use crate::serve::{Delivery, Held, Inbox, Open, Order, Server, Serves, Settings, Turn};

/// Serves an application as [`serve`](crate::serve()) does, over connections in memory and in the
/// runtime's time. Each request has a connection of its own.
///
/// What is different is what bytes travel on, and that the shard is a task instead of a thread.
#[derive(Clone)]
pub struct Served<A> {
    app: A,
    server: Arc<Server<PipeSocket>>,
    open: Arc<Open>,
    shard: Arc<Guard>,
}

/// Ends the server with the last handle on it.
struct Guard {
    inbox: Arc<Inbox<PipeSocket>>,
    end: watch::Sender<bool>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.inbox.order(Order::Stop);
    }
}

impl<A: Serves> Served<A> {
    /// Starts a server with one shard.
    pub fn new(app: A) -> Self {
        let bell = Arc::new(Bell::default());
        let inbox = Arc::new(Inbox::new(Waker::from(Arc::clone(&bell))));
        tokio::spawn(drive(Arc::clone(&inbox), bell));
        let (end, ending) = watch::channel(false);
        let server = Server::new(vec![Arc::clone(&inbox)], &Settings::default(), ending);
        let server = Arc::new(server);
        tokio::spawn(Arc::clone(&server).wake_shards());
        Self { app, server, open: Arc::default(), shard: Arc::new(Guard { inbox, end }) }
    }

    /// Ends all streams within `window`, as a graceful shutdown does.
    pub fn drain(&self, window: Duration) {
        self.shard.end.send_replace(true);
        self.shard.inbox.order(Order::Drain(window));
    }

    /// How many connections the shard has: those that left hyper.
    pub fn handed_over(&self) -> usize {
        self.shard.inbox.load()
    }
}

#[derive(Default)]
struct Bell {
    rung: Notify,
    /// Keys of sockets that changed.
    changed: Mutex<Vec<u32>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.notify_one();
    }
}

/// Says which socket changed.
struct SocketBell {
    key: u32,
    bell: Arc<Bell>,
}

impl Wake for SocketBell {
    fn wake(self: Arc<Self>) {
        self.bell.changed.lock().unwrap_or_else(PoisonError::into_inner).push(self.key);
        self.bell.rung.notify_one();
    }
}

/// What a shard's thread does.
async fn drive(inbox: Arc<Inbox<PipeSocket>>, bell: Arc<Bell>) {
    let began = Instant::now();
    let now = || began.elapsed().as_millis() as u64;
    let mut delivery = Delivery::new(Waker::from(Arc::clone(&bell)), limits::STALLED_BYTES);
    loop {
        let changed =
            std::mem::take(&mut *bell.changed.lock().unwrap_or_else(PoisonError::into_inner));
        for key in changed {
            delivery.socket_is(key, true, true);
        }
        for order in inbox.take() {
            match order {
                Order::Adopt(hand_over) => {
                    let key = delivery.next_key();
                    let bell = SocketBell { key, bell: Arc::clone(&bell) };
                    hand_over.socket.watch(&Waker::from(Arc::new(bell)));
                    delivery.adopt(hand_over, now());
                    delivery.socket_is(key, true, true);
                }
                Order::Drain(window) => delivery.drain(now(), window),
                Order::Stop => return delivery.drop_all(),
            }
        }
        inbox.say_load(delivery.len());
        match delivery.turn(now()) {
            Turn::Again | Turn::Soon => tokio::task::yield_now().await,
            Turn::Never => bell.rung.notified().await,
            Turn::At(at) => {
                let until = began + Duration::from_millis(at);
                // Either end of the wait leads to the next turn.
                drop(tokio::time::timeout_at(until, bell.rung.notified()).await);
            }
        }
    }
}

impl<A: Serves> Service<Request<String>> for Served<A> {
    type Response = Response<Received>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Received>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let (mut near, far) = Pipe::pair();
        let held = Held::new(&self.open);
        tokio::spawn(Arc::clone(&self.server).exchange(far, self.app.clone(), held));
        let server = Arc::clone(&self.shard);
        Box::pin(async move {
            near.write_all(&written(&request)).await?;
            let bytes = BytesMut::new();
            let mut received = Received { pipe: near, bytes, chunked: true, left: 0, server };
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

fn written(request: &Request<String>) -> Vec<u8> {
    let mut out = format!("{} {} HTTP/1.1\r\nhost: test\r\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        out += &format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
    }
    (out + "\r\n").into_bytes()
}

/// What a connection receives, its chunks taken apart. It reads only when it is polled.
pub struct Received {
    pipe: Pipe,
    bytes: BytesMut,
    chunked: bool,
    /// Bytes still to come, of the chunk and its line break, or of a body of known length.
    left: usize,
    /// Keeps the server.
    server: Arc<Guard>,
}

impl Received {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Response<()>>> {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.bytes.split_to(end + 4);
                return Poll::Ready(parsed(&head).ok_or_else(|| ErrorKind::InvalidData.into()));
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

    /// The next piece of a chunk; `None` is the end.
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

fn parsed(head: &[u8]) -> Option<Response<()>> {
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
            // A reader cannot tell how a stream ends.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            piece => piece,
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)).transpose())
    }
}

impl<A> std::fmt::Debug for Served<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("open", &self.open.count()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("server", &self.server.inbox.load())
            .finish_non_exhaustive()
    }
}
