//! Losses of power at every point, operations that fail, and damaged bytes: what was acknowledged
//! is there or is told to be missing, and nothing is there that was not appended.

mod disk;
mod faults;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use disk::{Fault, Loss, TestDisk};
use prism_sse::{Epoch, PageQuery, Retention, Store as _, StoredRecord, Topic};
use prism_store::{OpenError, Options, Store};

/// What a history of a store knows that ran on a disk.
#[derive(Debug, Default)]
struct History {
    /// Everything that was handed to the store.
    appended: BTreeMap<u64, StoredRecord>,
    acked: Vec<u64>,
    epochs: Vec<(Epoch, u64)>,
    /// Up to where retention evicted records, or may have.
    evicted: u64,
    /// The place that was handed out last.
    last: u64,
}

fn open(disk: &TestDisk) -> Result<Store, OpenError> {
    Options::default().segment_bytes(1_500).open_files(Arc::new(disk.clone()))
}

fn record(seq: u64, time: u64) -> StoredRecord {
    let topic = if seq.is_multiple_of(5) { "rare" } else { "common" };
    StoredRecord {
        seq,
        time,
        topics: [Topic::try_from(topic).expect("it is a topic")].into(),
        private: false,
        sends_position: true,
        id: seq
            .is_multiple_of(4)
            .then(|| format!("id-{seq}").as_str().try_into().expect("it is an id")),
        key: None,
        chunk: Bytes::from(format!("xx\r\ndata: {}\n\n\r\n", "x".repeat(seq as usize % 40))),
    }
}

impl History {
    /// Goes on with what the disk has, and opens the store twice, until something fails for good.
    fn run(&mut self, disk: &TestDisk, groups: u64) {
        for _ in 0..2 {
            let Ok(store) = open(disk) else { return };
            let restored = store.restored();
            self.last = self.last.max(restored.reserved);
            let epoch = Epoch::new(restored.epochs.len() as u64 + 1);
            if store.begin_epoch(epoch, restored.last).is_err() {
                return;
            }
            self.epochs.push((epoch, restored.last));
            let mut reserved = restored.reserved;
            for group in 0..groups {
                if self.last + 3 > reserved {
                    if store.reserve(self.last + 20).is_err() {
                        continue;
                    }
                    reserved = self.last + 20;
                }
                let first = self.last + 1;
                let records: Vec<_> =
                    (first..first + 1 + group % 3).map(|seq| record(seq, seq)).collect();
                self.last = records.last().map_or(self.last, |record| record.seq);
                self.appended.extend(records.iter().map(|record| (record.seq, record.clone())));
                if store.append(&records).is_ok() {
                    self.acked.extend(records.iter().map(|record| record.seq));
                }
                if group % 8 == 7 {
                    self.evicted = self.last - 20.min(self.last);
                    let retention = Retention::default().count(20).bytes(usize::MAX);
                    drop(store.trim(&retention, self.last));
                }
            }
        }
    }

    /// Checks what a store has: `is_told` is for those whose disk lost what it had synced.
    fn check(&self, store: &Store, is_told: bool, context: &str) {
        let restored = store.restored();
        assert!(restored.reserved >= self.acked.last().copied().unwrap_or(0), "{context}");
        let (mut after, mut found, mut missing) = (0, BTreeMap::new(), Vec::new());
        loop {
            let query = PageQuery {
                after,
                topics: None,
                broadcasts: true,
                max_records: 5,
                max_bytes: 1_000,
            };
            let page = store.page(query).expect(context);
            missing.extend(page.missing.map(|missing| (after + 1, missing.until)));
            let is_end = page.until <= after;
            for record in page.records {
                let before = found.insert(record.seq, record);
                assert!(before.is_none(), "{context}: twice");
            }
            after = page.until;
            if is_end {
                break;
            }
        }
        for (seq, record) in &found {
            assert_eq!(self.appended.get(seq), Some(record), "{context}");
        }
        let told = |seq: u64| {
            missing.iter().any(|(first, last)| (*first..=*last).contains(&seq))
                || (seq > restored.last && !restored.is_intact)
        };
        for seq in self.acked.iter().filter(|seq| !found.contains_key(seq)) {
            let is_evicted = *seq <= self.evicted;
            assert!(is_evicted || (is_told && told(*seq)), "{context}: {seq} is gone");
        }
        if !is_told {
            assert!(restored.is_intact, "{context}");
            let is_false = |&&(_, last): &&(u64, u64)| last > self.evicted;
            assert_eq!(missing.iter().find(is_false), None, "{context}: a false alarm");
            let known = |epoch: &&(Epoch, u64)| !restored.epochs.contains(epoch);
            assert_eq!(self.epochs.iter().find(known), None, "{context}: an epoch is gone");
        }
        let rare = Topic::try_from("rare").expect("it is a topic");
        let query = PageQuery {
            after: self.evicted,
            topics: Some(std::slice::from_ref(&rare)),
            broadcasts: false,
            max_records: 1_000,
            max_bytes: usize::MAX,
        };
        let page = store.page(query).expect(context);
        for record in &page.records {
            assert_eq!(self.appended.get(&record.seq), Some(record), "{context}");
        }
        if !is_told {
            let rare = |seq: &&u64| **seq > self.evicted && seq.is_multiple_of(5);
            let expected: Vec<_> = found.keys().filter(rare).copied().collect();
            let seqs: Vec<_> = page.records.iter().map(|record| record.seq).collect();
            assert_eq!(seqs, expected, "{context}");
        }
    }
}

const GROUPS: u64 = 24;

#[test]
fn what_was_acknowledged_survives_a_loss_of_power_at_every_point() {
    let disk = TestDisk::default();
    History::default().run(&disk, GROUPS);
    let seeds = std::env::var("PRISM_CRASH_SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(2);
    for at in 0..=disk.operations() {
        let disk = TestDisk::default();
        disk.set_fault(Some(Fault::Cut(at)));
        let mut history = History::default();
        history.run(&disk, GROUPS);
        let random = (0..seeds).flat_map(|seed| {
            let seed = at as u64 * 1_000 + seed;
            [Loss::Random(seed), Loss::Zeros(seed)]
        });
        for loss in [Loss::Nothing, Loss::Everything].into_iter().chain(random) {
            let context = format!("cut at {at}, {loss:?}");
            let after = disk.after(loss);
            let store = match open(&after) {
                // Nothing was promised before the first epoch.
                Err(OpenError::Damaged) if history.epochs.is_empty() => continue,
                other => other.expect(&context),
            };
            history.check(&store, false, &context);
            drop(store);
            // It goes on, and is cut off again.
            let mut second = History { evicted: history.evicted, ..History::default() };
            second.appended.clone_from(&history.appended);
            second.acked.clone_from(&history.acked);
            second.last = history.last;
            after.set_fault(Some(Fault::Cut(at % 40)));
            second.run(&after, 6);
            let again = after.after(loss);
            second.check(&open(&again).expect(&context), false, &format!("{context}, again"));
        }
    }
}

#[test]
fn an_operation_that_fails_costs_no_acknowledged_record() {
    let disk = TestDisk::default();
    History::default().run(&disk, GROUPS);
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        for at in 0..=disk.operations() {
            let context = format!("operation {at} fails with {kind}");
            let disk = TestDisk::default();
            disk.set_fault(Some(Fault::Fail(at, kind)));
            let mut history = History::default();
            history.run(&disk, GROUPS);
            disk.set_fault(None);
            // The store is open again, and readers see what they saw before.
            let Ok(store) = open(&disk) else {
                assert!(history.acked.is_empty(), "{context}");
                continue;
            };
            history.check(&store, false, &context);
            drop(store);
            for loss in [Loss::Everything, Loss::Random(at as u64)] {
                let context = format!("{context}, then {loss:?}");
                history.check(&open(&disk.after(loss)).expect(&context), false, &context);
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_told_and_never_served() {
    let disk = TestDisk::default();
    let mut history = History::default();
    history.run(&disk, 12);
    let every = std::env::var("PRISM_FLIP_EVERY").ok().and_then(|it| it.parse().ok()).unwrap_or(7);
    for (name, len) in disk.lens() {
        for at in (0..len).step_by(every) {
            let context = format!("{name} at {at}");
            let damaged = disk.flipped(&name, at, (at % 8) as u8);
            match open(&damaged) {
                Ok(store) => history.check(&store, true, &context),
                Err(error) => assert!(
                    matches!(error, OpenError::Damaged | OpenError::Version { .. }),
                    "{context}: {error}"
                ),
            }
        }
    }
}
