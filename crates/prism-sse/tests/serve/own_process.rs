//! Tests that measure their whole process, or exhaust its resources. Each runs in a process of its
//! own.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Seek};
use std::process::Command;
use std::time::Duration;

use prism_sse::{Manager, OnLag, Retention};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::{End, LISTEN, Reader, TestServer, app, connect, eventually, with_history};

const LISTEN_VIA_HYPER: &str = "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";

/// The environment variable with the name of the test that a process is started for.
const OWN_PROCESS: &str = "PRISM_SSE_OWN_PROCESS";

/// Runs `test` in a process of its own, which the command `starter` starts.
fn in_own_process_started_by(starter: &[&str], name: &str, test: impl Future<Output = ()>) {
    if !cfg!(target_os = "linux") {
        println!("not tested: this needs /proc");
        return;
    }
    if std::env::var(OWN_PROCESS).is_ok_and(|test| test == name) {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap().block_on(test);
        return;
    }
    let program = std::env::current_exe().unwrap();
    let mut command = match starter {
        [] => Command::new(&program),
        [starter, rest @ ..] => {
            let mut command = Command::new(starter);
            command.args(rest).arg(&program);
            command
        }
    };
    let test = format!("own_process::{name}");
    command.args(["--exact", &test, "--nocapture", "--include-ignored"]).env(OWN_PROCESS, name);
    let output = command.output().unwrap();
    let output_text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output_text.contains("1 passed"), "{output_text}{errors}");
    print!("{output_text}");
}

fn in_own_process(name: &str, test: impl Future<Output = ()>) {
    in_own_process_started_by(&[], name, test);
}

/// The resources that this process holds.
#[derive(Clone, Copy, Debug)]
struct ProcessUsage {
    files: usize,
    shards: usize,
    kib: usize,
}

impl ProcessUsage {
    fn now() -> Self {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
        // Threads of the runtime are not counted, because it starts and ends them as it needs them.
        let is_shard = |task: std::io::Result<std::fs::DirEntry>| {
            let name = std::fs::read_to_string(task.unwrap().path().join("comm"));
            name.is_ok_and(|name| name.starts_with("prism-shard"))
        };
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let shards = tasks.filter_map(|task| is_shard(task).then_some(())).count();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib = line.trim().trim_end_matches(" kB").parse().unwrap();
        Self { files, shards, kib }
    }

    /// Waits until the process holds no more files and shards than `self`, and checks that it holds
    /// little more memory.
    async fn assert_reached_again(self) {
        eventually(|| {
            let now = Self::now();
            now.files <= self.files && now.shards <= self.shards
        })
        .await;
        let now = Self::now();
        assert!(now.kib < self.kib + 8 * 1024, "{now:?} after {self:?}");
    }
}

/// Processor time of this process, in hundredths of a second. The file is opened by the caller,
/// because a test may leave the process without files.
fn ticks(stat: &mut File) -> u64 {
    let mut line = String::new();
    stat.rewind().unwrap();
    stat.read_to_string(&mut line).unwrap();
    let stat = line;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Checks that the process is idle for half a second, in which a busy loop uses 50 ticks.
async fn assert_idle() {
    let stat = &mut File::open("/proc/self/stat").unwrap();
    let before = ticks(stat);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = ticks(stat) - before;
    assert!(used < 15, "{used} ticks of 50");
}

/// Runs `round` three times, and checks that nothing grows after the first, which fills caches.
async fn assert_no_leak<F: Future<Output = ()>>(round: impl Fn() -> F) {
    round().await;
    eventually(|| ProcessUsage::now().shards == 0).await;
    let holds = ProcessUsage::now();
    for _ in 0..2 {
        round().await;
        holds.assert_reached_again().await;
    }
}

async fn served(sse: &Manager) -> TestServer {
    TestServer::configured(app(sse), |serve| serve.shards(2)).await
}

#[test]
fn the_listeners_of_a_server_share_its_shards() {
    in_own_process("the_listeners_of_a_server_share_its_shards", async {
        for (shards, threads) in [(Some(2), 2), (None, 0)] {
            let sse = with_history();
            let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = other.local_addr().unwrap();
            let server = TestServer::configured(app(&sse), |serve| match shards {
                Some(shards) => serve.also(other).shards(shards),
                None => serve.also(other).no_shards(),
            })
            .await;
            let mut open = Vec::new();
            for address in [server.address, address] {
                open.push(Reader::open(address).await);
            }
            // Each thread sets its name when it starts.
            eventually(|| ProcessUsage::now().shards >= threads).await;
            sse.broadcast("for each").unwrap();
            for reader in &mut open {
                assert_eq!(reader.data().await, "for each");
            }
            assert_eq!(ProcessUsage::now().shards, threads);
            server.stop().await;
            for reader in &mut open {
                assert_eq!(reader.end().await, End::Clean);
            }
            eventually(|| ProcessUsage::now().shards == 0).await;
        }
    });
}

#[test]
fn thousands_of_resets_leave_nothing_behind() {
    in_own_process("thousands_of_resets_leave_nothing_behind", async {
        let sse = with_history();
        let server = served(&sse).await;
        let mut stays = Reader::open(server.address).await;
        let mut storm = async || {
            for n in 0..2000 {
                let mut stream = connect(server.address).await;
                stream.set_zero_linger().unwrap();
                match n % 5 {
                    0 => {}
                    1 => stream.write_all(&LISTEN.as_bytes()[..9]).await.unwrap(),
                    2 => stream.write_all(LISTEN.as_bytes()).await.unwrap(),
                    3 => drop(Reader::request_on(stream, LISTEN).await),
                    _ => drop(Reader::request_on(stream, LISTEN_VIA_HYPER).await),
                }
                if n % 10 == 0 {
                    sse.broadcast("meanwhile").unwrap();
                    assert_eq!(stays.data().await, "meanwhile");
                }
            }
            eventually(|| sse.connection_count() == 1).await;
        };
        storm().await;
        let holds = ProcessUsage::now();
        for _ in 0..2 {
            storm().await;
            holds.assert_reached_again().await;
        }
        assert_idle().await;
        server.stop().await;
    });
}

#[test]
fn a_drain_of_thousands_ends_every_stream_and_leaves_nothing_behind() {
    in_own_process("a_drain_of_thousands_ends_every_stream_and_leaves_nothing_behind", async {
        assert_no_leak(|| async {
            let sse = with_history();
            let server = served(&sse).await;
            let mut readers = Vec::new();
            for n in 0..2000 {
                let ask = if n % 4 == 3 { LISTEN_VIA_HYPER } else { LISTEN };
                readers.push(Reader::request(server.address, ask).await);
            }
            sse.broadcast("for all").unwrap();
            let position = sse.publish("nobody", "unheard").unwrap().await.unwrap().position;
            server.stop().await;
            assert_eq!(sse.connection_count(), 0);
            for reader in &mut readers {
                let (events, end) = reader.read_to_end().await;
                let last = events.last().unwrap();
                assert_eq!((last.name.as_str(), &last.id), ("prism.mark", &position.to_string()));
                assert_eq!((events[1].data.as_str(), end), ("for all", End::Clean));
                let text = std::str::from_utf8(&reader.text).unwrap();
                assert_eq!(text.matches("retry: ").count(), 2);
            }
        })
        .await;
    });
}

#[test]
fn servers_that_are_dropped_leave_nothing_behind() {
    in_own_process("servers_that_are_dropped_leave_nothing_behind", async {
        assert_no_leak(|| async {
            let sse = with_history();
            let server = served(&sse).await;
            let mut readers = Vec::new();
            for n in 0..300 {
                readers.push(match n % 4 {
                    0 => Reader::request(server.address, LISTEN_VIA_HYPER).await,
                    1 => Reader::request_with_smallest_buffer(server.address, LISTEN).await,
                    _ => Reader::open(server.address).await,
                });
            }
            let silent = connect(server.address).await;
            for _ in 0..50 {
                sse.broadcast("x".repeat(60_000)).unwrap();
            }
            server.abort().await;
            eventually(|| sse.connection_count() == 0).await;
            drop((readers, silent));
        })
        .await;
    });
}

#[test]
fn readers_that_never_read_hold_no_more_than_the_stated_bound() {
    in_own_process("readers_that_never_read_hold_no_more_than_the_stated_bound", async {
        let history = Retention::default().bytes(4 << 20);
        let sse = Manager::builder().history(history).on_lag(OnLag::SkipWithGap);
        let sse = sse.build().unwrap();
        let pinned = 8 << 20;
        let server = TestServer::configured(app(&sse), |serve| serve.stalled_bytes(pinned)).await;
        let mut healthy = Reader::open(server.address).await;
        let mut stuck = Vec::new();
        let holds = ProcessUsage::now();
        for n in 0..200 {
            // Each is stuck in an event of its own.
            stuck.push(Reader::request_with_smallest_buffer(server.address, LISTEN).await);
            sse.broadcast(format!("{n} {}", "x".repeat(1_000_000))).unwrap();
            assert!(healthy.data().await.starts_with(&format!("{n} ")));
            healthy.text = Vec::new();
        }
        let now = ProcessUsage::now();
        // The log and the pinned bytes, and as much again for what the healthy reader is to get.
        let most = holds.kib + 2 * (4 << 10) + 2 * (pinned >> 10) + 16 * 1024;
        assert!(now.kib < most, "{now:?} after {holds:?}");
        drop(stuck);
        eventually(|| sse.connection_count() == 1).await;
        server.stop().await;
    });
}

#[test]
fn a_server_that_has_nothing_to_do_is_idle() {
    in_own_process("a_server_that_has_nothing_to_do_is_idle", async {
        let history = Retention::default().age(Duration::from_millis(200));
        let sse = Manager::builder().history(history).build().unwrap();
        let server = served(&sse).await;
        let mut readers = Vec::new();
        for n in 0..40 {
            let ask = if n % 4 == 3 { LISTEN_VIA_HYPER } else { LISTEN };
            readers.push(Reader::request(server.address, ask).await);
        }
        assert_idle().await;
        sse.broadcast("soon too old").unwrap();
        for reader in &mut readers {
            assert_eq!(reader.data().await, "soon too old");
        }
        eventually(|| sse.stats().records == 0).await;
        assert_idle().await;
        sse.broadcast("again").unwrap();
        for reader in &mut readers {
            assert_eq!(reader.data().await, "again");
        }
        server.stop().await;
    });
}

#[test]
fn a_server_is_idle_while_a_reader_does_not_read() {
    in_own_process("a_server_is_idle_while_a_reader_does_not_read", async {
        let sse = with_history();
        let server = served(&sse).await;
        let mut stuck = Reader::request_with_smallest_buffer(server.address, LISTEN).await;
        let large = "x".repeat(1 << 20);
        sse.broadcast(large.as_str()).unwrap();
        sse.broadcast("behind it").unwrap();
        assert_idle().await;
        assert!(stuck.data().await == large);
        assert_eq!(stuck.data().await, "behind it");
        server.stop().await;
    });
}

#[test]
fn a_server_without_open_files_does_not_spin_and_recovers() {
    let few = ["sh", "-c", r#"ulimit -n 120; exec "$0" "$@""#];
    in_own_process_started_by(
        &few,
        "a_server_without_open_files_does_not_spin_and_recovers",
        async {
            let sse = with_history();
            let server = TestServer::with(app(&sse)).await;
            let mut reader = Reader::open(server.address).await;
            let stat = &mut File::open("/proc/self/stat").unwrap();
            let mut files = Vec::new();
            while let Ok(file) = File::open("/dev/null") {
                files.push(file);
            }
            // One file is left for the peer that connects, and none for the server.
            files.pop();
            let mut waits = connect(server.address).await;
            waits.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut early = [0];
            let early = tokio::time::timeout(Duration::from_millis(300), waits.read(&mut early));
            assert!(early.await.is_err());
            let before = ticks(stat);
            for n in 0..50 {
                sse.broadcast(n.to_string()).unwrap();
                assert_eq!(reader.data().await, n.to_string());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let used = ticks(stat) - before;
            assert!(used < 30, "{used} ticks of 50");
            files.truncate(10);
            assert_eq!(Reader::read_head(waits).await.status(), 200);
            let mut next = Reader::open(server.address).await;
            sse.broadcast("there is room again").unwrap();
            assert_eq!(next.data().await, "there is room again");
            server.stop().await;
        },
    );
}

/// The peer disappears without closing its connection, as a laptop does whose lid is closed.
#[test]
#[ignore = "takes half a minute, and a namespace of its own for the network"]
fn a_reader_that_vanishes_is_gone_within_a_minute() {
    let name = "a_reader_that_vanishes_is_gone_within_a_minute";
    let can = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let own = ["unshare", "--net", "--map-root-user"];
    if !can(Command::new(own[0]).args(&own[1..]).args(["ip", "link", "set", "lo", "up"])) {
        println!("not tested: this needs `unshare --net --map-root-user` and `ip`");
        return;
    }
    in_own_process_started_by(&own, name, async move {
        let ip = |words: &str| assert!(can(Command::new("ip").args(words.split(' '))), "{words}");
        ip("link set lo up");
        ip("address add 10.77.0.2/32 dev lo");
        let sse = Manager::builder().heartbeat(Duration::from_secs(1)).build().unwrap();
        let server = served(&sse).await;
        let mut stays = Reader::open(server.address).await;
        let mut vanish = Vec::new();
        for ask in [LISTEN, LISTEN_VIA_HYPER, LISTEN, "GET /hello HTTP/1.1\r\n"] {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("10.77.0.2:0".parse().unwrap()).unwrap();
            let mut stream = socket.connect(server.address).await.unwrap();
            stream.write_all(ask.as_bytes()).await.unwrap();
            if ask.ends_with("\r\n\r\n") || ask == LISTEN_VIA_HYPER {
                stream = Reader::read_head(stream).await.stream;
            }
            vanish.push(stream);
        }
        assert_eq!(sse.connection_count(), 4);
        ip("address del 10.77.0.2/32 dev lo");
        let began = tokio::time::Instant::now();
        let gone = async {
            while sse.connection_count() > 1 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
        println!("gone after {:?}", began.elapsed());
        sse.broadcast("who stays").unwrap();
        assert_eq!(stays.data().await, "who stays");
        server.stop().await;
    });
}
