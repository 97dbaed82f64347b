//! One fetch of one key set, bounded in time and size.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};

use crate::client;
use crate::config::KeySetUrl;
use crate::limits;

/// Why a key set could not be fetched.
#[derive(Debug)]
pub(super) enum FetchError {
    /// The connection or the exchange failed.
    Failed(String),
    /// The answer was not complete within this time.
    Timeout(Duration),
    /// The answer is a redirect, which is not followed.
    Redirect(StatusCode),
    /// The answer has a status other than 200.
    Status(StatusCode),
    /// The body is longer than allowed.
    TooLarge,
}

/// Fetches the text of a key set. Each fetch makes an HTTP client of its own: it reads the trusted
/// certificates anew, and leaves no connection open until the next fetch.
pub(super) async fn fetch(url: &KeySetUrl, timeout: Duration) -> Result<Bytes, FetchError> {
    let exchange = async {
        let client = client::new(timeout, url.is_https()).map_err(FetchError::failed)?;
        let request = Request::get(url.as_str())
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, concat!("prism-hub/", env!("CARGO_PKG_VERSION")))
            .body(Full::default())
            .map_err(FetchError::failed)?;
        let answer = client.request(request).await.map_err(FetchError::failed)?;
        match answer.status() {
            StatusCode::OK => {}
            // The request is not conditional, so that 304 is an error of the server.
            StatusCode::NOT_MODIFIED => return Err(FetchError::Status(StatusCode::NOT_MODIFIED)),
            status if status.is_redirection() => return Err(FetchError::Redirect(status)),
            status => return Err(FetchError::Status(status)),
        }
        let max = usize::try_from(limits::KEY_FILE_BYTES_MAX).unwrap_or(usize::MAX);
        match Limited::new(answer.into_body(), max).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
            Err(error) => Err(FetchError::Failed(client::last_cause(&*error))),
        }
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(FetchError::Timeout(timeout)))
}

impl FetchError {
    fn failed(error: impl std::error::Error + 'static) -> Self {
        Self::Failed(client::last_cause(&error))
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(cause) => f.write_str(cause),
            Self::Timeout(timeout) => {
                write!(f, "it was not there within {} ms", timeout.as_millis())
            }
            Self::Redirect(status) => {
                write!(f, "the answer is {status}, and no redirect is followed; name where it is")
            }
            Self::Status(status) => write!(f, "the answer is {status}; it must be 200"),
            Self::TooLarge => {
                write!(f, "the answer has more than {} bytes", limits::KEY_FILE_BYTES_MAX)
            }
        }
    }
}
