//! What a hub is told: one immutable value, checked as a whole before anything starts.
//!
//! Flags, the environment and a TOML file say the same things by the same names; where several say
//! something, the flag wins over the environment, and the environment over the file. What nobody
//! knows is refused, with a guess at what was meant.
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

mod key_source;
mod origin;
mod parse;
mod rules;
mod settings;
mod source;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prism_sse::OnLag;
use url::Url;

pub use key_source::{KeySetPlace, KeySetSource, KeySetUrl, KeySource};
pub use origin::Origin;
pub(crate) use parse::duration;
pub(crate) use settings::environment;
pub use settings::{ConfigError, Place};
pub use source::ConfigSource;

use settings::Settings;

/// Path of the hub below its public URL, in both dialects of the Mercure protocol.
pub const HUB_PATH: &str = "/.well-known/mercure";

/// The cookie of draft-08. Browsers take a cookie of such a name over TLS alone.
pub(crate) const COOKIE_08: &str = "__Secure-mercure_access_token";

/// Everything a hub is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to serve, in the order they were named.
    pub listen: Vec<SocketAddr>,
    /// Where to serve metrics and the console.
    pub admin: Option<SocketAddr>,
    /// Certificate and key, if it serves TLS itself. A reload reads them again.
    pub tls: Option<TlsFiles>,
    /// What keeps the events.
    pub engine: EngineChoice,
    /// What an acknowledged event survives.
    pub durability: Durability,
    /// Whom it trusts with what. A reload replaces it.
    pub trust: Trust,
    /// What it allows each and all. A reload replaces it.
    pub limits: Limits,
    /// Where clients find it, if that was said.
    pub public_url: Option<Url>,
    /// Where clients find the endpoint of the Mercure protocol: below the public URL, or on the
    /// first listener. Relative patterns and topics are resolved against it.
    pub hub_url: Url,
    /// Which pages of other origins may read answers.
    pub cors: Cors,
    /// Whether it publishes who subscribes, and serves the subscription API.
    pub subscriptions: bool,
    /// Silence after which a connection gets a heartbeat.
    pub heartbeat: Option<Duration>,
    /// Reconnection time that connections are told.
    pub retry: Duration,
    /// Age at which a connection is ended.
    pub max_age: Option<Duration>,
    /// What happens to a reader that is too slow.
    pub on_lag: OnLag,
    /// How a subscriber is refused for want of capacity.
    pub refuse: Refuse,
    /// Age up to which events are kept.
    pub retention_age: Option<Duration>,
    /// Bytes up to which events are kept.
    pub retention_bytes: Option<u64>,
    /// Number up to which events are kept.
    pub retention_count: Option<u64>,
    /// Time for which a publish with the same key is the same publish.
    pub idempotency_window: Option<Duration>,
    /// Delivery shards; as many as there are processors unless said.
    pub shards: Option<u64>,
    /// Time over which open streams are ended at a shutdown.
    pub drain: Duration,
}

/// Whom a hub trusts with what.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trust {
    /// Key of the tokens that publishers show.
    pub publisher_key: Option<KeySource>,
    /// Key of the tokens that subscribers show.
    pub subscriber_key: Option<KeySource>,
    /// Key sets, of an issuer or of nobody in particular.
    pub key_sets: Vec<KeySetSource>,
    /// Issuers of draft-08 tokens. The first one owns the publisher's and the subscriber's key.
    pub issuers: Vec<String>,
    /// Names of this hub in draft-08 tokens.
    pub audiences: Vec<String>,
    /// Whether subscribers without a token get what is public.
    pub anonymous: bool,
    /// Whether everything is allowed without a token, and short secrets are. Loopback only.
    pub dev: bool,
    /// Whether draft-07 tokens and requests are understood.
    pub compat_draft_07: bool,
    /// The cookie that draft-07 tokens come in.
    pub cookie_name: String,
    /// Whose pages may publish with a cookie, beside the hub's own.
    pub publish_origins: Vec<Origin>,
}

impl Trust {
    /// The addresses that key sets are fetched from, each once.
    pub fn key_set_urls(&self) -> BTreeSet<&KeySetUrl> {
        let urls = self.key_sets.iter().filter_map(|set| match &set.place {
            KeySetPlace::Url(url) => Some(url),
            KeySetPlace::File(_) => None,
        });
        urls.collect()
    }

    /// The addresses of sets that belong to no issuer.
    pub(crate) fn key_set_urls_of_nobody(&self) -> impl Iterator<Item = &KeySetUrl> {
        self.key_sets.iter().filter_map(|set| match (&set.place, &set.issuer) {
            (KeySetPlace::Url(url), None) => Some(url),
            _ => None,
        })
    }
}

/// What a hub allows each and all.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most connections.
    pub max_connections: Option<u64>,
    /// Most connections from one address.
    pub max_connections_per_ip: Option<u64>,
    /// Largest body of a request, in bytes.
    pub max_body: u64,
    /// Longest time for the head of a request to arrive.
    pub header_timeout: Duration,
}

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The chain of certificates, as PEM.
    pub cert: PathBuf,
    /// The private key, as PEM.
    pub key: PathBuf,
}

/// What keeps the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineChoice {
    /// Memory: history ends with the process.
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
    /// The loss of power.
    Fsync,
}

/// Which pages of other origins may read what the hub answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// All, without cookies.
    Any,
    /// These, with cookies; none if the list is empty.
    Only(Vec<Origin>),
}

/// How a subscriber is refused for want of capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuse {
    /// With a stream that tells it to come back later, since any other status is final for a
    /// browser.
    Soft,
    /// With a status.
    Status,
}

impl Config {
    /// The configuration that the flags of `serve` say, without environment.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with them.
    pub fn from_args<I>(args: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        Self::from_settings(Settings::from_args(args)?)
    }

    /// The configuration that a file alone says.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, with its line.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let none: [OsString; 0] = [];
        let mut settings = Settings::from_args(none)?;
        settings.read_file(path)?;
        Self::from_settings(settings).map_err(|error| error.within(path))
    }

    /// The configuration of a running hub: flags that were parsed, the environment, and the file
    /// that either of them names.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with any of them.
    pub fn gather(
        matches: &clap::ArgMatches,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        Self::from_settings(Settings::gather(matches, environment)?)
    }

    /// Takes note of where the first listener is. If the system was to choose the port, and nobody
    /// said where clients find the hub, they find it there.
    pub(crate) fn listens_at(&mut self, address: SocketAddr) {
        let chosen = self.listen.first().is_some_and(|asked| asked.port() == 0);
        if chosen && self.public_url.is_none() {
            // It fails for an address without a host alone.
            _ = self.hub_url.set_port(Some(address.port()));
        }
    }

    /// Where clients find the hub's metadata (RFC 9728), if it has a public URL.
    pub fn metadata_url(&self) -> Option<Url> {
        let mut url = self.public_url.clone()?;
        let prefix = url.path().trim_end_matches('/');
        url.set_path(&format!("/.well-known/oauth-protected-resource{prefix}{HUB_PATH}"));
        Some(url)
    }

    /// Refuses a configuration in whose place a restart is needed: it says who is trusted by way of
    /// what a hub that runs cannot change.
    pub(crate) fn check_reload(&self, other: &Self) -> Result<(), ConfigError> {
        rules::check_reload(self, other)
    }

    /// What of `other` differs from this and takes a restart, by the names of the settings.
    pub fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        rules::needs_restart(self, other)
    }
}

/// As many connections as the files that this process may open leave room for, and others.
pub(crate) fn connections_of_files() -> Option<u64> {
    rules::connections_of_files()
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
