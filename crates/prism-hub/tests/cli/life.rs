//! From startup to shutdown.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::program::{
    Running, TempDirectory, TempFile, command, command_with_files, get, run, run_in,
};

#[test]
fn it_prints_its_addresses_and_answers_there() {
    let args = [
        "serve",
        "--dev",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "[::1]:0",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let mut hub = Running::start(&mut command(&args));
    let addresses = [
        hub.address("listening on http://"),
        hub.address("listening on http://"),
        hub.address("admin on http://"),
    ];
    assert!(addresses[0].is_ipv4() && addresses[1].is_ipv6());
    for address in addresses {
        assert_ne!(address.port(), 0);
        for path in ["/healthz", "/readyz"] {
            assert!(get(address, path).0.starts_with("http/1.1 200"), "{path}");
        }
        let (head, body) = get(address, "/nothing");
        assert!(head.starts_with("http/1.1 404"));
        assert!(head.contains("content-type: application/problem+json"));
        assert!(body.contains("\"status\":404"));
    }
    hub.signal(Signal::TERM);
    assert_eq!(hub.wait().code(), Some(0));
    assert_eq!(hub.rest_of_out(), "", "nothing but the addresses");
    assert!(hub.rest_of_err().contains("whoever reaches this hub may do everything"));
}

#[test]
fn all_listeners_share_the_delivery_threads() {
    let args = "serve --dev --listen 127.0.0.1:0 --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0";
    let args: Vec<&str> = args.split(' ').chain(["--shards", "3"]).collect();
    let mut hub = Running::start(&mut command(&args));
    for words in ["listening on http://", "listening on http://", "admin on http://"] {
        let address = hub.address(words);
        // Whoever answers has started its threads, which take their names themselves.
        assert!(get(address, "/readyz").0.starts_with("http/1.1 200"));
    }
    let began = Instant::now();
    while hub.threads("prism-shard").is_some_and(|threads| threads < 3) {
        assert!(began.elapsed() < Duration::from_secs(10), "there are too few");
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(hub.threads("prism-shard").is_none_or(|threads| threads == 3));
}

#[test]
fn it_prints_the_port_that_the_system_chose() {
    let key = "a secret of at least 32 bytes, or more";
    let args = "serve --listen 127.0.0.1:0 --admin-listen off --anonymous --publisher-key";
    let args: Vec<&str> = args.split(' ').chain([key]).collect();
    let mut hub = Running::start(&mut command(&args));
    let address = hub.address("listening on http://");
    let resource = format!("\"resource\":\"http://{address}/.well-known/mercure\"");
    let path = "/.well-known/oauth-protected-resource/.well-known/mercure";
    let (_, metadata) = get(address, path);
    assert!(metadata.contains(&resource), "{metadata}");
}

#[test]
fn admin_listen_off_opens_no_listener() {
    for args in [
        &["serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "off"][..],
        &["demo", "--listen", "127.0.0.1:0"],
    ] {
        let directory = TempDirectory::new();
        let mut hub = Running::start(command(args).current_dir(directory.path()));
        hub.address("listening on http://");
        hub.signal(Signal::INT);
        assert_eq!(hub.wait().code(), Some(0));
        assert_eq!(hub.rest_of_out(), "");
    }
}

#[test]
fn an_address_in_use_is_reported() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["serve", "--dev", "--admin-listen", "off", "--listen", &address]);
    assert_eq!(output.code, 1);
    assert!(output.err.contains(&format!("cannot listen on {address}")), "{}", output.err);
    assert_eq!(output.out, "");
}

#[test]
fn a_hub_whose_listeners_fail_exits_with_an_error() {
    // Each shard needs files of its own.
    let args = ["serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let args = [&args[..], &["--shards", "200"]].concat();
    let mut hub = Running::start(&mut command_with_files(100, &args));
    assert_eq!(hub.wait().code(), Some(1));
    let log = hub.rest_of_err();
    assert!(log.contains("the listeners failed"), "{log}");
    assert!(log.contains("nothing listens any more"), "{log}");
}

#[test]
fn a_reload_applies_a_valid_configuration_and_ignores_an_invalid_one() {
    let base = "listen = \"127.0.0.1:0\"\nadmin-listen = \"off\"\nanonymous = true\n";
    let with_key = |key: &str| format!("{base}publisher-key = \"{key}\"\n");
    let long = "a secret of at least 32 bytes, or more";
    let file = TempFile::new(&with_key(long));
    let mut hub = Running::start(&mut command(&["serve", "--config", file.path()]));
    let address = hub.address("listening on http://");

    let steps = [
        with_key(&long.to_uppercase()),
        with_key("short"),
        "this is no TOML".to_owned(),
        // They say who is trusted, by way of what a hub that runs cannot change.
        format!("{base}dev = true\n"),
        format!("{}public-url = \"https://other.example\"\n", with_key(long)),
        format!("{}retry = \"7s\"\n", with_key(long)),
    ];
    for step in steps {
        file.write(&step);
        hub.signal(Signal::HUP);
        // The signal says nothing back; what it led to stands in the log at the end.
        std::thread::sleep(Duration::from_millis(200));
        assert!(get(address, "/readyz").0.starts_with("http/1.1 200"));
    }
    hub.signal(Signal::TERM);
    assert_eq!(hub.wait().code(), Some(0));
    let log = hub.rest_of_err();
    assert_eq!(log.matches("keys, limits and certificates were read again").count(), 2, "{log}");
    assert_eq!(log.matches("everything stays as it was").count(), 4, "{log}");
    assert!(log.contains("another `dev` takes a restart"), "{log}");
    assert!(log.contains("another `public-url` takes a restart"), "{log}");
    assert!(log.contains("takes a restart: retry"), "{log}");
    assert!(!log.to_lowercase().contains(long), "{log}");
}

#[test]
fn a_drain_is_bounded_and_observable() {
    let args = [
        "serve",
        "--dev",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--drain",
        "1500ms",
    ];
    let mut hub = Running::start(&mut command(&args));
    let address = hub.address("listening on http://");
    let admin = hub.address("admin on http://");
    // A request whose head never ends.
    let mut open = TcpStream::connect(address).unwrap();
    open.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    hub.signal(Signal::TERM);
    while get(admin, "/readyz").0.starts_with("http/1.1 200") {
        assert!(start.elapsed() < Duration::from_secs(1), "readiness does not fall");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(get(admin, "/healthz").0.starts_with("http/1.1 200"), "it is alive");
    while TcpStream::connect(address).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(1), "its listener is open");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(hub.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// Sends bytes and nothing more, and gives what comes back until the hub closes.
fn exchange(address: SocketAddr, bytes: &[u8]) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A hub that closes with something unread resets, which is an end as well.
    _ = stream.read_to_end(&mut answer);
    (answer, start.elapsed())
}

#[test]
fn every_incomplete_request_times_out() {
    let args = [
        "serve",
        "--dev",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "off",
        "--header-timeout",
        "400ms",
    ];
    let mut hub = Running::start(&mut command(&args));
    let address = hub.address("listening on http://");
    for bytes in [
        &b""[..],
        b"G",
        b"GET / HTTP/1.1\r\nHost: ",
        b"PRI * HTTP/2.0\r\n",
        b"P",
        b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n",
    ] {
        let (answer, time) = exchange(address, bytes);
        let text = String::from_utf8_lossy(&answer);
        assert!(time > Duration::from_millis(300), "{time:?} for {bytes:?}: {text}");
        assert!(time < Duration::from_secs(5), "{time:?} for {bytes:?}: {text}");
    }
}

#[test]
fn the_head_of_a_request_is_bounded() {
    let mut hub = Running::start(&mut command(&[
        "serve",
        "--dev",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "off",
    ]));
    let address = hub.address("listening on http://");
    let long = format!("GET /healthz HTTP/1.1\r\nHost: hub\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101));
    for head in [long, many] {
        let (answer, _) = exchange(address, head.as_bytes());
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    }
    assert!(get(address, "/healthz").0.starts_with("http/1.1 200"));
}

#[test]
fn it_serves_tls_with_http_2_by_alpn() {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let cert = TempFile::new(&made.cert.pem());
    let key = TempFile::new(&made.signing_key.serialize_pem());
    let args = [
        "serve",
        "--dev",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--tls-cert",
        cert.path(),
        "--tls-key",
        key.path(),
    ];
    let mut hub = Running::start(&mut command(&args));
    let address = hub.address("listening on https://");
    let admin = hub.address("admin on http://");
    assert!(get(admin, "/healthz").0.starts_with("http/1.1 200"));

    for (offered, chosen) in
        [(&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])), (&[b"http/1.1"], Some(b"http/1.1"))]
    {
        assert_eq!(negotiated(address, made.cert.der(), offered).as_deref(), chosen);
    }
    assert_eq!(negotiated(address, made.cert.der(), &[]), None);

    // The client trusts what the variable says alone.
    let url = format!("https://{address}/nothing");
    let publish = ["publish", &url, "--topic", "a"];
    let output = run_in(&publish, &[("SSL_CERT_FILE", cert.path())]);
    let refusal = "prism-hub: the hub refused: 404 Not Found: There is nothing at this address.\n";
    assert_eq!(output.err, refusal);
    let stranger = TempFile::new(&rcgen::generate_simple_self_signed([]).unwrap().cert.pem());
    let output = run_in(&publish, &[("SSL_CERT_FILE", stranger.path())]);
    assert!(output.err.contains("certificate"), "{}", output.err);
    let (answer, _) = exchange(address, b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n");
    assert!(!answer.starts_with(b"HTTP"), "nothing is said in the clear");
}

/// The protocol that a handshake agrees on, of those that a client offers.
fn negotiated(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    offered: &[&[u8]],
) -> Option<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|it| it.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
    tls.alpn_protocol().map(<[u8]>::to_vec)
}

#[test]
fn unreadable_certificates_are_reported() {
    let empty = TempFile::new("");
    let output = run(&["serve", "--dev", "--tls-cert", "/no/such/file", "--tls-key", "a"]);
    assert!(output.err.contains("prism-hub: /no/such/file: "), "{}", output.err);
    let args = ["serve", "--dev", "--tls-key", empty.path(), "--tls-cert", empty.path()];
    let output = run(&args);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.err.lines().last().unwrap(),
        format!("prism-hub: {}: there is no certificate in it", empty.path())
    );
}
