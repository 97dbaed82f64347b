//! Key sets at URLs: fetched over TLS, before the hub starts, and again at SIGHUP.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::program::{Running, TempFile, command, run};

/// A private key in a file, and its public key as a JWK.
struct KeyPair {
    private: TempFile,
    public: Value,
}

impl KeyPair {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let point = URL_SAFE_NO_PAD.encode(key.public_key_raw());
        let public = json!({"kty": "OKP", "crv": "Ed25519", "x": point});
        Self { private: TempFile::new(&key.serialize_pem()), public }
    }

    /// A token that grants publishing to every topic.
    fn token(&self) -> String {
        let key = format!("file:{}", self.private.path());
        let output = run(&["token", "--key", &key, "--publish", "*"]);
        assert_eq!(output.code, 0, "{}", output.err);
        output.out.trim().to_owned()
    }
}

/// A server with a key set that can be replaced. It runs until the tests end.
struct KeySetServer {
    port: u16,
    set: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl KeySetServer {
    fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (set, asked) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let endpoint = Self { port, set: Arc::clone(&set), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                asked.fetch_add(1, Ordering::Relaxed);
                let set = set.lock().unwrap().clone();
                match &tls {
                    None => answer(stream, &set),
                    Some(tls) => {
                        let tls = ServerConnection::new(Arc::clone(tls)).unwrap();
                        answer(StreamOwned::new(tls, stream), &set);
                    }
                }
            }
        });
        endpoint
    }

    fn gives(&self, pairs: &[&KeyPair]) {
        let keys: Vec<&Value> = pairs.iter().map(|pair| &pair.public).collect();
        *self.set.lock().unwrap() = json!({ "keys": keys }).to_string();
    }
}

/// Answers one request. The client may close the connection at any time.
fn answer(stream: impl Read + Write, set: &str) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).is_ok_and(|len| len > 2) {
        line.clear();
    }
    let len = set.len();
    let text =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{set}");
    let stream = stream.get_mut();
    _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_ok();
}

/// Arguments of a hub with a key set at this URL.
fn serve(place: &str) -> Vec<&str> {
    vec!["serve", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--jwks", place]
}

fn publish(url: &str, token: &str) -> bool {
    let output = run(&["publish", url, "--topic", "a", "--token", token]);
    assert!(output.code == 0 || output.err.contains("401"), "{}", output.err);
    output.code == 0
}

#[test]
fn a_key_set_is_fetched_from_a_server_with_a_trusted_certificate() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = TempFile::new(&made.cert.pem());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = ServerConfig::builder().with_no_client_auth();
    let tls = tls.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let endpoint = KeySetServer::start(Some(Arc::new(tls)));
    let pair = KeyPair::new();
    endpoint.gives(&[&pair]);
    let place = format!("https://localhost:{}/keys?of=hunter2", endpoint.port);

    let mut hub = Running::start(command(&serve(&place)).env("SSL_CERT_FILE", cert.path()));
    let url = format!("http://{}/events", hub.address("listening on http://"));
    assert!(publish(&url, &pair.token()));
    assert!(!publish(&url, &KeyPair::new().token()));
    hub.signal(Signal::TERM);
    assert_eq!(hub.wait().code(), Some(0));
    let log = hub.rest_of_err();
    let shown = format!("the key set https://localhost:{}/keys?… was fetched", endpoint.port);
    assert!(log.contains(&shown) && !log.contains("hunter2"), "{log}");

    // The certificate is not trusted: the hub retries until it is told to end.
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let stranger = TempFile::new(&stranger.cert.pem());
    let asked = endpoint.asked.load(Ordering::Relaxed);
    let mut hub = Running::start(command(&serve(&place)).env("SSL_CERT_FILE", stranger.path()));
    let warning = hub.line_of_err();
    assert!(warning.contains("is trusted if it names topics"), "{warning}");
    let error = hub.line_of_err();
    assert!(error.contains("certificate") && error.contains("it is fetched again"), "{error}");
    // A reload is deferred until the hub has started, and does not end it.
    hub.signal(Signal::HUP);
    hub.signal(Signal::TERM);
    assert_eq!(hub.wait().code(), Some(0));
    assert_eq!(hub.rest_of_out(), "", "it never said that it listens");
    assert!(endpoint.asked.load(Ordering::Relaxed) > asked);
}

#[test]
fn sighup_fetches_key_sets_again() {
    let endpoint = KeySetServer::start(None);
    let (old, new) = (KeyPair::new(), KeyPair::new());
    let (by_old, by_new) = (old.token(), new.token());
    endpoint.gives(&[&old]);
    let place = format!("http://127.0.0.1:{}/keys", endpoint.port);
    let mut hub = Running::start(&mut command(&serve(&place)));
    let url = format!("http://{}/events", hub.address("listening on http://"));
    assert!(publish(&url, &by_old) && !publish(&url, &by_new));

    endpoint.gives(&[&new]);
    hub.signal(Signal::HUP);
    let began = Instant::now();
    while !publish(&url, &by_new) {
        assert!(began.elapsed() < Duration::from_secs(60), "the new key does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!publish(&url, &by_old), "the old key is gone");
    hub.signal(Signal::TERM);
    assert_eq!(hub.wait().code(), Some(0));
    let log = hub.rest_of_err();
    assert!(log.contains("keys, limits and certificates were read again"), "{log}");
}
