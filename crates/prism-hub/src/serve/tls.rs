//! The TLS handshake of the public listeners.

use std::future::Future;
use std::io;

use prism_sse::AcceptedSocket;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::hub::Hub;
use crate::limits;

/// A handshake with the certificate that is in force when a connection is accepted. Its errors go
/// to the debug log alone: peers cause them.
pub(super) fn handshake(
    hub: &Hub,
) -> impl Fn(
    AcceptedSocket,
) -> std::pin::Pin<Box<dyn Future<Output = io::Result<TlsStream<AcceptedSocket>>> + Send>>
+ Send
+ Sync
+ 'static {
    let rules = std::sync::Arc::clone(hub.rules());
    move |socket| {
        let tls = rules.current().tls.clone();
        Box::pin(async move {
            let tls = TlsAcceptor::from(tls.ok_or(io::ErrorKind::NotFound)?);
            let bounded = |connection: &mut tokio_rustls::rustls::ServerConnection| {
                connection.set_buffer_limit(Some(limits::TLS_SEND_BYTES));
            };
            let stream = tls.accept_with(socket, bounded).await;
            stream.inspect_err(|error| tracing::debug!("a connection did not begin: {error}"))
        })
    }
}
