//! Which settings a reload can change.

use super::{Config, ConfigError};

impl Config {
    /// Refuses a configuration that the running hub must not reload, because it changes who is
    /// trusted through a setting that takes a restart.
    pub(crate) fn check_reload(&self, new: &Self) -> Result<(), ConfigError> {
        let settings = [
            ("dev", self.auth.dev == new.auth.dev),
            ("public-url", self.public_url == new.public_url),
        ];
        match settings.into_iter().find(|(_, is_equal)| !is_equal) {
            Some((name, _)) => Err(ConfigError::whole(format!("another `{name}` takes a restart"))),
            None => Ok(()),
        }
    }

    /// The names of the settings that differ in `new` and take effect only after a restart.
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let settings = [
            ("listen", self.listen == new.listen),
            ("admin-listen", self.admin == new.admin),
            ("tls-cert, tls-key", self.tls.is_some() == new.tls.is_some()),
            ("engine", self.engine == new.engine),
            ("durability", self.durability == new.durability),
            ("memory", self.memory == new.memory),
            ("cors-origin", self.cors == new.cors),
            ("subscriptions", self.subscriptions == new.subscriptions),
            ("heartbeat", self.heartbeat == new.heartbeat),
            ("retry", self.retry == new.retry),
            ("max-age", self.max_age == new.max_age),
            ("on-lag", self.on_lag == new.on_lag),
            ("refuse", self.refuse == new.refuse),
            ("retention-age", self.retention_age == new.retention_age),
            ("retention-bytes", self.retention_bytes == new.retention_bytes),
            ("retention-count", self.retention_count == new.retention_count),
            ("idempotency-window", self.idempotency_window == new.idempotency_window),
            ("idempotency-bytes", self.idempotency_bytes == new.idempotency_bytes),
            ("shards", self.shards == new.shards),
            ("drain", self.drain == new.drain),
        ];
        settings.into_iter().filter(|(_, is_equal)| !is_equal).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_take_a_restart_are_named() {
        let old = Config::from_args(["--dev"]).unwrap();
        assert_eq!(old.needs_restart(&old), [""; 0]);
        let new = ["--dev", "--retry", "5s", "--drain", "1s", "--max-body", "1KiB"];
        let new = Config::from_args(new).unwrap();
        assert_eq!(old.needs_restart(&new), ["retry", "drain"]);
        let tls = |cert| ["--dev", "--tls-cert", cert, "--tls-key", "a"];
        let tls = |cert| Config::from_args(tls(cert)).unwrap();
        assert_eq!(tls("b").needs_restart(&tls("c")), [""; 0]);
        assert_eq!(old.needs_restart(&tls("b")), ["tls-cert, tls-key"]);
        assert_eq!(tls("b").needs_restart(&old), ["tls-cert, tls-key"]);
    }
}
