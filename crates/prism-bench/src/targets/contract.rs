//! What all targets agree on with the client: their paths, and the line they print when ready.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Result;

/// The path of the stream.
pub(crate) const SUBSCRIBE_PATH: &str = "/events";

/// The path that takes events, of targets that can be published to.
pub(crate) const PUBLISH_PATH: &str = "/publish";

/// The path of a topic's stream, of targets that have topics.
pub(crate) const SUBSCRIBE_TOPIC_PATH: &str = "/topics/{topic}";

/// The path that takes events of a topic, of targets that have topics.
pub(crate) const PUBLISH_TOPIC_PATH: &str = "/publish/{topic}";

/// The path of the hub, for streams and for events.
pub(crate) const HUB_PATH: &str = "/events";

/// The beginning of the line that a target prints when it is ready; its address follows.
pub(crate) const READY: &str = "listening on ";

/// Prints that line.
pub(super) fn print_ready(address: SocketAddr) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{READY}http://{address}")?;
    Ok(out.flush()?)
}
