//! Makes a [`Config`] of the settings, and checks that they fit together.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use prism_sse::OnLag;
use prism_sse::limits::WINDOW_BYTES;
use url::Url;

use super::parse;
use super::settings::RawSettings;
use super::{
    AuthConfig, Config, ConfigError, Cors, Durability, EngineChoice, HUB_PATH, KeySetAlgorithm,
    KeySetSource, KeySource, Limits, Network, Origin, RefusalMode, TlsFiles,
};
use crate::limits;

const RETRY_MAX: Duration = Duration::from_millis(prism_sse::limits::RETRY_MS_MAX as u64);

impl Config {
    /// Reads the flags of `serve`. The environment is ignored.
    ///
    /// # Errors
    ///
    /// The first error in them.
    pub fn from_args<I>(args: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        Self::from_settings(RawSettings::from_args(args)?)
    }

    /// Reads a configuration file. Flags and the environment are ignored.
    ///
    /// # Errors
    ///
    /// The first error in the file, with its line.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let no_args: [OsString; 0] = [];
        let mut settings = RawSettings::from_args(no_args)?;
        settings.read_file(path)?;
        Self::from_settings(settings).map_err(|error| error.within(path))
    }

    /// Reads parsed flags, the environment, and the file that either of them names.
    ///
    /// # Errors
    ///
    /// The first error in any of them.
    pub fn gather(
        matches: &clap::ArgMatches,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        Self::from_settings(RawSettings::gather(matches, environment)?)
    }

    fn from_settings(settings: RawSettings) -> Result<Self, ConfigError> {
        let s = &settings;
        let listen = s.all("listen", parse::address)?;
        let tls = tls(s)?;
        let public_url = s.maybe("public-url", parse::base_url)?;
        let hub_url = hub_url(public_url.as_ref(), &listen, tls.is_some())?;
        let auth = auth(s, public_url.as_ref())?;
        let engine = s.get("engine", engine)?;
        let given = s.maybe("durability", durability)?;
        let durability = given.unwrap_or_else(|| highest_durability(&engine, auth.dev));
        let config = Self {
            admin: s.get("admin-listen", |text| parse::or_off(text, parse::address))?,
            durability,
            auth,
            engine,
            memory: s.maybe("memory", parse::size)?.unwrap_or(WINDOW_BYTES as u64),
            limits: limits(s)?,
            cors: cors(s)?,
            subscriptions: s.get("subscriptions", parse::switch)?,
            heartbeat: s.get("heartbeat", |text| {
                let min = prism_sse::limits::HEARTBEAT_MIN;
                parse::or_off(text, |text| parse::duration_in(text, min, None))
            })?,
            retry: s.get("retry", |text| {
                parse::duration_in(text, Duration::from_millis(1), Some(RETRY_MAX))
            })?,
            max_age: s.get("max-age", |text| parse::or_unlimited(text, at_least_a_second))?,
            on_lag: s.get("on-lag", on_lag)?,
            refuse: s.get("refuse", |text| {
                parse::one_of(text, &[("soft", RefusalMode::Soft), ("status", RefusalMode::Status)])
            })?,
            retention_age: s
                .get("retention-age", |text| parse::or_unlimited(text, at_least_a_second))?,
            retention_bytes: s
                .get("retention-bytes", |text| parse::or_unlimited(text, parse::size))?,
            retention_count: s
                .get("retention-count", |text| parse::or_unlimited(text, parse::count))?,
            idempotency_window: s
                .get("idempotency-window", |text| parse::or_off(text, at_least_a_second))?,
            idempotency_bytes: s.get("idempotency-bytes", idempotency_bytes)?,
            shards: s.maybe("shards", parse::count)?,
            drain: s.get("drain", parse::duration)?,
            listen,
            tls,
            public_url,
            hub_url,
        };
        config.check(s)?;
        Ok(config)
    }

    /// Checks settings that depend on each other.
    fn check(&self, settings: &RawSettings) -> Result<(), ConfigError> {
        let refuse = |name: &str, what: &str| {
            Err(ConfigError::at(settings.location(name), Some(name), what))
        };
        if self.listen.is_empty() {
            return refuse("listen", "at least one address is needed");
        }
        if self.engine == EngineChoice::Memory && self.durability != Durability::Memory {
            return refuse("durability", "the engine `memory` has durability `memory` alone");
        }
        if self.engine == EngineChoice::Memory && settings.has("memory") {
            let what = "with the engine `memory` all events are in memory; `retention-bytes` is \
                        their bound";
            return refuse("memory", what);
        }
        if self.engine == EngineChoice::Memory && self.retention_bytes.is_none() {
            return refuse("retention-bytes", "the engine `memory` cannot keep without a limit");
        }
        if self.auth.dev { self.check_dev(settings) } else { self.check_keys() }
    }

    /// Development mode needs no token, and so must not be reachable from other machines.
    fn check_dev(&self, settings: &RawSettings) -> Result<(), ConfigError> {
        let is_open = |address: &&SocketAddr| !address.ip().is_loopback();
        let open = self.listen.iter().map(|address| ("listen", address));
        let open = open.chain(self.admin.iter().map(|address| ("admin-listen", address)));
        let Some((name, address)) = open.into_iter().find(|(_, address)| is_open(address)) else {
            return Ok(());
        };
        let what = format!(
            "`dev` allows everything without a token, and so on loopback alone; {address} can be \
             reached from elsewhere"
        );
        Err(ConfigError::at(settings.location(name), Some(name), what))
    }

    fn check_keys(&self) -> Result<(), ConfigError> {
        let auth = &self.auth;
        let has_sets = !auth.key_sets.is_empty();
        if auth.publisher_key.is_none() && auth.subscriber_key.is_none() && !has_sets {
            return Err(ConfigError::whole(
                "no key says who may publish; give `publisher-key` or `jwks`, or try it out with \
                 `dev`",
            ));
        }
        if auth.publisher_key.is_none() && !has_sets {
            return Err(ConfigError::whole("nobody could publish; give `publisher-key` or `jwks`"));
        }
        if auth.subscriber_key.is_none() && !has_sets && !auth.anonymous {
            return Err(ConfigError::whole(
                "nobody could subscribe; give `subscriber-key` or `jwks`, or let everybody read \
                 what is public with `anonymous`",
            ));
        }
        if !auth.compat_draft_07 && auth.issuers.is_empty() {
            return Err(ConfigError::whole(
                "no token could be valid: draft-07 is off, and draft-08 needs an `issuer`",
            ));
        }
        // The keys of the two roles belong to the first issuer.
        let owns_key = |issuer: &&String| {
            let is_first = auth.issuers.first() == Some(*issuer);
            is_first && (auth.publisher_key.is_some() || auth.subscriber_key.is_some())
                || auth.key_sets.iter().any(|set| set.issuer.as_ref() == Some(*issuer))
        };
        match auth.issuers.iter().find(|issuer| !owns_key(issuer)) {
            Some(issuer) => Err(ConfigError::whole(format!(
                "no token of {issuer} could be valid; give its keys: `jwks` {issuer}=URL or \
                 {issuer}=file:PATH"
            ))),
            None => Ok(()),
        }
    }
}

fn auth(s: &RawSettings, public_url: Option<&Url>) -> Result<AuthConfig, ConfigError> {
    let issuers = s.all("issuer", parse::identifier)?;
    let mut audiences = s.all("audience", parse::identifier)?;
    if audiences.is_empty() && !issuers.is_empty() {
        let Some(url) = public_url else {
            let what = "draft-08 tokens name their hub; give `audience` or `public-url`";
            return Err(ConfigError::at(s.location("issuer"), Some("issuer"), what));
        };
        audiences.push(format!("{}{HUB_PATH}", url.as_str().trim_end_matches('/')));
    }
    let key_sets = s.all("jwks", |text| KeySetSource::parse(text, &issuers))?;
    Ok(AuthConfig {
        publisher_key: s.maybe("publisher-key", KeySource::parse)?,
        publisher_key_algorithm: key_algorithm(s, "publisher-key-alg", "publisher-key")?,
        subscriber_key: s.maybe("subscriber-key", KeySource::parse)?,
        subscriber_key_algorithm: key_algorithm(s, "subscriber-key-alg", "subscriber-key")?,
        key_set_algorithms: key_set_algorithms(s, &issuers, &key_sets)?,
        key_sets,
        anonymous: s.get("anonymous", parse::switch)?,
        dev: s.get("dev", parse::switch)?,
        compat_draft_07: s.get("compat-draft-07", parse::switch)?,
        cookie_name: s.get("cookie-name", parse::cookie_name)?,
        publish_origins: s.all("publish-origin", origin)?,
        issuers,
        audiences,
    })
}

/// The algorithm of a key that is set.
fn key_algorithm(
    s: &RawSettings,
    name: &'static str,
    key: &'static str,
) -> Result<Option<Algorithm>, ConfigError> {
    let algorithm = s.maybe(name, parse::algorithm)?;
    if algorithm.is_some() && s.one(key)?.is_none() {
        return missing_setting(s, name, key);
    }
    Ok(algorithm)
}

/// The algorithms of JWKs without `alg`: for an issuer that has key sets, and at most one for each
/// type of key.
fn key_set_algorithms(
    s: &RawSettings,
    issuers: &[String],
    key_sets: &[KeySetSource],
) -> Result<Vec<KeySetAlgorithm>, ConfigError> {
    let algorithms = s.all("jwks-alg", |text| {
        let algorithm = KeySetAlgorithm::parse(text, issuers)?;
        match key_sets.iter().any(|set| set.issuer == algorithm.issuer) {
            true => Ok(algorithm),
            false => Err(format!("`{text}` is for no key set; give one with `jwks`")),
        }
    })?;
    for (at, later) in algorithms.iter().enumerate() {
        let is_same = |it: &&KeySetAlgorithm| {
            it.issuer == later.issuer && it.algorithm.family() == later.algorithm.family()
        };
        if let Some(first) = algorithms.iter().take(at).find(is_same) {
            let what = format!(
                "both {:?} and {:?} are for the same keys, and a key has one algorithm",
                first.algorithm, later.algorithm
            );
            return Err(ConfigError::at(s.location("jwks-alg"), Some("jwks-alg"), what));
        }
    }
    Ok(algorithms)
}

fn limits(s: &RawSettings) -> Result<Limits, ConfigError> {
    let connections = s.maybe("max-connections", |text| parse::or_unlimited(text, parse::count))?;
    Ok(Limits {
        max_connections: connections.unwrap_or_else(connections_of_files),
        max_connections_per_ip: s
            .get("max-connections-per-ip", |text| parse::or_unlimited(text, parse::count))?,
        trusted_proxies: s.all("trusted-proxy", network)?,
        max_body: s.get("max-body", parse::size)?,
        header_timeout: s.get("header-timeout", |text| {
            parse::duration_in(text, Duration::from_millis(1), None)
        })?,
    })
}

/// The default of `max-connections`: a part of the files that this process may open. `None` if it
/// may open any number.
///
/// The limit on open files is raised first, so that the result is the same at each reload. It is
/// less than `prism_sse::Capacity` has: that counts all connections, and these are subscribers,
/// beside whom publishers, key sets and new listeners need files.
fn connections_of_files() -> Option<u64> {
    let files = prism_sse::raise_open_files()?;
    let (part, whole) = limits::CONNECTIONS_OF_FILES;
    Some((files / whole).saturating_mul(part).max(1))
}

fn tls(s: &RawSettings) -> Result<Option<TlsFiles>, ConfigError> {
    let path = |text: &str| Ok(PathBuf::from(text));
    match (s.maybe("tls-cert", path)?, s.maybe("tls-key", path)?) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (Some(_), None) => missing_setting(s, "tls-cert", "tls-key"),
        (None, Some(_)) => missing_setting(s, "tls-key", "tls-cert"),
    }
}

/// The error of a setting that needs another one.
fn missing_setting<T>(s: &RawSettings, given: &str, missing: &str) -> Result<T, ConfigError> {
    let what = format!("`{missing}` is needed with it");
    Err(ConfigError::at(s.location(given), Some(given), what))
}

fn cors(s: &RawSettings) -> Result<Cors, ConfigError> {
    let is_any = |text: &str| Ok(text == "*");
    let origins = s.all("cors-origin", is_any)?;
    match origins.as_slice() {
        [true] => Ok(Cors::Any),
        origins if origins.contains(&true) => {
            let what = "`*` stands alone; it allows every page, without cookies";
            Err(ConfigError::at(s.location("cors-origin"), Some("cors-origin"), what))
        }
        _ => Ok(Cors::Only(s.all("cors-origin", origin)?)),
    }
}

fn hub_url(
    public_url: Option<&Url>,
    listen: &[SocketAddr],
    is_tls: bool,
) -> Result<Url, ConfigError> {
    let local = || {
        let scheme = if is_tls { "https" } else { "http" };
        let address = listen.first().map_or_else(|| "localhost".to_owned(), ToString::to_string);
        format!("{scheme}://{address}")
    };
    let base = public_url.map_or_else(local, |url| url.as_str().trim_end_matches('/').to_owned());
    let what = |error: url::ParseError| ConfigError::whole(format!("{base}: {error}"));
    Url::parse(&format!("{base}{HUB_PATH}")).map_err(what)
}

fn engine(text: &str) -> Result<EngineChoice, String> {
    let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
    match scheme {
        "memory" if text == "memory" => Ok(EngineChoice::Memory),
        "embedded" if rest.is_empty() => {
            Err("`embedded` needs a directory, such as `embedded:./prism-data`".to_owned())
        }
        "embedded" => Ok(EngineChoice::Embedded(rest.into())),
        "nats" | "redis" => Err(format!(
            "the engine `{scheme}` is not available yet; `memory` and `embedded:DIR` are"
        )),
        _ => Err(format!("`{text}` is no engine; `memory` and `embedded:DIR` are")),
    }
}

/// The most that an engine gives. In development mode nobody waits for a disk.
fn highest_durability(engine: &EngineChoice, is_dev: bool) -> Durability {
    match engine {
        EngineChoice::Memory => Durability::Memory,
        EngineChoice::Embedded(_) if is_dev => Durability::Os,
        EngineChoice::Embedded(_) => Durability::Fsync,
    }
}

fn durability(text: &str) -> Result<Durability, String> {
    let words =
        [("memory", Durability::Memory), ("os", Durability::Os), ("fsync", Durability::Fsync)];
    parse::one_of(text, &words)
}

fn on_lag(text: &str) -> Result<OnLag, String> {
    let words = [
        ("disconnect", OnLag::Disconnect),
        ("skip", OnLag::SkipWithGap),
        ("latest", OnLag::LatestPerTopic),
    ];
    parse::one_of(text, &words)
}

fn origin(text: &str) -> Result<Origin, String> {
    Origin::parse(text)
        .ok_or_else(|| format!("`{text}` is no origin such as https://app.example.com"))
}

fn idempotency_bytes(text: &str) -> Result<u64, String> {
    let min = prism_sse::limits::IDEMPOTENCY_ENTRY_BYTES as u64;
    match parse::size(text)? {
        bytes if bytes < min => Err(format!("`{text}` is too little; one key takes {min}B")),
        bytes => Ok(bytes),
    }
}

fn network(text: &str) -> Result<Network, String> {
    Network::parse(text)
        .ok_or_else(|| format!("`{text}` is no network such as 10.0.0.0/8 or 2001:db8::/32"))
}

fn at_least_a_second(text: &str) -> Result<Duration, String> {
    parse::duration_in(text, Duration::from_secs(1), None)
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::super::SettingLocation;
    use super::*;
    use crate::cli::ServeArgs;

    /// Settings that accept any text when the configuration is read.
    const ANY_TEXT: &[&str] = &["config", "tls-cert", "tls-key", "publisher-key", "subscriber-key"];

    #[test]
    fn every_setting_is_read() {
        let command = ServeArgs::augment_args(Command::new("serve"));
        let names = command.get_arguments().filter_map(|argument| argument.get_long());
        for name in names.filter(|name| !ANY_TEXT.contains(name)) {
            let error = Config::from_args([&format!("--{name}=\u{1}")]).unwrap_err();
            assert_eq!(error.location(), &SettingLocation::Flag(name.to_owned()));
        }
    }

    #[test]
    fn settings_have_the_documented_defaults() {
        let config = Config::from_args(["--dev"]).unwrap();
        assert_eq!(config.listen, ["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(config.admin, Some("127.0.0.1:9090".parse().unwrap()));
        assert_eq!(config.heartbeat, Some(Duration::from_secs(15)));
        assert_eq!(config.retry, Duration::from_secs(3));
        assert_eq!(config.max_age, Some(Duration::from_secs(3600)));
        assert_eq!(config.on_lag, OnLag::Disconnect);
        assert_eq!(config.refuse, RefusalMode::Soft);
        assert_eq!(config.retention_age, Some(Duration::from_secs(86_400)));
        assert_eq!(config.retention_bytes, Some(1 << 30));
        assert_eq!(config.retention_count, None);
        assert_eq!(config.idempotency_window, Some(Duration::from_secs(120)));
        assert_eq!(config.idempotency_bytes, 64 << 20);
        assert_eq!(config.limits.max_connections_per_ip, None);
        assert_eq!(config.limits.trusted_proxies, []);
        assert_eq!(config.limits.max_body, 1 << 20);
        assert_eq!(config.limits.header_timeout, Duration::from_secs(10));
        assert_eq!(config.drain, Duration::from_secs(30));
        assert!(config.auth.compat_draft_07 && !config.subscriptions);
        assert_eq!(config.auth.cookie_name, "mercureAuthorization");
        assert!(config.limits.max_connections.is_some_and(|max| max > 0));
    }

    #[test]
    fn hub_url_metadata_url_and_audience_follow_from_the_public_url() {
        for (url, hub, metadata) in [
            (
                "https://hub.example/",
                "https://hub.example/.well-known/mercure",
                "https://hub.example/.well-known/oauth-protected-resource/.well-known/mercure",
            ),
            (
                "https://example.com/live",
                "https://example.com/live/.well-known/mercure",
                "https://example.com/.well-known/oauth-protected-resource/live\
                 /.well-known/mercure",
            ),
        ] {
            let args = ["--dev", "--issuer", "https://issuer.example", "--public-url", url];
            let config = Config::from_args(args).unwrap();
            assert_eq!(config.hub_url.as_str(), hub);
            assert_eq!(config.metadata_url().unwrap().as_str(), metadata);
            assert_eq!(config.auth.audiences, [hub]);
        }
        let local = Config::from_args(["--dev", "--listen", "[::1]:8080"]).unwrap();
        assert_eq!(local.hub_url.as_str(), "http://[::1]:8080/.well-known/mercure");
        assert_eq!(local.metadata_url(), None);
    }

    #[test]
    fn an_issuer_without_keys_is_refused() {
        let key = "a secret of at least 32 bytes, or more";
        let args = [
            "--publisher-key",
            key,
            "--anonymous",
            "--public-url",
            "https://hub.example",
            "--issuer",
            "https://a.example",
            "--issuer",
            "https://b.example",
        ];
        let error = Config::from_args(args).unwrap_err().to_string();
        let told = "no token of https://b.example could be valid; give its keys: `jwks` \
                    https://b.example=URL or https://b.example=file:PATH";
        assert_eq!(error, told);
        assert!(Config::from_args(&args[..7]).is_ok());
    }

    #[test]
    fn more_values_than_a_setting_may_have_are_refused() {
        let args = std::iter::repeat_n("--listen=127.0.0.1:0", limits::REPEATED_MAX + 1);
        let error = Config::from_args(args.chain(["--dev"])).unwrap_err();
        assert_eq!(error.to_string(), "--listen: 101 values were given; at most 100");
    }
}
