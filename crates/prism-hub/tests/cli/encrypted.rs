//! Over TLS: HTTP/2, tokens in each location, and nothing in plain text; and keys that are removed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::program::{Running, TempFile, command, run};

const KEY: &str = "a secret of at least 32 bytes, or more";
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://localhost/.well-known/mercure";
const MERCURE: &str = "/.well-known/mercure";

type Sender = SendRequest<Full<Bytes>>;

/// A hub that terminates TLS, and its certificate.
struct Encrypted {
    hub: Running,
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    _files: [TempFile; 2],
}

impl Encrypted {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(more: &[&str]) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let cert = TempFile::new(&made.cert.pem());
        let key = TempFile::new(&made.signing_key.serialize_pem());
        let args = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "off",
            "--publisher-key",
            KEY,
            "--subscriber-key",
            KEY,
            "--issuer",
            ISSUER,
            "--public-url",
            "https://localhost",
            "--drain",
            "100ms",
            "--tls-cert",
            cert.path(),
            "--tls-key",
            key.path(),
        ];
        let mut hub = Running::start(&mut command(&[&args, more].concat()));
        let address = hub.address("listening on https://");
        Self { hub, address, certificate: made.cert.der().clone(), _files: [cert, key] }
    }

    /// A connection of HTTP/2, as a client gets it that offers both versions.
    async fn connect(&self) -> Sender {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let tls = self.handshake(stream, &[b"h2", b"http/1.1"]).await;
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(tls);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// A connection after a handshake that offers these protocols.
    async fn handshake(&self, stream: TcpStream, offered: &[&[u8]]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

/// The answer over a connection.
async fn send(
    sender: &mut Sender,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response<Incoming> {
    let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    sender.send_request(request.body(body).unwrap()).await.unwrap()
}

async fn publish(sender: &mut Sender, token: &str, form: &str) {
    let bearer = format!("Bearer {token}");
    let headers =
        [("authorization", &*bearer), ("content-type", "application/x-www-form-urlencoded")];
    let response = send(sender, "POST", MERCURE, &headers, form).await;
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
}

/// Reads a stream up to this text.
async fn read_until(body: &mut Incoming, words: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(words) {
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
        let frame = frame.unwrap_or_else(|_| panic!("{words:?} does not come: {seen:?}"));
        let data = frame.unwrap().unwrap().into_data().unwrap_or_default();
        seen += std::str::from_utf8(&data).unwrap();
    }
    seen
}

/// A token of a draft that grants everything.
fn token(dialect: &str) -> String {
    let usual = ["token", "--key", KEY, "--publish", "*", "--subscribe", "*"];
    let named = ["--dialect", dialect, "--issuer", ISSUER, "--audience", AUDIENCE];
    let args = if dialect == "08" { [&usual[..], &named].concat() } else { usual.to_vec() };
    let output = run(&args);
    assert_eq!(output.code, 0, "{}", output.err);
    output.out.trim().to_owned()
}

#[tokio::test]
async fn m07_007_and_m08_008_a_stream_runs_over_http_2_for_who_offers_it() {
    let hub = Encrypted::start();
    let mut sender = hub.connect().await;
    for (dialect, name) in [("07", "topic"), ("08", "match")] {
        let token = token(dialect);
        let bearer = format!("Bearer {token}");
        let path = format!("{MERCURE}?{name}=a");
        let headers = [("authorization", &*bearer)];
        let response = send(&mut sender, "GET", &path, &headers, "").await;
        assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        // On the same connection, while the stream is open.
        publish(&mut sender, &token, "topic=a&data=1").await;
        assert!(read_until(&mut body, "data: 1\n\n").await.contains("id: #"));
    }
}

#[tokio::test]
async fn m07_024_and_m08_080_tokens_are_taken_over_tls_and_nothing_is_said_in_the_clear() {
    let mut hub = Encrypted::start();
    let mut sender = hub.connect().await;
    let (old, new) = (token("07"), token("08"));
    let (bearer, newer) = (format!("Bearer {old}"), format!("Bearer {new}"));
    let cookie = format!("mercureAuthorization={old}");
    let secure = format!("__Secure-mercure_access_token={new}");
    let query = format!("{MERCURE}?topic=a&authorization={old}");
    let topic = format!("{MERCURE}?topic=a");
    let exact = format!("{MERCURE}?match=a");
    for (path, header) in [
        (&topic, Some(("authorization", &*bearer))),
        (&topic, Some(("cookie", &*cookie))),
        (&query, None),
        (&exact, Some(("authorization", &*newer))),
        (&exact, Some(("cookie", &*secure))),
    ] {
        let headers: Vec<_> = header.into_iter().collect();
        let response = send(&mut sender, "GET", path, &headers, "").await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        publish(&mut sender, &new, "topic=a&data=secret&private").await;
        read_until(&mut body, "data: secret\n\n").await;
    }
    let refused = send(&mut sender, "GET", &topic, &[], "").await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);

    // The same in the clear is no request, and gets no answer that is one.
    let mut clear = TcpStream::connect(hub.address).await.unwrap();
    let request =
        format!("GET {topic} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n\r\n");
    clear.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // It may be reset with something unread, which is an end as well.
    _ = tokio::time::timeout(Duration::from_secs(10), clear.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP") && !answer.windows(5).any(|it| it == b"data:"));
    hub.hub.signal(Signal::TERM);
    assert_eq!(hub.hub.wait().code(), Some(0));
}

/// There is room for one subscriber, and it takes nothing.
#[tokio::test]
async fn a_stalled_reader_gives_back_its_permit_and_its_connection_is_reset() {
    let hub = Encrypted::start_with(&["--max-connections", "1"]);
    let mut sender = hub.connect().await;
    let token = token("07");
    let bearer = format!("Bearer {token}");
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    let stream = socket.connect(hub.address).await.unwrap();
    let mut stuck = hub.handshake(stream, &[b"http/1.1"]).await;
    let request = format!(
        "GET {MERCURE}?topic=a HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n\r\n"
    );
    stuck.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(stuck.read_u8().await.unwrap(), b'H');
    for _ in 0..8 {
        publish(&mut sender, &token, &format!("topic=a&data={}", "x".repeat(200_000))).await;
    }
    let path = format!("{MERCURE}?topic=a");
    let headers = [("authorization", &*bearer), ("accept", "text/event-stream")];
    let began = Instant::now();
    loop {
        let response = send(&mut sender, "GET", &path, &headers, "").await;
        if !response.headers().contains_key("prism-refused") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the permit is held");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(10), "it had time to read");
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), stuck.read_to_end(&mut rest)).await;
    let end = end.unwrap().unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn m07_074_and_m08_193_a_removed_key_verifies_no_token_after_a_reload() {
    let other = KEY.to_uppercase();
    let settings = |key: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\nadmin-listen = \"off\"\nissuer = [\"{ISSUER}\"]\n\
             audience = [\"{AUDIENCE}\"]\npublisher-key = \"{key}\"\nsubscriber-key = \"{key}\"\n"
        )
    };
    let file = TempFile::new(&settings(KEY));
    let mut hub = Running::start(&mut command(&["serve", "--config", file.path()]));
    let url = format!("http://{}/events", hub.address("listening on http://"));
    let publish = |token: &str| run(&["publish", &url, "--topic", "a", "--token", token]);
    let tokens = [token("07"), token("08")];
    for token in &tokens {
        let output = publish(token);
        assert_eq!(output.code, 0, "{}", output.err);
    }
    file.write(&settings(&other));
    hub.signal(Signal::HUP);
    let began = Instant::now();
    while publish(&tokens[0]).code == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "the key is still there");
    }
    for token in &tokens {
        let output = publish(token);
        assert_eq!(output.code, 1);
        assert!(output.err.contains("401"), "{}", output.err);
    }
    let by_other = run(&["token", "--key", &other, "--publish", "*"]).out;
    assert_eq!(publish(by_other.trim()).code, 0);
}
