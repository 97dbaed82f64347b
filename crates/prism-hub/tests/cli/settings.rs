//! Flags, the environment and a file set the same settings under the same names.

use crate::program::{TempFile, run, run_in};

const SECRET: &str = "a secret of at least 32 bytes, or more";

/// Asserts that `serve` exits with this message.
#[track_caller]
fn refused(args: &[&str], variables: &[(&str, &str)], code: i32, message: &str) {
    let output = run_in(&[&["serve"], args].concat(), variables);
    assert_eq!(output.err, format!("prism-hub: {message}\n"));
    assert_eq!(output.code, code);
    assert_eq!(output.out, "");
}

#[test]
fn without_keys_it_does_not_start() {
    let message = "no key says who may publish; give `publisher-key` or `jwks`, or try it out \
                   with `dev`";
    refused(&[], &[], 1, message);
    refused(&["--anonymous"], &[], 1, message);
    let key = ["--publisher-key", SECRET];
    let message = "nobody could subscribe; give `subscriber-key` or `jwks`, or let everybody \
                   read what is public with `anonymous`";
    refused(&key, &[], 1, message);
    let key = ["--subscriber-key", SECRET];
    refused(&key, &[], 1, "nobody could publish; give `publisher-key` or `jwks`");
    let key = ["--publisher-key", SECRET, "--anonymous", "--compat-draft-07", "off"];
    let message = "no token could be valid: draft-07 is off, and draft-08 needs an `issuer`";
    refused(&key, &[], 1, message);
}

#[test]
fn keys_that_cannot_be_used_are_refused_with_their_name() {
    let with = |key: &str, message: &str| {
        let message = format!("publisher-key: {message}");
        refused(&["--anonymous", "--publisher-key", key], &[], 1, &message);
    };
    with("short", "the secret has 5 bytes; at least 32 are needed, except with `dev`");
    with("env:NO_SUCH_VARIABLE", "the variable NO_SUCH_VARIABLE is not set, or not UTF-8");
    with("file:/no/such/file", "/no/such/file: No such file or directory (os error 2)");
    with("-----BEGIN PUBLIC KEY-----", "the PEM has no RSA, P-256, P-384 or Ed25519 key");
    let jwks = ["--jwks", "http://issuer.example/keys"];
    let message = "--jwks: whoever is on the way could put keys into a set that comes over http; \
                   it must be https, or at a loopback address such as http://127.0.0.1:8081/keys";
    refused(&jwks, &[], 2, message);
    let jwks = ["--jwks", "keys.json"];
    let message = "--jwks: a key set is https://HOST/PATH, file:PATH, or ISSUER= and one of them";
    refused(&jwks, &[], 2, message);
}

#[test]
fn the_algorithm_of_a_key_is_a_setting_like_any_other() {
    let algorithms = "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, \
                      ES384, EdDSA";
    let unknown = format!("`HS265` is no algorithm; allowed: {algorithms}");
    let key = ["--anonymous", "--publisher-key", SECRET];
    let with = |more: &[&'static str]| [&key[..], more].concat();
    let message = format!("--publisher-key-alg: {unknown}");
    refused(&with(&["--publisher-key-alg", "HS265"]), &[], 2, &message);
    let variable = [("PRISM_HUB_PUBLISHER_KEY_ALG", "HS265")];
    refused(&key, &variable, 1, &format!("PRISM_HUB_PUBLISHER_KEY_ALG: {unknown}"));
    let file = TempFile::new("publisher-key-alg = \"HS265\"\n");
    let message = format!("{}:1: publisher-key-alg: {unknown}", file.path());
    refused(&[&key[..], &["--config", file.path()]].concat(), &[], 1, &message);

    let message =
        "publisher-key-alg: `RS256` is no algorithm of a secret; allowed: HS256, HS384, HS512";
    refused(&with(&["--publisher-key-alg", "RS256"]), &[], 1, message);
    let message = "--subscriber-key-alg: `subscriber-key` is needed with it";
    refused(&with(&["--subscriber-key-alg", "HS256"]), &[], 2, message);
}

#[test]
fn the_algorithm_of_a_key_set_names_its_issuer() {
    let [a, b] = ["https://a.example", "https://b.example"];
    let jwks = "https://a.example=https://a.example/keys";
    let one = ["--issuer", a, "--audience", "urn:hub", "--jwks", jwks, "--anonymous"];
    let with = |more: &[&'static str]| [&one[..], more].concat();
    let message = "--jwks-alg: both RS512 and PS256 are for the same keys, and a key has one \
                   algorithm";
    let twice = ["--jwks-alg", "https://a.example=RS512", "--jwks-alg", "PS256"];
    refused(&with(&twice), &[], 2, message);
    let message = "--jwks-alg: `https://b.example` is not among the issuers; add it to `issuer`";
    refused(&with(&["--jwks-alg", "https://b.example=RS512"]), &[], 2, message);
    let two = with(&["--issuer", b, "--jwks", "https://b.example=file:/no/such/file"]);
    let message = "--jwks-alg: of several issuers, say whose it is: ISSUER=ALGORITHM";
    refused(&[&two[..], &["--jwks-alg", "RS512"]].concat(), &[], 2, message);
    let message = "--jwks-alg: `RS512` is for no key set; give one with `jwks`";
    let no_set = ["--publisher-key", SECRET, "--anonymous", "--jwks-alg", "RS512"];
    refused(&no_set, &[], 2, message);
}

#[test]
fn engines_that_do_not_exist_yet_are_refused() {
    let known = "`memory` and `embedded:DIR` are";
    for engine in ["nats://127.0.0.1:4222/events", "redis://127.0.0.1/events"] {
        let name = engine.split(':').next().unwrap();
        let message = format!("--engine: the engine `{name}` is not available yet; {known}");
        refused(&["--dev", "--engine", engine], &[], 2, &message);
    }
    let message = format!("--engine: `sled` is no engine; {known}");
    refused(&["--dev", "--engine", "sled"], &[], 2, &message);
    let message = "--engine: `embedded` needs a directory, such as `embedded:./prism-data`";
    refused(&["--dev", "--engine", "embedded:"], &[], 2, message);
    let message = "--memory: with the engine `memory` all events are in memory; \
                   `retention-bytes` is their bound";
    refused(&["--dev", "--memory", "1MiB"], &[], 2, message);
    let message = "--durability: the engine `memory` has durability `memory` alone";
    refused(&["--dev", "--durability", "fsync"], &[], 2, message);
}

#[test]
fn zero_never_means_unlimited() {
    for flag in ["--max-connections", "--max-connections-per-ip", "--retention-count"] {
        let message =
            format!("{flag}: `0` is not allowed; at least 1 is needed; no limit is `unlimited`");
        refused(&["--dev", flag, "0"], &[], 2, &message);
    }
    let message = "--max-body: `0B` is not allowed; at least 1 is needed";
    refused(&["--dev", "--max-body", "0B"], &[], 2, message);
    let message = "--retention-bytes: the engine `memory` cannot keep without a limit";
    refused(&["--dev", "--retention-bytes", "unlimited"], &[], 2, message);
    for flag in ["--max-age", "--retention-age"] {
        let message = format!(
            "{flag}: `0s` is too short; at least 1000 ms are needed; no limit is `unlimited`"
        );
        refused(&["--dev", flag, "0s"], &[], 2, &message);
    }
    let message = "--header-timeout: `0s` is too short; at least 1 ms are needed";
    refused(&["--dev", "--header-timeout", "0s"], &[], 2, message);
}

#[test]
fn a_wrong_flag_is_wrong_usage_and_a_wrong_variable_is_refused() {
    let what = "`5` is no duration such as 250ms, 15s, 2m, 24h or 7d";
    refused(&["--dev", "--retry", "5"], &[], 2, &format!("--retry: {what}"));
    let variable = [("PRISM_HUB_RETRY", "5")];
    refused(&["--dev"], &variable, 1, &format!("PRISM_HUB_RETRY: {what}"));
    let file = TempFile::new("dev = true\n\nretry = 5\n");
    let message = format!("{}:3: retry: {what}", file.path());
    refused(&["--config", file.path()], &[], 1, &message);
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let file = TempFile::new("dev = true\nretry = \"1\"\n");
    let config = [("PRISM_HUB_CONFIG", file.path()), ("PRISM_HUB_RETRY", "2")];
    let what = |text: &str| format!("`{text}` is no duration such as 250ms, 15s, 2m, 24h or 7d");
    refused(&["--retry", "3"], &config, 2, &format!("--retry: {}", what("3")));
    refused(&[], &config, 1, &format!("PRISM_HUB_RETRY: {}", what("2")));
    let message = format!("{}:2: retry: {}", file.path(), what("1"));
    refused(&[], &config[..1], 1, &message);
}

#[test]
fn an_unknown_setting_is_refused_with_a_suggestion() {
    let variable = [("PRISM_HUB_MAX_CONECTIONS", "7")];
    let message = "PRISM_HUB_MAX_CONECTIONS: there is no setting `PRISM_HUB_MAX_CONECTIONS`; did \
                   you mean `PRISM_HUB_MAX_CONNECTIONS`?";
    refused(&["--dev"], &variable, 1, message);
    let file = TempFile::new("dev = true\nlisen = \"127.0.0.1:0\"\n");
    let message = format!("{}:2: there is no setting `lisen`; did you mean `listen`?", file.path());
    refused(&["--config", file.path()], &[], 1, &message);
    let output = run(&["serve", "--hartbeat", "1s"]);
    assert_eq!(output.code, 2);
    assert!(output.err.contains("'--heartbeat'"), "{}", output.err);
}

#[test]
fn variables_of_other_programs_are_ignored() {
    let variables = [
        ("PRISM_HUB_PORT", "tcp://10.0.0.1:80"),
        ("PRISM_HUB_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("PRISM_HUB_SERVICE_HOST", "10.0.0.1"),
        ("PRISM_HUB_TOKEN", "a.b.c"),
        ("PRISM_HUB_RETRY", ""),
    ];
    let message = "--heartbeat: `x` is no duration such as 250ms, 15s, 2m, 24h or 7d; none is \
                   `off`";
    refused(&["--dev", "--heartbeat", "x"], &variables, 2, message);
}

#[test]
fn dev_is_refused_on_other_than_loopback_addresses() {
    let message = "--listen: `dev` allows everything without a token, and so on loopback alone; \
                   0.0.0.0:0 can be reached from elsewhere";
    refused(&["--dev", "--listen", "0.0.0.0:0"], &[], 2, message);
    let output = run(&["demo", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.code, 2);
}

#[test]
fn a_setting_with_several_sources_takes_the_values_of_one() {
    let variables = [("PRISM_HUB_LISTEN", "127.0.0.1:0, nonsense")];
    let message = "PRISM_HUB_LISTEN: `nonsense` is no address such as 127.0.0.1:8080 or [::1]:8080";
    refused(&["--dev"], &variables, 1, message);
    let args = ["--dev", "--listen", "127.0.0.1:0", "--retry", "x"];
    let message = "--retry: `x` is no duration such as 250ms, 15s, 2m, 24h or 7d";
    refused(&args, &variables, 2, message);
}

#[test]
fn check_fetches_no_key_set() {
    let endpoint = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    endpoint.set_nonblocking(true).unwrap();
    let address = endpoint.local_addr().unwrap();
    let file = TempFile::new(&format!("jwks = \"http://{address}/keys\"\n"));
    let output = run(&["check", file.path()]);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    assert_eq!(endpoint.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

    let file = TempFile::new("\njwks = \"http://issuer.example/keys\"\n");
    let output = run(&["check", file.path()]);
    assert_eq!(output.code, 1);
    let start = format!("prism-hub: {}:2: jwks: whoever is on the way", file.path());
    assert!(output.err.starts_with(&start), "{}", output.err);
}

#[test]
fn check_names_the_line_and_the_setting() {
    let good = TempFile::new(
        "# A hub.\nlisten = [\"127.0.0.1:8080\", \"[::1]:8080\"]\nadmin-listen = \"off\"\n\
         publisher-key = \"a secret of at least 32 bytes, or more\"\nanonymous = true\n\
         max-connections = 1000\nretention-bytes = \"64MiB\"\ncors-origin = \"*\"\n",
    );
    let output = run(&["check", good.path()]);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    assert_eq!(output.out, format!("{}: ok\n", good.path()));

    for (text, message) in [
        (
            "dev = true\nmax_body = \"1MiB\"",
            ":2: there is no setting `max_body`; did you mean `max-body`?",
        ),
        (
            "dev = true\n\n\nmax-body = \"1MB\"",
            ":4: max-body: `1MB` is no size such as 512B, 64KiB, 1MiB or 1GiB",
        ),
        ("dev = true\ndev = false", ":2: duplicate key"),
        ("dev = \"yes\"", ":1: dev: `yes` is neither `on` nor `off`"),
        ("dev = true\nretry = [\"3s\"]", ":2: retry: one value is expected, not an array"),
        ("dev = true\n[limits]\nmax-body = 1", ":2: there is no setting `limits`"),
        (
            "dev = true\nretry = 1.5",
            ":2: retry: a value is text in quotes, a whole number, true or false",
        ),
        ("dev = true\nconfig = \"other.toml\"", ":2: config: a file cannot name another one"),
        (
            "dev = true\ncors-origin = [\"*\", \"https://a.example\"]",
            ":2: cors-origin: `*` stands alone; it allows every page, without cookies",
        ),
        (
            "dev = true\npublish-origin = \"*\"",
            ":2: publish-origin: `*` is no origin such as https://app.example.com",
        ),
        ("dev = true\ntls-cert = \"a.pem\"", ":2: tls-cert: `tls-key` is needed with it"),
        (
            "publisher-key = \"short\"\nanonymous = true",
            ": publisher-key: the secret has 5 bytes; at least 32 are needed, except with `dev`",
        ),
        (
            "",
            ": no key says who may publish; give `publisher-key` or `jwks`, or try it out with \
             `dev`",
        ),
    ] {
        let file = TempFile::new(text);
        let output = run(&["check", file.path()]);
        assert_eq!(output.err, format!("prism-hub: {}{message}\n", file.path()));
        assert_eq!((output.code, output.out.as_str()), (1, ""));
    }
    let output = run(&["check", "/no/such/file"]);
    assert_eq!(output.code, 1);
    let large = TempFile::new(&"#".repeat(256 * 1024 + 1));
    assert!(run(&["check", large.path()]).err.contains("more than 262144 bytes"));
}

#[test]
fn no_message_contains_a_secret() {
    for args in [
        &["serve", "--publisher-key", SECRET][..],
        &["serve", "--publisher-key", "hunter2", "--anonymous"],
        &["token", "--key", SECRET, "--ttl", "0s"],
        &["publish", "ftp://hub", "--topic", "a", "--token", SECRET],
    ] {
        let output = run(args);
        assert_ne!(output.code, 0);
        assert!(!output.err.contains(SECRET) && !output.err.contains("hunter2"), "{}", output.err);
    }
}

#[test]
fn help_and_completions_are_no_errors() {
    for args in [&["--help"][..], &["serve", "--help"], &["--version"], &["completions", "bash"]] {
        let output = run(args);
        assert_eq!((output.code, output.err.as_str()), (0, ""), "{args:?}");
        assert!(output.out.contains("prism-hub"), "{args:?}");
    }
    for args in [&[][..], &["serv"], &["token"], &["publish", "http://a"], &["completions", "x"]] {
        assert_eq!(run(args).code, 2, "{args:?}");
    }
}
