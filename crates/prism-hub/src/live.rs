//! What a reload replaces: who is trusted, what is allowed, and which certificate is shown, as one
//! value.
//!
//! A request takes the value once and judges by it alone, so that it never sees the keys of one
//! configuration with the limits of another. A configuration that cannot be read changes nothing.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::ServerConfig;

use crate::auth::{Authority, Clock, KeyError, KeySet, KeySets};
use crate::config::{Config, ConfigError, KeySetUrl, Limits, Trust};
use crate::tls::{self, TlsError};

/// Who is trusted and what is allowed, at one time.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rules {
    /// Who may do what.
    pub authority: Authority,
    /// What is allowed each and all.
    pub limits: Limits,
    /// Whom the configuration trusts.
    pub(crate) trust: Arc<Trust>,
    /// How connections over TLS begin, if there are such.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// The rules of now.
#[derive(Debug)]
pub struct Live {
    rules: ArcSwap<Rules>,
    /// Held while they are replaced: what replaces them keeps some of what there was.
    replacing: Mutex<()>,
    clock: Clock,
}

/// Why the rules cannot be made or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadError {
    /// The configuration is wrong.
    Config(ConfigError),
    /// A key cannot be used.
    Key(KeyError),
    /// The certificate or its key cannot be.
    Tls(TlsError),
}

impl Rules {
    /// The rules that a configuration says.
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
        let trust = Arc::new(config.trust.clone());
        Ok(Self { authority, limits: config.limits.clone(), trust, tls })
    }
}

impl Live {
    /// Begins with the rules of a configuration.
    ///
    /// # Errors
    ///
    /// [`ReloadError`] if a key or the certificate cannot be used.
    pub fn new(config: &Config, clock: Clock) -> Result<Self, ReloadError> {
        let rules = ArcSwap::from_pointee(Rules::new(config, clock.clone())?);
        Ok(Self { rules, replacing: Mutex::default(), clock })
    }

    /// The rules of now. Take them once for a request.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Puts the rules of another configuration in force, or leaves everything as it is. Key sets
    /// that were fetched stay.
    ///
    /// # Errors
    ///
    /// [`ReloadError`] if a key or the certificate cannot be used.
    pub fn replace(&self, config: &Config) -> Result<(), ReloadError> {
        let _replacing = self.replacing();
        let sets = self.rules().authority.key_sets().clone();
        self.put(config, &sets)
    }

    /// Puts the rules of another configuration and these fetched key sets in force, or leaves
    /// everything as it is.
    pub(crate) fn replace_with(&self, config: &Config, sets: &KeySets) -> Result<(), ReloadError> {
        let _replacing = self.replacing();
        self.put(config, sets)
    }

    fn put(&self, config: &Config, sets: &KeySets) -> Result<(), ReloadError> {
        let mut rules = Rules::with_key_sets(config, self.clock.clone(), sets)?;
        // Listeners speak TLS until a restart, whatever the configuration says by now.
        rules.tls = rules.tls.or_else(|| self.rules().tls.clone());
        self.rules.store(Arc::new(rules));
        Ok(())
    }

    /// Puts what an address of a key set gave in force, or notes that it gave the same as before.
    /// Whether it was another set.
    pub(crate) fn put_key_set(&self, url: &KeySetUrl, text: &[u8]) -> Result<bool, KeyError> {
        let now = self.clock.now();
        let _replacing = self.replacing();
        let rules = self.rules();
        let known = rules.authority.key_sets().get(url);
        if known.is_some_and(|set| set.confirm(text, now)) {
            return Ok(false);
        }
        let set = KeySet::read(url, text, now)?;
        // A set without keys says that the old ones were taken out. The first one has to have some.
        let set = if known.is_some() { set } else { set.with_a_key(url)? };
        self.rules.store(Arc::new(Rules {
            authority: rules.authority.with_key_set(url, &Arc::new(set)),
            limits: rules.limits.clone(),
            trust: Arc::clone(&rules.trust),
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
        let live = Live::new(&config(long, "7"), Clock::system()).unwrap();
        let before = live.rules();

        assert!(live.replace(&config("short", "8")).is_err());
        assert_eq!(live.rules().limits.max_connections, Some(7));

        let tls = ["--dev", "--max-connections", "8", "--tls-cert", "/no/such/file"];
        let tls = Config::from_args(tls.iter().chain(&["--tls-key", "/no/such/file"])).unwrap();
        let error = live.replace(&tls).unwrap_err();
        assert!(error.to_string().starts_with("/no/such/file: "), "{error}");
        assert_eq!(live.rules().limits.max_connections, Some(7));

        live.replace(&config(&long.replace('a', "b"), "9")).unwrap();
        assert_eq!(live.rules().limits.max_connections, Some(9));
        assert_eq!(before.limits.max_connections, Some(7), "a request keeps what it took");
    }

    #[test]
    fn the_cookie_changes_its_name_with_the_rest() {
        let key = "a secret of at least 32 bytes, or more";
        let config = |name: &str| {
            Config::from_args(["--publisher-key", key, "--anonymous", "--cookie-name", name])
        };
        let live = Live::new(&config("first").unwrap(), Clock::system()).unwrap();
        let read = |name: &str| {
            let request = http::Request::get("/events").header("cookie", format!("{name}=a.b.c"));
            let (request, ()) = request.body(()).unwrap().into_parts();
            live.rules().authority.subscriber(&request).is_err()
        };
        assert_eq!((read("first"), read("second")), (true, false));
        live.replace(&config("second").unwrap()).unwrap();
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
        let live = Live::new(&configs[0], Clock::system()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let rules = live.rules();
                        let is_first = rules.limits.max_connections == Some(7);
                        let allowed = requests.each_ref().map(|it| rules.authority.publisher(it));
                        assert_eq!(allowed.map(|it| it.is_ok()), [is_first, !is_first]);
                    }
                });
            }
            for at in 0..500 {
                live.replace(&configs[at % 2]).unwrap();
            }
        });
    }
}
