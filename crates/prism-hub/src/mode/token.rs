//! `token`: creates a token of either dialect.

use std::time::Duration;

use jsonwebtoken::Header;
use serde_json::{Value, json};

use super::failure::Failure;
use crate::auth::{Clock, SigningKey};
use crate::cli::{DialectArg, TokenArgs};
use crate::config::{self, KeySource};

/// Creates a token and prints it.
pub(super) fn token(args: &TokenArgs) -> Result<(), Failure> {
    println!("{}", make(args, Clock::system().now())?);
    Ok(())
}

fn make(args: &TokenArgs, now: u64) -> Result<String, Failure> {
    let source = KeySource::parse(&args.key).map_err(|what| flag("key", &what))?;
    let ttl = config::duration(&args.ttl).map_err(|what| flag("ttl", &what))?;
    if ttl < Duration::from_secs(1) {
        return Err(flag("ttl", "at least 1s is needed"));
    }
    let algorithm = args.key_alg.as_deref().map(config::algorithm).transpose();
    let algorithm = algorithm.map_err(|what| flag("key-alg", &what))?;
    let key = SigningKey::read(&source, algorithm).map_err(Failure::failed)?;
    let mut header = Header::new(key.algorithm);
    let expires = now.saturating_add(ttl.as_secs());
    let claims = match args.dialect {
        DialectArg::Draft07 => draft_07(args, now, expires),
        DialectArg::Draft08 => {
            header.typ = Some("at+jwt".to_owned());
            draft_08(args, now, expires)?
        }
    };
    jsonwebtoken::encode(&header, &claims, &key.encoding).map_err(Failure::failed)
}

fn draft_07(args: &TokenArgs, now: u64, expires: u64) -> Value {
    let mut claims = json!({
        "mercure": {"publish": args.publish, "subscribe": args.subscribe},
        "iat": now,
        "exp": expires,
    });
    // The hub ignores both in draft-07 tokens; other readers of the token may not.
    if let Some(issuer) = &args.issuer {
        claims["iss"] = issuer.clone().into();
    }
    if let Some(audience) = &args.audience {
        claims["aud"] = audience.clone().into();
    }
    claims
}

fn draft_08(args: &TokenArgs, now: u64, expires: u64) -> Result<Value, Failure> {
    let needed = |value: &Option<String>, name| {
        value.clone().ok_or_else(|| flag(name, "a token of draft-08 needs it"))
    };
    let details: Vec<Value> = [("publish", &args.publish), ("subscribe", &args.subscribe)]
        .into_iter()
        .filter(|(_, selectors)| !selectors.is_empty())
        .map(|(action, selectors)| {
            json!({
                "type": "https://mercure.rocks/authorization-detail",
                "actions": [action],
                "topics": selectors.iter().map(|it| matcher(it)).collect::<Vec<_>>(),
            })
        })
        .collect();
    Ok(json!({
        "iss": needed(&args.issuer, "issuer")?,
        "aud": needed(&args.audience, "audience")?,
        "iat": now,
        "exp": expires,
        "authorization_details": details,
    }))
}

/// A topic matcher of draft-08: `urlpattern:PATTERN` is a URL Pattern, other text is a topic or
/// `*`.
fn matcher(selector: &str) -> Value {
    match selector.strip_prefix("urlpattern:") {
        Some(pattern) => json!({"match": pattern, "match_type": "urlpattern"}),
        None => json!({"match": selector}),
    }
}

fn flag(name: &str, what: &str) -> Failure {
    Failure::Usage(format!("--{name}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Authority;
    use crate::config::Config;

    const SECRET: &str = "a secret of at least 32 bytes, or more";

    fn args(dialect: DialectArg) -> TokenArgs {
        TokenArgs {
            key: SECRET.to_owned(),
            key_alg: None,
            dialect,
            publish: vec!["news".to_owned()],
            subscribe: vec!["*".to_owned()],
            ttl: "1h".to_owned(),
            issuer: Some("https://issuer.example".to_owned()),
            audience: Some("https://hub.example/.well-known/mercure".to_owned()),
        }
    }

    #[test]
    fn the_hub_accepts_a_token_of_either_dialect() {
        let config = Config::from_args([
            "--publisher-key",
            SECRET,
            "--subscriber-key",
            SECRET,
            "--issuer",
            "https://issuer.example",
            "--public-url",
            "https://hub.example",
        ]);
        let clock = Clock::from_fn(|| 1_800_000_000);
        let authority = Authority::new(&config.unwrap(), clock.clone()).unwrap();
        for dialect in [DialectArg::Draft07, DialectArg::Draft08] {
            let token = make(&args(dialect), clock.now()).unwrap();
            let request = http::Request::post("/events")
                .header("authorization", format!("Bearer {token}"))
                .body(())
                .unwrap();
            let (parts, ()) = request.into_parts();
            let publisher = authority.publisher(&parts).unwrap();
            assert!(publisher.may_publish(&["news".try_into().unwrap()]));
            assert!(!publisher.may_publish(&["other".try_into().unwrap()]));
            let subscriber = authority.subscriber(&parts).unwrap();
            assert!(subscriber.may_read(&"anything".try_into().unwrap()));
        }
    }

    #[test]
    fn a_missing_claim_of_draft_08_is_named() {
        let without = TokenArgs { issuer: None, ..args(DialectArg::Draft08) };
        let Err(Failure::Usage(what)) = make(&without, 0) else { panic!("a token") };
        assert_eq!(what, "--issuer: a token of draft-08 needs it");
    }
}
