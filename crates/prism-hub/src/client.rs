//! The HTTP client of the key set fetcher, and of the modes `publish` and `listen`. It follows no
//! redirects.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A client for HTTP/1.1 and HTTP/2, with and without TLS.
pub(crate) type Client =
    hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Makes a client with this timeout for connecting. The root certificates of the system are read
/// only with `needs_tls`, so that plain HTTP works on a machine without any.
///
/// # Errors
///
/// The system has no root certificates.
pub(crate) fn new(connect_time: Duration, needs_tls: bool) -> io::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(connect_time));
    let tls = HttpsConnectorBuilder::new();
    let tls = if needs_tls {
        tls.with_native_roots()?
    } else {
        let no_roots = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        tls.with_tls_config(no_roots.with_no_client_auth())
    };
    let connector = tls.https_or_http().enable_http1().enable_http2().wrap_connector(tcp);
    Ok(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector))
}

/// The message of the innermost source of an error. The outer errors of `hyper` only say that
/// something failed.
pub(crate) fn last_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
