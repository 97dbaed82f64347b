//! The configuration of a hub: one immutable value, checked as a whole before anything starts.
//!
//! Flags, the environment and a TOML file set the same settings under the same names. A flag takes
//! precedence over the environment, and the environment over the file. An unknown setting is
//! refused, with a suggestion.
//!
//! `settings` collects the text of each setting, `parse` and `key_source` read the text, and
//! `build` makes a [`Config`] of it.
//!
//! ```
//! use prism_hub::config::Config;
//!
//! let config = Config::from_args(["--dev", "--listen", "127.0.0.1:0", "--retry", "5s"])?;
//! assert_eq!(config.retry.as_secs(), 5);
//!
//! let error = Config::from_args(["--dev", "--retry", "0s"]).unwrap_err();
//! assert_eq!(error.to_string(), "--retry: `0s` is too short; at least 1 ms are needed");
//! # Ok::<(), prism_hub::config::ConfigError>(())
//! ```

mod build;
mod key_source;
mod network;
mod origin;
mod parse;
mod reload;
mod settings;
mod source;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use prism_sse::OnLag;
use url::Url;

pub use key_source::{KeySetAlgorithm, KeySetLocation, KeySetSource, KeySetUrl, KeySource};
pub use network::Network;
pub use origin::Origin;
pub(crate) use parse::{COOKIE_08, algorithm, duration};
pub(crate) use settings::environment;
pub use settings::{ConfigError, SettingLocation};
pub use source::ConfigSource;

/// Path of the hub below its public URL, in both dialects of the Mercure protocol.
pub const HUB_PATH: &str = "/.well-known/mercure";

/// All settings of a hub.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The addresses to listen on, in the order of the setting.
    pub listen: Vec<SocketAddr>,
    /// The address for metrics and the console.
    pub admin: Option<SocketAddr>,
    /// Certificate and private key, if the hub terminates TLS. A reload reads the files again.
    pub tls: Option<TlsFiles>,
    /// The engine that orders and keeps events.
    pub engine: EngineChoice,
    /// What an acknowledged event survives.
    pub durability: Durability,
    /// Bytes of the newest events that are in memory too, where a directory keeps them.
    pub memory: u64,
    /// Keys, issuers and origins. A reload replaces them.
    pub auth: AuthConfig,
    /// Limits on connections and requests. A reload replaces them.
    pub limits: Limits,
    /// The URL under which clients find the hub, if set.
    pub public_url: Option<Url>,
    /// The URL of the Mercure endpoint: below the public URL, or on the first listener. Relative
    /// patterns and topics are resolved against it.
    pub hub_url: Url,
    /// The CORS policy.
    pub cors: Cors,
    /// Whether subscription events and the subscription API are enabled.
    pub subscriptions: bool,
    /// How long a connection is silent before it gets a heartbeat. `None` without heartbeats.
    pub heartbeat: Option<Duration>,
    /// The reconnection time that connections are told.
    pub retry: Duration,
    /// The age at which a connection is closed.
    pub max_age: Option<Duration>,
    /// What happens to a reader that is too slow.
    pub on_lag: OnLag,
    /// How a subscriber is refused for want of capacity.
    pub refuse: RefusalMode,
    /// The age up to which events are kept.
    pub retention_age: Option<Duration>,
    /// The bytes up to which events are kept.
    pub retention_bytes: Option<u64>,
    /// The number up to which events are kept.
    pub retention_count: Option<u64>,
    /// How long a second publish with the same idempotency key counts as a repetition.
    pub idempotency_window: Option<Duration>,
    /// The bytes that idempotency keys may take.
    pub idempotency_bytes: u64,
    /// The number of delivery shards. `None` for one per processor.
    pub shards: Option<u64>,
    /// The time over which open streams are closed at shutdown.
    pub drain: Duration,
}

/// Whose tokens a hub accepts, and what is allowed without one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuthConfig {
    /// The key of publishers' tokens.
    pub publisher_key: Option<KeySource>,
    /// The algorithm of the publisher's key. `None` for the default of its type.
    pub publisher_key_algorithm: Option<Algorithm>,
    /// The key of subscribers' tokens.
    pub subscriber_key: Option<KeySource>,
    /// The algorithm of the subscriber's key. `None` for the default of its type.
    pub subscriber_key_algorithm: Option<Algorithm>,
    /// Key sets, each of an issuer or for draft-07 tokens.
    pub key_sets: Vec<KeySetSource>,
    /// The algorithms of JWKs without `alg`. Each issuer has at most one for each type of key.
    pub key_set_algorithms: Vec<KeySetAlgorithm>,
    /// Issuers of draft-08 tokens. The publisher's and the subscriber's key belong to the first.
    pub issuers: Vec<String>,
    /// The names of this hub in the `aud` of draft-08 tokens.
    pub audiences: Vec<String>,
    /// Whether subscribers without a token may read public events.
    pub anonymous: bool,
    /// Development mode: everything is allowed without a token, and short secrets are accepted. On
    /// loopback addresses only.
    pub dev: bool,
    /// Whether draft-07 tokens and requests are accepted.
    pub compat_draft_07: bool,
    /// The name of the cookie for draft-07 tokens.
    pub cookie_name: String,
    /// Origins whose pages may publish with a cookie, besides the origin of the public URL.
    pub publish_origins: Vec<Origin>,
}

impl AuthConfig {
    /// The URLs that key sets are fetched from, each once.
    pub fn key_set_urls(&self) -> BTreeSet<&KeySetUrl> {
        let urls = self.key_sets.iter().filter_map(|set| match &set.location {
            KeySetLocation::Url(url) => Some(url),
            KeySetLocation::File(_) => None,
        });
        urls.collect()
    }

    /// The algorithms of JWKs without `alg` in the key sets of an issuer, or of those for draft-07
    /// tokens.
    pub(crate) fn key_set_algorithms_of(&self, issuer: Option<&str>) -> Vec<Algorithm> {
        let own = self.key_set_algorithms.iter().filter(|it| it.issuer.as_deref() == issuer);
        own.map(|it| it.algorithm).collect()
    }

    /// The URLs of the key sets for draft-07 tokens, which belong to no issuer.
    pub(crate) fn key_set_urls_without_issuer(&self) -> impl Iterator<Item = &KeySetUrl> {
        self.key_sets.iter().filter_map(|set| match (&set.location, &set.issuer) {
            (KeySetLocation::Url(url), None) => Some(url),
            _ => None,
        })
    }
}

/// Limits on connections and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum number of connections.
    pub max_connections: Option<u64>,
    /// The maximum number of connections from one address.
    pub max_connections_per_ip: Option<u64>,
    /// Proxies that are believed which address their client has.
    pub trusted_proxies: Vec<Network>,
    /// The maximum size of a request body, in bytes.
    pub max_body: u64,
    /// The time within which the head of a request must arrive.
    pub header_timeout: Duration,
}

/// The files with the certificate and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The certificate chain, as PEM.
    pub cert: PathBuf,
    /// The private key, as PEM.
    pub key: PathBuf,
}

/// The engine that orders and keeps events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineChoice {
    /// This process orders, and this directory keeps the history.
    Embedded(PathBuf),
    /// Memory: the history ends with the process.
    Memory,
}

/// What an acknowledged event survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing.
    Memory,
    /// The end of the process.
    Os,
    /// A power failure.
    Fsync,
}

/// The CORS policy: the origins whose pages may read the hub's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Every origin, without credentials.
    Any,
    /// These origins, with credentials. None if the list is empty.
    Only(Vec<Origin>),
}

/// How a subscriber is refused for want of capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalMode {
    /// With a stream that only tells the client to reconnect later. A browser does not reconnect
    /// after any status other than 200.
    Soft,
    /// With an error status.
    Status,
}

impl Config {
    /// Takes note of the address of the first listener. If the system chose the port and there is
    /// no public URL, clients find the hub at this port.
    pub(crate) fn listens_at(&mut self, address: SocketAddr) {
        let is_chosen = self.listen.first().is_some_and(|asked| asked.port() == 0);
        if is_chosen && self.public_url.is_none() {
            // Setting the port fails for a URL without a host alone, which this is not.
            _ = self.hub_url.set_port(Some(address.port()));
        }
    }

    /// The URL of the hub's metadata (RFC 9728), if it has a public URL.
    pub fn metadata_url(&self) -> Option<Url> {
        let mut url = self.public_url.clone()?;
        let prefix = url.path().trim_end_matches('/');
        url.set_path(&format!("/.well-known/oauth-protected-resource{prefix}{HUB_PATH}"));
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_the_system_chose_is_where_clients_find_it() {
        let bound = "127.0.0.1:4711".parse().unwrap();
        let url = |more: &[&str]| {
            let mut config = Config::from_args(["--dev"].iter().chain(more)).unwrap();
            config.listens_at(bound);
            config.hub_url.as_str().to_owned()
        };
        let free = ["--listen", "127.0.0.1:0"];
        assert_eq!(url(&free), "http://127.0.0.1:4711/.well-known/mercure");
        let fixed = ["--listen", "[::1]:8080", "--listen", "127.0.0.1:0"];
        assert_eq!(url(&fixed), "http://[::1]:8080/.well-known/mercure");
        let public = [&free[..], &["--public-url", "https://hub.example"]].concat();
        assert_eq!(url(&public), "https://hub.example/.well-known/mercure");
    }
}
