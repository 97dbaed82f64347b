//! The server for listeners with TLS: accepts connections, does the TLS handshake, and serves HTTP,
//! with a time-out for each wait.
//!
//! ALPN decides between HTTP/1.1 and HTTP/2 before a connection is served. Detecting the version
//! from the first bytes would wait for them without a time-out.

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

use crate::hub::Hub;
use crate::limits;

/// The server of one listener.
pub(super) struct TlsServer {
    pub(super) listener: TcpListener,
    /// Most connections at a time; further ones wait in the listener's backlog.
    pub(super) max_connections: usize,
    pub(super) router: Router,
    pub(super) hub: Hub,
}

/// Serves one connection, with the rules that were in force when it was accepted.
struct ConnectionServer {
    tls: TlsAcceptor,
    router: Router,
    header_timeout: Duration,
}

impl TlsServer {
    /// Serves until `shutdown` changes; then closes the listener and waits for open connections to
    /// end. Dropping the future aborts them.
    pub(super) async fn run(self, mut shutdown: watch::Receiver<()>) {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            let has_room = connections.len() < self.max_connections;
            tokio::select! {
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => {
                        let Some(server) = self.connection_server() else { continue };
                        connections.spawn(server.serve(stream, peer, graceful.watcher()));
                    }
                    Err(error) => pause_after(&error).await,
                },
                Some(_) = connections.join_next() => {}
                _ = shutdown.changed() => break,
            }
        }
        drop(self);
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    }

    /// The server of a connection that was accepted now; `None` if there is no certificate.
    fn connection_server(&self) -> Option<ConnectionServer> {
        let rules = self.hub.rules().current();
        Some(ConnectionServer {
            tls: TlsAcceptor::from(rules.tls.clone()?),
            router: self.router.clone(),
            header_timeout: rules.limits.header_timeout,
        })
    }
}

impl ConnectionServer {
    /// Serves a connection to its end. Its errors go to the debug log alone: peers cause them.
    async fn serve(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // With Nagle's algorithm a small event would wait for the acknowledgement of the previous.
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
        // Boxed, so that the future is small during the handshake, before it has a TLS stream.
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
            .max_buf_size(limits::REQUEST_HEAD_BYTES_MAX)
            .max_headers(limits::REQUEST_HEADERS_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits::HTTP_2_STREAMS_MAX)
            .max_header_list_size(limits::REQUEST_HEAD_BYTES_MAX as u32)
            .max_send_buf_size(limits::HTTP_2_SEND_BYTES)
            .keep_alive_interval(limits::HTTP_2_PING)
            .keep_alive_timeout(limits::HTTP_2_PING);
        builder
    }
}

/// Pauses after an error of the listener itself, such as too many open files, at which trying again
/// at once would only keep the processor busy.
async fn pause_after(error: &io::Error) {
    let is_of_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    );
    if !is_of_connection {
        tracing::warn!("no connection can be taken for a moment: {error}");
        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
    }
}
