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

/// Why there is no set.
#[derive(Debug)]
pub(super) enum NoSet {
    /// There is no answer, or none to its end.
    Failed(String),
    /// It was not all there within this time.
    Late(Duration),
    /// It is somewhere else now.
    Redirect(StatusCode),
    /// It is refused.
    Status(StatusCode),
    /// It is longer than any set may be.
    TooLarge,
}

/// The text at an address. Each fetch has a client of its own, so that certificates that were
/// renewed count, and no connection stays open for minutes.
pub(super) async fn fetch(url: &KeySetUrl, time: Duration) -> Result<Bytes, NoSet> {
    let all = async {
        let client = client::new(time, url.is_https()).map_err(NoSet::failed)?;
        let request = Request::get(url.as_str())
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, concat!("prism-hub/", env!("CARGO_PKG_VERSION")))
            .body(Full::default())
            .map_err(NoSet::failed)?;
        let answer = client.request(request).await.map_err(NoSet::failed)?;
        match answer.status() {
            StatusCode::OK => {}
            // It was not asked whether it changed.
            StatusCode::NOT_MODIFIED => return Err(NoSet::Status(StatusCode::NOT_MODIFIED)),
            status if status.is_redirection() => return Err(NoSet::Redirect(status)),
            status => return Err(NoSet::Status(status)),
        }
        let max = usize::try_from(limits::KEY_FILE_BYTES_MAX).unwrap_or(usize::MAX);
        match Limited::new(answer.into_body(), max).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(NoSet::TooLarge),
            Err(error) => Err(NoSet::Failed(client::last_cause(&*error))),
        }
    };
    tokio::time::timeout(time, all).await.unwrap_or(Err(NoSet::Late(time)))
}

impl NoSet {
    fn failed(error: impl std::error::Error + 'static) -> Self {
        Self::Failed(client::last_cause(&error))
    }
}

impl fmt::Display for NoSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(what) => f.write_str(what),
            Self::Late(time) => write!(f, "it was not there within {} ms", time.as_millis()),
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
