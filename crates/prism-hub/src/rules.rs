//! The part of the configuration that a reload replaces: trusted keys, limits and the certificate.
//!
//! They are one immutable value, [`Rules`], which is replaced as a whole. A request takes a
//! snapshot once, so that it never sees the keys of one configuration with the limits of another. A
//! configuration with an error changes nothing.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::ServerConfig;

use crate::auth::{Authority, Clock, KeyError, KeySet, KeySets};
use crate::config::{AuthConfig, Config, ConfigError, KeySetUrl, Limits};
use crate::tls::{self, TlsError};

/// A snapshot of what a reload replaces.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rules {
    /// Decides who may publish and who may subscribe.
    pub authority: Authority,
    /// Limits on connections and requests.
    pub limits: Limits,
    /// The settings of authentication.
    pub(crate) auth: Arc<AuthConfig>,
    /// The TLS configuration, if the hub terminates TLS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// The current [`Rules`], which a reload replaces.
#[derive(Debug)]
pub struct ReloadableRules {
    rules: ArcSwap<Rules>,
    /// Held while the rules are replaced, because the new rules keep a part of the old ones.
    replacing: Mutex<()>,
    clock: Clock,
}

/// Why the rules cannot be built or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadError {
    /// The configuration is wrong.
    Config(ConfigError),
    /// A key cannot be used.
    Key(KeyError),
    /// The certificate or its private key cannot be used.
    Tls(TlsError),
}

impl Rules {
    /// Builds the rules of a configuration.
    ///
    /// # Errors
    ///
    /// [`ReloadError`] if a key or the certificate cannot be used.
    pub fn new(config: &Config, clock: Clock) -> Result<Self, ReloadError> {
        Self::with_key_sets(config, clock, &KeySets::default())
    }

    fn with_key_sets(config: &Config, clock: Clock, sets: &KeySets) -> Result<Self, ReloadError> {
        let authority = Authority::with_key_sets(config, clock, sets)?;
        let tls = config.tls.as_ref().map(tls::read).transpose()?;
        let auth = Arc::new(config.auth.clone());
        Ok(Self { authority, limits: config.limits.clone(), auth, tls })
    }
}

impl ReloadableRules {
    /// Starts with the rules of a configuration.
    ///
    /// # Errors
    ///
    /// [`ReloadError`] if a key or the certificate cannot be used.
    pub fn new(config: &Config, clock: Clock) -> Result<Self, ReloadError> {
        let rules = ArcSwap::from_pointee(Rules::new(config, clock.clone())?);
        Ok(Self { rules, replacing: Mutex::default(), clock })
    }

    /// A snapshot of the current rules. Take one for each request.
    pub fn current(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Replaces the rules by those of another configuration, and keeps the fetched key sets. After
    /// an error nothing has changed.
    ///
    /// # Errors
    ///
    /// [`ReloadError`] if a key or the certificate cannot be used.
    pub fn replace(&self, config: &Config) -> Result<(), ReloadError> {
        let _replacing = self.replacing();
        let sets = self.current().authority.key_sets().clone();
        self.put(config, &sets)
    }

    /// Replaces the rules by those of another configuration, with these fetched key sets. After an
    /// error nothing has changed.
    pub(crate) fn replace_with(&self, config: &Config, sets: &KeySets) -> Result<(), ReloadError> {
        let _replacing = self.replacing();
        self.put(config, sets)
    }

    fn put(&self, config: &Config, sets: &KeySets) -> Result<(), ReloadError> {
        let mut rules = Rules::with_key_sets(config, self.clock.clone(), sets)?;
        // Listeners use TLS until a restart, even if the new configuration has no certificate.
        rules.tls = rules.tls.or_else(|| self.current().tls.clone());
        self.rules.store(Arc::new(rules));
        Ok(())
    }

    /// Replaces the key set of a URL by the text that was fetched, or confirms it if the text is
    /// the same. Returns whether it has changed.
    pub(crate) fn put_key_set(&self, url: &KeySetUrl, text: &[u8]) -> Result<bool, KeyError> {
        let now = self.clock.now();
        let _replacing = self.replacing();
        let rules = self.current();
        let known = rules.authority.key_sets().get(url);
        if known.is_some_and(|set| set.confirm(text, now)) {
            return Ok(false);
        }
        let set = KeySet::read(url, text, now)?;
        // An empty set removes the previous keys, but is an error the first time.
        let set = if known.is_some() { set } else { set.not_empty(url)? };
        self.rules.store(Arc::new(Rules {
            authority: rules.authority.with_key_set(url, &Arc::new(set)),
            limits: rules.limits.clone(),
            auth: Arc::clone(&rules.auth),
            tls: rules.tls.clone(),
        }));
        Ok(true)
    }

    fn replacing(&self) -> impl Drop + use<'_> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReloadError {}

impl From<ConfigError> for ReloadError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<KeyError> for ReloadError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<TlsError> for ReloadError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_change_together_or_not_at_all() {
        let config = |key: &str, max: &str| {
            let args = ["--anonymous", "--publisher-key", key, "--max-connections", max];
            Config::from_args(args).unwrap()
        };
        let long = "a secret of at least 32 bytes, or more";
        let rules = ReloadableRules::new(&config(long, "7"), Clock::system()).unwrap();
        let before = rules.current();

        assert!(rules.replace(&config("short", "8")).is_err());
        assert_eq!(rules.current().limits.max_connections, Some(7));

        let tls = ["--dev", "--max-connections", "8", "--tls-cert", "/no/such/file"];
        let tls = Config::from_args(tls.iter().chain(&["--tls-key", "/no/such/file"])).unwrap();
        let error = rules.replace(&tls).unwrap_err();
        assert!(error.to_string().starts_with("/no/such/file: "), "{error}");
        assert_eq!(rules.current().limits.max_connections, Some(7));

        rules.replace(&config(&long.replace('a', "b"), "9")).unwrap();
        assert_eq!(rules.current().limits.max_connections, Some(9));
        assert_eq!(before.limits.max_connections, Some(7), "a request keeps what it took");
    }

    #[test]
    fn a_reload_changes_the_name_of_the_cookie() {
        let key = "a secret of at least 32 bytes, or more";
        let config = |name: &str| {
            Config::from_args(["--publisher-key", key, "--anonymous", "--cookie-name", name])
        };
        let rules = ReloadableRules::new(&config("first").unwrap(), Clock::system()).unwrap();
        let read = |name: &str| {
            let request = http::Request::get("/events").header("cookie", format!("{name}=a.b.c"));
            let (request, ()) = request.body(()).unwrap().into_parts();
            rules.current().authority.subscriber(&request).is_err()
        };
        assert_eq!((read("first"), read("second")), (true, false));
        rules.replace(&config("second").unwrap()).unwrap();
        assert_eq!((read("first"), read("second")), (false, true));
    }

    #[test]
    fn no_request_sees_the_keys_of_one_configuration_with_the_limits_of_another() {
        let secrets = ["first secret, 32 bytes long or more", "second secret, 32 bytes long or so"];
        let configs = [("7", secrets[0]), ("8", secrets[1])].map(|(max, key)| {
            let args = ["--anonymous", "--publisher-key", key, "--max-connections", max];
            Config::from_args(args).unwrap()
        });
        let requests = secrets.map(|secret| {
            let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
            let claims = serde_json::json!({"mercure": {"publish": ["*"]}});
            let token = jsonwebtoken::encode(&Default::default(), &claims, &key).unwrap();
            let request = http::Request::post("/");
            let request = request.header("authorization", format!("Bearer {token}"));
            request.body(()).unwrap().into_parts().0
        });
        let rules = ReloadableRules::new(&configs[0], Clock::system()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let rules = rules.current();
                        let is_first = rules.limits.max_connections == Some(7);
                        let allowed = requests.each_ref().map(|it| rules.authority.publisher(it));
                        assert_eq!(allowed.map(|it| it.is_ok()), [is_first, !is_first]);
                    }
                });
            }
            for at in 0..500 {
                rules.replace(&configs[at % 2]).unwrap();
            }
        });
    }
}
