//! Single faults with an outcome of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use prism_sse::{Durability, Epoch, PageQuery, Store as _, StoreError, StoredRecord, Topic};
use prism_store::{Options, Store};

use crate::disk::{Fault, Loss, TestDisk};
use crate::{History, open, record};

fn all(store: &Store, after: u64) -> Vec<StoredRecord> {
    page(store, after).records
}

fn page(store: &Store, after: u64) -> prism_sse::Page {
    let query = PageQuery {
        after,
        topics: None,
        broadcasts: true,
        max_records: 10_000,
        max_bytes: usize::MAX,
    };
    store.page(query).expect("it is read")
}

fn seqs(store: &Store) -> Vec<u64> {
    all(store, 0).iter().map(|record| record.seq).collect()
}

fn begun(disk: &TestDisk) -> Store {
    let store = open(disk).expect("it opens");
    store.begin_epoch(Epoch::new(1), 0).expect("it is kept");
    store.reserve(1_000).expect("it is kept");
    store
}

#[test]
fn what_was_read_after_a_kill_survives_a_loss_of_power() {
    let disk = TestDisk::default();
    let store = begun(&disk);
    store.append(&[record(1, 1)]).expect("it is kept");
    // Killed between the write and the sync: the system has the bytes, the disk has not.
    disk.set_fault(Some(Fault::Cut(disk.operations() + 1)));
    store.append(&[record(2, 2)]).expect_err("the sync fails");
    drop(store);
    disk.set_fault(None);
    let seen = seqs(&open(&disk).expect("it opens"));
    let kept = seqs(&open(&disk.after(Loss::Everything)).expect("it opens"));
    assert_eq!(seen, kept);
}

#[test]
fn of_a_group_that_was_refused_nothing_is_there_after_a_start() {
    for before in 1..40 {
        for operation in 0..8 {
            let disk = TestDisk::default();
            let store = begun(&disk);
            for seq in 1..=before {
                store.append(&[record(seq, seq)]).expect("it is kept");
            }
            let group: Vec<_> = (0..9).map(|at| record(before + 1 + at, 1)).collect();
            let kind = std::io::ErrorKind::StorageFull;
            disk.set_fault(Some(Fault::Fail(disk.operations() + operation, kind)));
            let result = store.append(&group);
            disk.set_fault(None);
            drop(store);
            let losses = (0..6).map(Loss::Random).chain([Loss::Nothing, Loss::Everything]);
            for loss in losses {
                let store = open(&disk.after(loss)).expect("it opens");
                let found = seqs(&store).len() as u64;
                let context = format!("{result:?}, {before} before, {operation}, {loss:?}");
                match result {
                    Ok(()) => assert_eq!(found, before + 9, "{context}"),
                    Err(StoreError::Unknown(_)) => assert!(found >= before, "{context}"),
                    Err(_) => assert_eq!(found, before, "{context}"),
                }
            }
        }
    }
}

#[test]
fn a_full_disk_is_not_filled_with_files() {
    for before in 1..40 {
        let disk = TestDisk::default();
        let store = begun(&disk);
        for seq in 1..=before {
            store.append(&[record(seq, seq)]).expect("it is kept");
        }
        let files = disk.lens().len();
        disk.set_fault(Some(Fault::Full(disk.operations())));
        for _ in 0..50 {
            let result = store.append(&[record(before + 1, 1)]);
            assert_eq!(result, Err(StoreError::Full), "{before}");
        }
        assert!(disk.lens().len() <= files + 1, "{before}: {:?}", disk.lens());
        disk.set_fault(None);
        store.append(&[record(before + 1, 1)]).expect("there is room again");
        assert_eq!(seqs(&store), (1..=before + 1).collect::<Vec<_>>());
    }
}

/// The bytes of a public record, as a publisher can put them into an event.
fn forged(seq: u64, topic: &str) -> Vec<u8> {
    let mut rest = Vec::new();
    rest.extend_from_slice(&seq.to_le_bytes());
    rest.extend_from_slice(&0_u64.to_le_bytes());
    rest.extend_from_slice(&seq.to_le_bytes());
    rest.push(2);
    rest.extend_from_slice(&1_u16.to_le_bytes());
    rest.extend_from_slice(&(topic.len() as u32).to_le_bytes());
    rest.extend_from_slice(topic.as_bytes());
    rest.extend_from_slice(b"forged");
    let len = (rest.len() as u32 + 12).to_le_bytes();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&len), &rest);
    [&b"PrR1"[..], &len, &checksum.to_le_bytes(), &rest].concat()
}

#[test]
fn an_event_that_holds_the_bytes_of_a_record_never_becomes_one() {
    let disk = TestDisk::default();
    let store = begun(&disk);
    store.append(&[record(1, 1)]).expect("it is kept");
    let chunk = Bytes::from(forged(2, "of/others"));
    store.append(&[StoredRecord { chunk, ..record(2, 2) }]).expect("it is kept");
    store.append(&[record(3, 3)]).expect("it is kept");
    let len = disk.lens().iter().find(|(name, _)| name.ends_with(".log")).expect("it is there").1;
    drop(store);
    for at in 64..len {
        let damaged = disk.flipped("000000000001.log", at, 0);
        let Ok(store) = open(&damaged) else { continue };
        let topic = Topic::try_from("of/others").expect("it is a topic");
        let found = all(&store, 0)
            .into_iter()
            .chain(all(&store, 1))
            .find(|record| record.topics.contains(&topic));
        assert_eq!(found, None, "flipped at {at}");
    }
}

#[test]
fn what_an_index_says_is_lost_is_checked() {
    let disk = TestDisk::default();
    let mut history = History::default();
    history.run(&disk, 12);
    let logs = disk.lens().into_iter().filter(|(name, _)| name.ends_with(".log"));
    let (log, len) = logs.min().expect("it is there");
    let damaged = disk.flipped(&log, len / 2, 0);
    prism_store::Files::remove(&damaged, &log.replace(".log", ".idx")).expect("it is there");
    drop(open(&damaged).expect("it opens"));
    let (index, len) = damaged
        .lens()
        .into_iter()
        .find(|(name, _)| *name == log.replace(".log", ".idx"))
        .expect("made");
    for (at, bit) in (len - 16..len).flat_map(|at| [(at, 0), (at, 7)]) {
        let twice = damaged.flipped(&index, at, bit);
        let context = format!("{index} at {at}, bit {bit}");
        let check = || {
            let store = open(&twice).expect(&context);
            assert!(store.stats().lost < 100, "{context}");
            history.check(&store, true, &context);
        };
        assert!(catch_unwind(AssertUnwindSafe(check)).is_ok(), "{context}");
    }
}

#[test]
fn at_os_a_loss_of_power_is_told() {
    let open = |disk: &TestDisk| {
        let options = Options::default().segment_bytes(1_500).durability(Durability::Os);
        options.open_files(Arc::new(disk.clone())).expect("it opens")
    };
    let disk = TestDisk::default();
    let mut history = History::default();
    let store = open(&disk);
    store.begin_epoch(Epoch::new(1), 0).expect("it is kept");
    history.epochs.push((Epoch::new(1), 0));
    store.reserve(1_000).expect("it is kept");
    for seq in 1..=60 {
        history.appended.insert(seq, record(seq, seq));
        store.append(&[record(seq, seq)]).expect("it is kept");
        history.acked.push(seq);
        let losses = (0..8).map(|it| Loss::Random(seq * 100 + it)).chain([Loss::Everything]);
        for loss in losses.chain((0..8).map(|it| Loss::Zeros(seq * 100 + it))) {
            let after = disk.after(loss);
            // Told, and told again to a second start.
            for _ in 0..2 {
                history.check(&open(&after), true, &format!("{seq}, {loss:?}"));
            }
        }
    }
    drop(store);
    // A store that was closed lost nothing.
    let closed = open(&disk.after(Loss::Everything));
    assert!(closed.restored().is_intact);
    assert_eq!(seqs(&closed), history.acked);
    // A process that was killed lost nothing: the system has what it wrote.
    let killed = open(&disk);
    killed.append(&[record(61, 61)]).expect("it is kept");
    std::mem::forget(killed);
    let killed = open(&disk);
    assert!(killed.restored().is_intact);
    assert_eq!(seqs(&killed).last(), Some(&61));
}

#[test]
fn a_page_may_have_no_record_or_all() {
    let disk = TestDisk::default();
    let store = begun(&disk);
    store.append(&[record(1, 1), record(5, 5)]).expect("it is kept");
    let rare = Topic::try_from("rare").expect("it is a topic");
    for topics in [None, Some(std::slice::from_ref(&rare))] {
        let query = |max_records| PageQuery {
            after: 0,
            topics,
            broadcasts: true,
            max_records,
            max_bytes: usize::MAX,
        };
        let none = store.page(query(0)).expect("it is read");
        assert_eq!((none.records.len(), none.until), (0, 0));
        let all = store.page(query(usize::MAX)).expect("it is read");
        assert_eq!((all.records.last().map(|record| record.seq), all.until), (Some(5), 5));
    }
}
