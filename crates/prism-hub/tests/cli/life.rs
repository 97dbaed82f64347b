//! From the lines that say where it listens to the end.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::program::{Running, TempFile, command, get, run};

#[test]
fn it_says_where_it_listens_and_answers_there() {
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
fn without_an_admin_address_there_is_none() {
    for args in [
        &["serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "off"][..],
        &["demo", "--listen", "127.0.0.1:0"],
    ] {
        let mut hub = Running::start(&mut command(args));
        hub.address("listening on http://");
        hub.signal(Signal::INT);
        assert_eq!(hub.wait().code(), Some(0));
        assert_eq!(hub.rest_of_out(), "");
    }
}

#[test]
fn an_address_in_use_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["serve", "--dev", "--admin-listen", "off", "--listen", &address]);
    assert_eq!(output.code, 1);
    assert!(output.err.contains(&format!("cannot listen on {address}")), "{}", output.err);
    assert_eq!(output.out, "");
}

#[test]
fn a_reload_takes_what_is_right_and_leaves_what_is_wrong() {
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
    assert_eq!(log.matches("keys and limits were read again").count(), 2, "{log}");
    assert_eq!(log.matches("everything stays as it was").count(), 2, "{log}");
    assert!(log.contains("takes a restart: retry"), "{log}");
    assert!(!log.to_lowercase().contains(long), "{log}");
}

#[test]
fn a_drain_does_not_wait_for_ever() {
    let args =
        ["serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--drain", "300ms"];
    let mut hub = Running::start(&mut command(&args));
    let address = hub.address("listening on http://");
    // A request whose head never ends.
    let mut open = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut open, b"GET /healthz HTTP/1.1\r\nHost: ").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    hub.signal(Signal::TERM);
    assert_eq!(hub.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10));
}
