//! Connections over TLS: from the listener to the router, with a bound on each wait.
//!
//! ALPN says whether a connection speaks HTTP/2, before it is served, so that every wait for a
//! request has its time-out.

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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower_service::Service as _;

use super::Hub;
use crate::limits;

/// One listener and what is served there.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    /// Most connections at a time; others wait.
    pub(super) max: usize,
    pub(super) router: Router,
    pub(super) hub: Hub,
}

/// What a connection is served with.
struct Serving {
    tls: TlsAcceptor,
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
            let has_room = connections.len() < self.max;
            tokio::select! {
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => {
                        let Some(serving) = self.serving() else { continue };
                        connections.spawn(serving.serve(stream, peer, graceful.watcher()));
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

    /// What a connection that begins now is served with. Without a certificate it is not.
    fn serving(&self) -> Option<Serving> {
        let rules = self.hub.live().rules();
        Some(Serving {
            tls: TlsAcceptor::from(rules.tls.clone()?),
            router: self.router.clone(),
            header_timeout: rules.limits.header_timeout,
        })
    }
}

impl Serving {
    /// Serves a connection to its end. What goes wrong with it is between it and its peer.
    async fn serve(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // Without it, a small event waits for the acknowledgement of the one before.
        _ = stream.set_nodelay(true);
        match tokio::time::timeout(self.header_timeout, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve_http(stream, peer, watcher).await,
            Ok(Err(error)) => tracing::debug!("a connection did not begin: {error}"),
            Err(_) => tracing::debug!("a connection did not begin in time"),
        }
    }

    async fn serve_http(self, stream: TlsStream<TcpStream>, peer: SocketAddr, watcher: Watcher) {
        let builder = self.builder(stream.get_ref().1.alpn_protocol() == Some(b"h2"));
        let router = self.router;
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request)
        });
        // On the heap, so that a connection whose handshake goes on costs little.
        let stream = TokioIo::new(Box::new(stream));
        let connection = builder.serve_connection(stream, service).into_owned();
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
