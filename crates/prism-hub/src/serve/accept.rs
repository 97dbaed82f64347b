//! Connections: from the listener to the router, over TLS or not, with a bound on each wait.
//!
//! Whether a connection speaks HTTP/2 is found out before it is served, by ALPN or by how it
//! begins, so that every wait for a request has its time-out.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use super::Hub;
use crate::limits;

/// How a connection over HTTP/2 begins (RFC 9113, section 3.4).
const HTTP_2: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One listener and what is served there.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) router: Router,
    pub(super) hub: Hub,
}

/// What a connection is served with.
#[derive(Clone)]
struct Serving {
    tls: Option<TlsAcceptor>,
    router: Router,
    header_timeout: Duration,
}

impl Acceptor {
    /// Serves until told to end; then takes no more connections, and waits for those there are.
    /// Dropping this cuts them off.
    pub(super) async fn run(self, mut end: watch::Receiver<()>) {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let watcher = graceful.watcher();
                        connections.spawn(self.serving().serve(stream, peer, watcher));
                    }
                    Err(error) => pause(&error).await,
                },
                Some(_) = connections.join_next() => {}
                _ = end.changed() => break,
            }
        }
        drop(self);
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    }

    fn serving(&self) -> Serving {
        Serving {
            tls: self.tls.clone(),
            router: self.router.clone(),
            header_timeout: self.hub.live().rules().limits.header_timeout,
        }
    }
}

impl Serving {
    /// Serves a connection to its end. What goes wrong with it is between it and its peer.
    async fn serve(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // Without it, a small event waits for the acknowledgement of the one before.
        _ = stream.set_nodelay(true);
        let begun = tokio::time::timeout(self.header_timeout, async {
            match &self.tls {
                None => {
                    speaks_http2(&stream).await.map(|is_http2| (Either::Plain(stream), is_http2))
                }
                Some(tls) => {
                    let stream = tls.accept(stream).await?;
                    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    Ok((Either::Tls(Box::new(stream)), is_http2))
                }
            }
        });
        match begun.await {
            Ok(Ok((Either::Plain(stream), is_http2))) => {
                self.serve_http(stream, is_http2, peer, watcher).await;
            }
            Ok(Ok((Either::Tls(stream), is_http2))) => {
                self.serve_http(stream, is_http2, peer, watcher).await;
            }
            Ok(Err(error)) => tracing::debug!("a connection did not begin: {error}"),
            Err(_) => tracing::debug!("a connection did not begin in time"),
        }
    }

    async fn serve_http(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        is_http2: bool,
        peer: SocketAddr,
        watcher: Watcher,
    ) {
        let builder = self.builder(is_http2);
        let router = self.router;
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request)
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!("a connection ended: {error}");
        }
    }

    fn builder(&self, is_http2: bool) -> Builder<TokioExecutor> {
        let builder = Builder::new(TokioExecutor::new());
        let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .max_headers(limits::HEADERS_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits::HTTP_2_STREAMS_MAX)
            .max_header_list_size(limits::HEAD_BYTES_MAX as u32)
            .max_send_buf_size(limits::HTTP_2_SEND_BYTES)
            .keep_alive_interval(limits::HTTP_2_PING)
            .keep_alive_timeout(limits::HTTP_2_PING);
        builder
    }
}

enum Either {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// Looks at how a connection begins, and takes nothing of it.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; HTTP_2.len()];
    loop {
        let count = stream.peek(&mut start).await?;
        let (Some(seen), Some(expected)) = (start.get(..count), HTTP_2.get(..count)) else {
            return Ok(false);
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if seen != expected || count == HTTP_2.len() {
            return Ok(seen == expected);
        }
        // What is there does not go away by looking at it, and no more is told of than that.
        tokio::time::sleep(limits::LOOK_AGAIN).await;
    }
}

/// After an error of the listener itself, such as too many open files, trying again at once would
/// only keep the processor busy.
async fn pause(error: &io::Error) {
    let is_of_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    );
    if !is_of_one_connection {
        tracing::warn!("no connection can be taken for a moment: {error}");
        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
    }
}
