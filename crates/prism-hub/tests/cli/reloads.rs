//! What a reload changes for new connections.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustix::process::Signal;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::program::{Running, TempFile, command, command_with_files};

const SOON: Duration = Duration::from_secs(10);

/// The maximum number of open files of the hub.
const FILES: u32 = 60;

type Pair = CertifiedKey<KeyPair>;

/// A hub over TLS whose certificate files a test replaces.
struct Shown {
    hub: Running,
    address: SocketAddr,
    config: TempFile,
    files: [TempFile; 2],
    /// The certificates that a test uses.
    pairs: Vec<Pair>,
}

impl Shown {
    /// Starts a hub with the first of this number of certificates.
    fn start(count: usize) -> Self {
        let pair = || generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let pairs: Vec<Pair> = std::iter::repeat_with(pair).take(count).collect();
        let files = [TempFile::new(""), TempFile::new("")];
        write(&files, &pairs[0]);
        let config = TempFile::new(&settings(&files));
        let args = ["serve", "--config", config.path()];
        let mut hub = Running::start(&mut command_with_files(FILES, &args));
        let address = hub.address("listening on https://");
        Self { hub, address, config, files, pairs }
    }

    fn reload(&self) {
        self.hub.signal(Signal::HUP);
    }

    /// The index of the certificate that a new connection gets.
    fn shows(&self) -> usize {
        let shown = self.connect().conn.peer_certificates().unwrap()[0].clone();
        self.pairs.iter().position(|pair| *pair.cert.der() == shown).unwrap()
    }

    fn shows_soon(&self, which: usize) {
        let began = Instant::now();
        while self.shows() != which {
            assert!(began.elapsed() < SOON, "another certificate is shown");
        }
    }

    /// A connection after its handshake.
    fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        for pair in &self.pairs {
            roots.add(CertificateDer::clone(pair.cert.der())).unwrap();
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).unwrap();
        }
        StreamOwned::new(tls, stream)
    }
}

fn settings(files: &[TempFile; 2]) -> String {
    let [cert, key] = files.each_ref().map(TempFile::path);
    format!(
        "listen = \"127.0.0.1:0\"\nadmin-listen = \"off\"\ndev = true\n\
         tls-cert = \"{cert}\"\ntls-key = \"{key}\"\n"
    )
}

fn write(files: &[TempFile; 2], pair: &Pair) {
    files[0].write(&pair.cert.pem());
    files[1].write(&pair.signing_key.serialize_pem());
}

/// Sends a request on a connection that stays open.
fn ask(connection: &mut StreamOwned<ClientConnection, TcpStream>) {
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
}

#[test]
fn silent_connections_leave_file_descriptors_for_a_reload() {
    let mut hub = Shown::start(2);
    assert_eq!(hub.shows(), 0);
    let silent: Vec<_> = (0..2 * FILES).map(|_| TcpStream::connect(hub.address).unwrap()).collect();
    write(&hub.files, &hub.pairs[1]);
    for _ in 0..3 {
        // The signal says nothing back; what it led to stands in the log at the end.
        hub.reload();
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(silent);
    hub.shows_soon(1);
    hub.hub.signal(Signal::TERM);
    assert_eq!(hub.hub.wait().code(), Some(0));
    let log = hub.hub.rest_of_err();
    assert!(!log.contains("everything stays as it was"), "{log}");
    assert!(!log.contains("no connection can be taken"), "{log}");
}

#[test]
fn a_renewed_certificate_is_used_for_new_connections_alone() {
    let mut hub = Shown::start(3);
    let mut old = hub.connect();
    ask(&mut old);
    assert_eq!(hub.shows(), 0);

    write(&hub.files, &hub.pairs[1]);
    assert_eq!(hub.shows(), 0, "no reload yet");
    hub.reload();
    hub.shows_soon(1);
    ask(&mut old);

    // Files at other paths.
    let files = [TempFile::new(""), TempFile::new("")];
    write(&files, &hub.pairs[2]);
    hub.config.write(&settings(&files));
    hub.reload();
    hub.shows_soon(2);
    ask(&mut old);

    hub.hub.signal(Signal::TERM);
    assert_eq!(hub.hub.wait().code(), Some(0));
    let log = hub.hub.rest_of_err();
    assert!(!log.contains("takes a restart"), "{log}");
}

#[test]
fn a_certificate_that_cannot_be_used_changes_nothing() {
    let mut hub = Shown::start(2);
    let [cert, key] = hub.files.each_ref().map(|file| file.path().to_owned());
    let missing = settings(&hub.files).replace(&cert, "/no/such/file");
    let off = settings(&hub.files)
        .lines()
        .filter(|it| !it.starts_with("tls"))
        .fold(String::new(), |text, line| text + line + "\n");
    let right = settings(&hub.files);
    // What the files have, and what is said of them.
    let steps = [
        (hub.pairs[1].cert.pem(), hub.pairs[0].signing_key.serialize_pem(), &right),
        (String::new(), hub.pairs[1].signing_key.serialize_pem(), &right),
        (hub.pairs[1].cert.pem(), String::new(), &right),
        (hub.pairs[1].cert.pem(), hub.pairs[1].signing_key.serialize_pem(), &missing),
        (hub.pairs[1].cert.pem(), hub.pairs[1].signing_key.serialize_pem(), &off),
    ];
    for (cert, key, settings) in steps {
        hub.files[0].write(&cert);
        hub.files[1].write(&key);
        hub.config.write(settings);
        hub.reload();
        // The signal says nothing back; what it led to stands in the log at the end.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(hub.shows(), 0);
    }
    hub.hub.signal(Signal::TERM);
    assert_eq!(hub.hub.wait().code(), Some(0));
    let log = hub.hub.rest_of_err();
    let reasons = [
        format!("everything stays as it was: {cert}: "),
        format!("everything stays as it was: {cert}: there is no certificate in it"),
        format!("everything stays as it was: {key}: "),
        "everything stays as it was: /no/such/file: ".to_owned(),
    ];
    for reason in reasons {
        assert!(log.contains(&reason), "{reason:?} is not in {log}");
    }
    assert_eq!(log.matches("everything stays as it was").count(), 4, "{log}");
    assert!(log.contains("takes a restart: tls-cert, tls-key"), "{log}");
}

/// Whether a silent connection to this address is closed within a second.
fn is_closed_soon(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    // It goes on where a signal interrupts it.
    let read = stream.read_exact(&mut [0]);
    read.unwrap_err().kind() != ErrorKind::WouldBlock
}

#[test]
fn connections_after_a_reload_have_the_new_header_timeout() {
    let pair = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = [TempFile::new(""), TempFile::new("")];
    write(&files, &pair);
    let plain = "listen = \"127.0.0.1:0\"\nadmin-listen = \"off\"\ndev = true\n".to_owned();
    for (scheme, settings) in [("http", plain), ("https", settings(&files))] {
        let config = TempFile::new(&format!("{settings}header-timeout = \"1h\"\n"));
        let mut hub = Running::start(&mut command(&["serve", "--config", config.path()]));
        let address = hub.address(&format!("listening on {scheme}://"));
        assert!(!is_closed_soon(address));
        config.write(&format!("{settings}header-timeout = \"100ms\"\n"));
        hub.signal(Signal::HUP);
        let began = Instant::now();
        while !is_closed_soon(address) {
            assert!(began.elapsed() < SOON, "{scheme}: it still has the old time");
        }
    }
}
