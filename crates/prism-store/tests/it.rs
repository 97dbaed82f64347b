//! The store on a real directory.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prism_sse::{
    Durability, Epoch, Missing, Page, PageQuery, Retention, Store as _, StoredKey, StoredRecord,
    Topic,
};
use prism_store::{OpenError, Options, Store};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_millis() as u64
}

fn topic(name: &str) -> Topic {
    Topic::try_from(name).expect("it is a topic")
}

fn record(seq: u64, topics: &[&str]) -> StoredRecord {
    StoredRecord {
        seq,
        time: now(),
        topics: topics.iter().map(|name| topic(name)).collect(),
        private: seq.is_multiple_of(2),
        sends_position: true,
        id: seq
            .is_multiple_of(3)
            .then(|| format!("id-{seq}").as_str().try_into().expect("it is an id")),
        key: seq.is_multiple_of(5).then(|| StoredKey {
            publisher: seq.is_multiple_of(10).then(|| "somebody".into()),
            key: format!("key-{seq}").into(),
            content: [seq as u8; 16],
        }),
        chunk: Bytes::from(format!("9\r\ndata: {seq}\n\n\r\n")),
    }
}

fn query(after: u64) -> PageQuery<'static> {
    PageQuery {
        after,
        topics: None,
        broadcasts: true,
        max_records: usize::MAX >> 1,
        max_bytes: usize::MAX,
    }
}

fn small() -> Options {
    Options::default().segment_bytes(2_000)
}

fn seqs(page: &Page) -> Vec<u64> {
    page.records.iter().map(|record| record.seq).collect()
}

/// All records after a place, read in small pages.
fn read_all(store: &Store, mut after: u64, topics: Option<&[Topic]>) -> Vec<StoredRecord> {
    let mut all = Vec::new();
    loop {
        let query = PageQuery { after, topics, broadcasts: false, max_records: 7, max_bytes: 300 };
        let page = store.page(query).expect("it is read");
        assert_eq!(page.missing, None);
        let is_end = page.until <= after || page.records.is_empty();
        after = page.until;
        all.extend(page.records);
        if is_end {
            return all;
        }
    }
}

#[test]
fn what_was_appended_is_read_again_after_it_was_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    let mut secret = None;
    for round in 0..5_u64 {
        let store = small().open(directory.path()).unwrap();
        let restored = store.restored();
        assert_eq!(restored.last, round * 100);
        assert!(restored.is_intact);
        assert_eq!(*secret.get_or_insert(restored.secret), restored.secret);
        assert_eq!(restored.epochs.len() as u64, round);
        store.begin_epoch(Epoch::new(round + 1), restored.last).unwrap();
        store.reserve(restored.last + 1_000).unwrap();
        for group in 0..20 {
            let first = round * 100 + group * 5 + 1;
            let names = |seq| match seq % 4 {
                0 => vec!["a"],
                1 => vec!["a", "b"],
                2 => vec![],
                _ => vec!["c"],
            };
            let group: Vec<_> = (first..first + 5).map(|seq| record(seq, &names(seq))).collect();
            store.append(&group).unwrap();
            expected.extend(group);
        }
        for after in [0, 1, 50, round * 100 + 99] {
            let expected: Vec<_> = expected.iter().filter(|it| it.seq > after).cloned().collect();
            assert_eq!(store.page(query(after)).unwrap().records, expected);
            assert_eq!(read_all(&store, after, None), expected);
            for names in [&["a"][..], &["b"], &["a", "c"], &["nobody's"]] {
                let topics: Vec<_> = names.iter().map(|name| topic(name)).collect();
                let is_about =
                    |it: &&StoredRecord| it.topics.iter().any(|topic| topics.contains(topic));
                let expected: Vec<_> = expected.iter().filter(is_about).cloned().collect();
                assert_eq!(read_all(&store, after, Some(&topics)), expected, "{names:?} {after}");
            }
        }
        let id = |seq: u64| format!("id-{seq}").as_str().try_into().unwrap();
        assert_eq!(store.find_id(&id(3)), Ok(Some(3)));
        assert_eq!(
            store.find_id(&id(round * 100 + 99 - round % 3)).unwrap().is_some(),
            (round * 100 + 99 - round % 3) % 3 == 0
        );
        assert_eq!(store.find_id(&id(4)), Ok(None));
        assert_eq!(store.tail(u64::MAX), Ok(0));
        assert_eq!(store.tail(0), Ok(round * 100 + 100));
        let tail = store.tail(3_000).unwrap();
        let bytes = std::fs::read_dir(directory.path()).unwrap().count();
        assert!(tail > round * 100 / 2 || round == 0, "{tail} {bytes}");
    }
}

#[test]
fn retention_evicts_exactly_what_it_does_not_cover() {
    let directory = tempfile::tempdir().unwrap();
    let store = small().open(directory.path()).unwrap();
    for seq in 1..=500 {
        store.append(&[record(seq, &["a"])]).unwrap();
    }
    let trim = |retention: Retention| store.trim(&retention, now()).unwrap();
    let most = || Retention::default().count(usize::MAX).bytes(usize::MAX);
    trim(most());
    assert_eq!(seqs(&store.page(query(0)).unwrap()).len(), 500);
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    let before = files();
    trim(most().count(100));
    let page = store.page(query(0)).unwrap();
    assert_eq!(seqs(&page), (401..=500).collect::<Vec<_>>());
    assert_eq!(page.missing, Some(Missing { until: 400, damaged: false }));
    assert_eq!((store.floor(), store.stats().records), (400, 100));
    assert!(files() < before / 2, "{} of {before}", files());
    assert_eq!(store.page(query(400)).unwrap().missing, None);
    trim(most().bytes(5_000));
    assert!(store.stats().bytes <= 5_000 && store.stats().records > 10, "{:?}", store.stats());
    trim(most().age(std::time::Duration::from_millis(0)));
    let page = store.page(query(0)).unwrap();
    assert_eq!((page.records.len(), page.until), (0, 500));
    drop(store);
    let store = small().open(directory.path()).unwrap();
    assert_eq!(store.restored().last, 500, "the place of the newest record is known");
    store.trim(&most().count(1), now()).unwrap();
    store.append(&[record(501, &["a"])]).unwrap();
    assert_eq!(seqs(&store.page(query(500)).unwrap()), [501]);
}

#[test]
fn one_process_has_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let error = Store::open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { pid } if pid == Some(std::process::id())));
    assert_eq!(error.to_string(), format!("the process {} has it open", std::process::id()));
    drop(store);
    assert_eq!(Store::open(directory.path()).unwrap().durability(), Durability::Fsync);
}

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let store = Store::open(&directory).unwrap();
    store.append(&[record(1, &["a"])]).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for file in std::fs::read_dir(&directory).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}
