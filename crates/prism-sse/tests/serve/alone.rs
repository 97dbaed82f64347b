//! Tests that measure their whole process, or take something from it: each has one of its own.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Seek};
use std::process::Command;
use std::time::Duration;

use prism_sse::{Manager, OnLag, Retention};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::{End, LISTEN, Reader, Running, app, connect, until, with_history};

const BY_HYPER: &str = "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";

/// Names the test that a process is for.
const ALONE: &str = "PRISM_SSE_ALONE";

/// Runs `test` in a process of its own, which `starter` begins.
fn alone_by(starter: &[&str], name: &str, test: impl Future<Output = ()>) {
    if !cfg!(target_os = "linux") {
        println!("not tested: this needs /proc");
        return;
    }
    if std::env::var(ALONE).is_ok_and(|alone| alone == name) {
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
    let test = format!("alone::{name}");
    command.args(["--exact", &test, "--nocapture", "--include-ignored"]).env(ALONE, name);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let cried = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{cried}");
    print!("{said}");
}

fn alone(name: &str, test: impl Future<Output = ()>) {
    alone_by(&[], name, test);
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Holds {
    files: usize,
    shards: usize,
    kib: usize,
}

impl Holds {
    fn now() -> Self {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
        // Those of the runtime come and go.
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

    /// Waits until the process holds no more files and threads than `self`, and little more memory.
    async fn is_all_again(self) {
        until(|| {
            let now = Self::now();
            now.files <= self.files && now.shards <= self.shards
        })
        .await;
        let now = Self::now();
        assert!(now.kib < self.kib + 8 * 1024, "{now:?} after {self:?}");
    }
}

/// Processor time of a process, in hundredths of a second. A file that is open can be read although
/// no further one can be opened.
fn ticks(stat: &mut File) -> u64 {
    let mut line = String::new();
    stat.rewind().unwrap();
    stat.read_to_string(&mut line).unwrap();
    let stat = line;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Whether the process rests, over a time in which one that does not uses 50 ticks.
async fn rests() {
    let stat = &mut File::open("/proc/self/stat").unwrap();
    let before = ticks(stat);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = ticks(stat) - before;
    assert!(used < 15, "{used} ticks of 50");
}

/// Does the same three times. After the first, which fills what is kept for ever, nothing grows.
async fn again_and_again<F: Future<Output = ()>>(round: impl Fn() -> F) {
    round().await;
    until(|| Holds::now().shards == 0).await;
    let holds = Holds::now();
    for _ in 0..2 {
        round().await;
        holds.is_all_again().await;
    }
}

async fn served(sse: &Manager) -> Running {
    Running::set(app(sse), |serve| serve.shards(2)).await
}

#[test]
fn the_addresses_of_a_server_share_its_shards() {
    alone("the_addresses_of_a_server_share_its_shards", async {
        for (shards, threads) in [(Some(2), 2), (None, 0)] {
            let sse = with_history();
            let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = other.local_addr().unwrap();
            let server = Running::set(app(&sse), |serve| match shards {
                Some(shards) => serve.also(other).shards(shards),
                None => serve.also(other).no_shards(),
            })
            .await;
            let mut open = Vec::new();
            for address in [server.address, address] {
                open.push(Reader::open(address).await);
            }
            // They take their names themselves.
            until(|| Holds::now().shards >= threads).await;
            sse.broadcast("for each").unwrap();
            for reader in &mut open {
                assert_eq!(reader.data().await, "for each");
            }
            assert_eq!(Holds::now().shards, threads);
            server.stop().await;
            for reader in &mut open {
                assert_eq!(reader.end().await, End::Clean);
            }
            until(|| Holds::now().shards == 0).await;
        }
    });
}

#[test]
fn thousands_of_resets_leave_nothing_behind() {
    alone("thousands_of_resets_leave_nothing_behind", async {
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
                    3 => drop(Reader::begin(stream, LISTEN).await),
                    _ => drop(Reader::begin(stream, BY_HYPER).await),
                }
                if n % 10 == 0 {
                    sse.broadcast("meanwhile").unwrap();
                    assert_eq!(stays.data().await, "meanwhile");
                }
            }
            until(|| sse.connection_count() == 1).await;
        };
        storm().await;
        let holds = Holds::now();
        for _ in 0..2 {
            storm().await;
            holds.is_all_again().await;
        }
        rests().await;
        server.stop().await;
    });
}

#[test]
fn a_drain_of_thousands_ends_every_stream_and_leaves_nothing_behind() {
    alone("a_drain_of_thousands_ends_every_stream_and_leaves_nothing_behind", async {
        again_and_again(|| async {
            let sse = with_history();
            let server = served(&sse).await;
            let mut readers = Vec::new();
            for n in 0..2000 {
                let ask = if n % 4 == 3 { BY_HYPER } else { LISTEN };
                readers.push(Reader::ask(server.address, ask).await);
            }
            sse.broadcast("for all").unwrap();
            let position = sse.publish("nobody", "unheard").unwrap().await.unwrap().position;
            server.stop().await;
            assert_eq!(sse.connection_count(), 0);
            for reader in &mut readers {
                let (events, end) = reader.rest().await;
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
    alone("servers_that_are_dropped_leave_nothing_behind", async {
        again_and_again(|| async {
            let sse = with_history();
            let server = served(&sse).await;
            let mut readers = Vec::new();
            for n in 0..300 {
                readers.push(match n % 4 {
                    0 => Reader::ask(server.address, BY_HYPER).await,
                    1 => Reader::ask_small(server.address, LISTEN).await,
                    _ => Reader::open(server.address).await,
                });
            }
            let silent = connect(server.address).await;
            for _ in 0..50 {
                sse.broadcast("x".repeat(60_000)).unwrap();
            }
            server.drop_it().await;
            until(|| sse.connection_count() == 0).await;
            drop((readers, silent));
        })
        .await;
    });
}

#[test]
fn readers_that_never_read_cost_what_was_promised() {
    alone("readers_that_never_read_cost_what_was_promised", async {
        let history = Retention::default().bytes(4 << 20);
        let sse = Manager::builder().history(history).on_lag(OnLag::SkipWithGap);
        let sse = sse.build().unwrap();
        let pinned = 8 << 20;
        let server = Running::set(app(&sse), |serve| serve.stalled_bytes(pinned)).await;
        let mut healthy = Reader::open(server.address).await;
        let mut stuck = Vec::new();
        let holds = Holds::now();
        for n in 0..200 {
            // Each is stuck in an event of its own.
            stuck.push(Reader::ask_small(server.address, LISTEN).await);
            sse.broadcast(format!("{n} {}", "x".repeat(1_000_000))).unwrap();
            assert!(healthy.data().await.starts_with(&format!("{n} ")));
            healthy.text = Vec::new();
        }
        let now = Holds::now();
        // The log, what is pinned, and as much again for what is on its way to the healthy one.
        let most = holds.kib + 2 * (4 << 10) + 2 * (pinned >> 10) + 16 * 1024;
        assert!(now.kib < most, "{now:?} after {holds:?}");
        drop(stuck);
        until(|| sse.connection_count() == 1).await;
        server.stop().await;
    });
}

#[test]
fn a_server_that_has_nothing_to_do_rests() {
    alone("a_server_that_has_nothing_to_do_rests", async {
        let history = Retention::default().age(Duration::from_millis(200));
        let sse = Manager::builder().history(history).build().unwrap();
        let server = served(&sse).await;
        let mut readers = Vec::new();
        for n in 0..40 {
            let ask = if n % 4 == 3 { BY_HYPER } else { LISTEN };
            readers.push(Reader::ask(server.address, ask).await);
        }
        rests().await;
        sse.broadcast("soon too old").unwrap();
        for reader in &mut readers {
            assert_eq!(reader.data().await, "soon too old");
        }
        until(|| sse.stats().records == 0).await;
        rests().await;
        sse.broadcast("again").unwrap();
        for reader in &mut readers {
            assert_eq!(reader.data().await, "again");
        }
        server.stop().await;
    });
}

#[test]
fn a_server_rests_while_a_reader_does_not_read() {
    alone("a_server_rests_while_a_reader_does_not_read", async {
        let sse = with_history();
        let server = served(&sse).await;
        let mut stuck = Reader::ask_small(server.address, LISTEN).await;
        let large = "x".repeat(1 << 20);
        sse.broadcast(large.as_str()).unwrap();
        sse.broadcast("behind it").unwrap();
        rests().await;
        assert!(stuck.data().await == large);
        assert_eq!(stuck.data().await, "behind it");
        server.stop().await;
    });
}

#[test]
fn a_process_without_files_neither_spins_nor_dies() {
    let few = ["sh", "-c", r#"ulimit -n 120; exec "$0" "$@""#];
    alone_by(&few, "a_process_without_files_neither_spins_nor_dies", async {
        let sse = with_history();
        let server = Running::with(app(&sse)).await;
        let mut reader = Reader::open(server.address).await;
        let stat = &mut File::open("/proc/self/stat").unwrap();
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        // One file for whoever connects, and none for the server.
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
        assert_eq!(Reader::of(waits).await.status(), 200);
        let mut next = Reader::open(server.address).await;
        sse.broadcast("there is room again").unwrap();
        assert_eq!(next.data().await, "there is room again");
        server.stop().await;
    });
}

/// As a laptop that is closed: nothing arrives at its address any more.
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
    alone_by(&own, name, async move {
        let ip = |words: &str| assert!(can(Command::new("ip").args(words.split(' '))), "{words}");
        ip("link set lo up");
        ip("address add 10.77.0.2/32 dev lo");
        let sse = Manager::builder().heartbeat(Duration::from_secs(1)).build().unwrap();
        let server = served(&sse).await;
        let mut stays = Reader::open(server.address).await;
        let mut vanish = Vec::new();
        for ask in [LISTEN, BY_HYPER, LISTEN, "GET /hello HTTP/1.1\r\n"] {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("10.77.0.2:0".parse().unwrap()).unwrap();
            let mut stream = socket.connect(server.address).await.unwrap();
            stream.write_all(ask.as_bytes()).await.unwrap();
            if ask.ends_with("\r\n\r\n") || ask == BY_HYPER {
                stream = Reader::of(stream).await.stream;
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
