//! The host check: protects a hub with `dev` from pages of other sites.
//!
//! With `dev`, every client that reaches the hub may do everything, and every page in a browser on
//! this machine reaches it. Two checks keep foreign pages out. A request whose `Host` does not name
//! this machine is refused, which stops DNS rebinding; and a publish without a token from a page of
//! another origin is refused, which stops cross-site request forgery.

use axum::extract::Request;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, StatusCode};
use url::{Host, Url};

use crate::config::{Config, Origin};
use crate::problem::Problem;

/// Refuses a request for another host, if the hub runs with `dev`.
pub(super) fn check_host<B>(config: &Config, request: &Request<B>) -> Result<(), Problem> {
    if !config.auth.dev {
        return Ok(());
    }
    let host = request.uri().authority().map(|authority| authority.as_str());
    let host = host.or_else(|| request.headers().get(HOST)?.to_str().ok());
    if host.is_none_or(|host| is_own_host(config, host)) {
        return Ok(());
    }
    let sentence = "This hub runs with `dev`, and answers to names of this machine alone.";
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, sentence))
}

/// Refuses a publish without a token from a page of an origin that is neither this machine nor
/// listed in the configuration.
pub(super) fn check_publish_origin(config: &Config, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(Origin::parse);
    let is_allowed = origin.is_some_and(|origin| {
        let is_local = Url::parse(origin.as_str()).is_ok_and(|url| is_loopback(&url));
        is_local || config.auth.publish_origins.contains(&origin)
    });
    if is_allowed {
        return Ok(());
    }
    let sentence = "A page of another origin may publish with a token alone.";
    Err(Problem::new(StatusCode::FORBIDDEN, sentence))
}

fn is_own_host(config: &Config, host: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{host}/")) else { return false };
    let public = config.public_url.as_ref().and_then(Url::host);
    is_loopback(&url) || (public.is_some() && url.host() == public)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_dev_only_hosts_of_this_machine_are_accepted() {
        let config = Config::from_args(["--dev"]).unwrap();
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:80",
            "LOCALHOST.",
            "a.localhost",
        ] {
            assert!(is_own_host(&config, host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "a b",
        ] {
            assert!(!is_own_host(&config, host), "{host}");
        }
    }
}
