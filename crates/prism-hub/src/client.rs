//! The HTTP client with which the hub, `publish` and `listen` ask others. It follows no redirect.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A client that speaks both versions of HTTP, over TLS or not.
pub(crate) type Client =
    hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Makes a client that waits this long for a connection. What the system trusts is read only if it
/// is needed: a machine that has no certificates can still be asked over HTTP.
///
/// # Errors
///
/// The system has no certificates.
pub(crate) fn new(connect_time: Duration, needs_tls: bool) -> io::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(connect_time));
    let tls = HttpsConnectorBuilder::new();
    let tls = if needs_tls {
        tls.with_native_roots()?
    } else {
        let nobody = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        tls.with_tls_config(nobody.with_no_client_auth())
    };
    let connector = tls.https_or_http().enable_http1().enable_http2().wrap_connector(tcp);
    Ok(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector))
}

/// The last cause of an error says most: what is above it says only that something failed.
pub(crate) fn last_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
