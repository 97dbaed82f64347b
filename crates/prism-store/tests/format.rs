//! The files, read by a decoder that was written from docs/store.md alone.

use bytes::Bytes;
use prism_sse::{Epoch, Store as _, StoredKey, StoredRecord, Topic};
use prism_store::Options;

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes")))
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn checksum(parts: &[&[u8]]) -> usize {
    parts.iter().fold(0, |sum, part| crc32c::crc32c_append(sum, part)) as usize
}

/// A text, and where it ends.
fn text(bytes: &[u8], at: usize) -> (String, usize) {
    let end = at + 4 + u32_at(bytes, at);
    (String::from_utf8(bytes[at + 4..end].to_vec()).expect("it is UTF-8"), end)
}

/// The records of a segment, each with the number of the one before it.
fn segment(bytes: &[u8], secret: &[u8]) -> Vec<(u64, StoredRecord)> {
    assert_eq!(&bytes[..8], b"PrSeg001");
    assert_eq!(u16_at(bytes, 8), 2);
    assert_eq!(u32_at(bytes, 60), checksum(&[&bytes[..60]]));
    let (mut records, mut rest) = (Vec::new(), &bytes[64..]);
    while !rest.is_empty() {
        assert_eq!(&rest[..4], b"PrR1");
        let record = &rest[..u32_at(rest, 4)];
        rest = &rest[record.len()..];
        assert_eq!(u32_at(record, 8), checksum(&[secret, &record[4..8], &record[12..]]));
        let (flags, mut at) = (record[36], 39);
        let mut topics = Vec::new();
        for _ in 0..u16_at(record, 37) {
            let (topic, end) = text(record, at);
            topics.push(Topic::try_from(topic.as_str()).expect("it is a topic"));
            at = end;
        }
        let mut id = None;
        if flags & 4 != 0 {
            let (text, end) = text(record, at);
            (id, at) = (Some(text.as_str().try_into().expect("it is an id")), end);
        }
        let mut key = None;
        if flags & 8 != 0 {
            let (name, end) = text(record, at);
            let content = record[end..end + 16].try_into().expect("sixteen bytes");
            at = end + 16;
            let mut publisher = None;
            if flags & 16 != 0 {
                let (text, end) = text(record, at);
                (publisher, at) = (Some(text.into()), end);
            }
            key = Some(StoredKey { publisher, key: name.into(), content });
        }
        let stored = StoredRecord {
            seq: u64_at(record, 12),
            time: u64_at(record, 28),
            topics: topics.into(),
            private: flags & 1 != 0,
            sends_position: flags & 2 != 0,
            id,
            key,
            chunk: Bytes::copy_from_slice(&record[at..]),
        };
        records.push((u64_at(record, 20), stored));
    }
    records
}

#[test]
fn the_files_are_as_documented() {
    let directory = tempfile::tempdir().expect("there is a directory");
    let store = Options::default().segment_bytes(600).open(directory.path()).expect("it opens");
    store.begin_epoch(Epoch::new(77), 0).expect("it is kept");
    store.reserve(1_000).expect("it is kept");
    let record = |seq: u64| StoredRecord {
        seq,
        time: 1_000 + seq,
        topics: (0..seq % 3).map(|n| Topic::try_from(format!("t/{n}").as_str()).unwrap()).collect(),
        private: seq.is_multiple_of(2),
        sends_position: !seq.is_multiple_of(5),
        id: seq.is_multiple_of(4).then(|| format!("id-{seq}").as_str().try_into().unwrap()),
        key: (seq.is_multiple_of(3)).then(|| StoredKey {
            publisher: seq.is_multiple_of(2).then(|| "p".into()),
            key: format!("k-{seq}").into(),
            content: [seq as u8; 16],
        }),
        chunk: Bytes::from(format!("{seq:x}")),
    };
    let written: Vec<_> = (1..=60).map(|n| record(n * 2)).collect();
    for group in written.chunks(4) {
        store.append(group).expect("it is kept");
    }
    let file = |name: &str| std::fs::read(directory.path().join(name)).expect("it is there");
    let names = std::fs::read_dir(directory.path()).expect("it is there");
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".log")).collect();
    names.sort();
    assert!(names.len() > 3, "{names:?}");
    let secret = &file("meta")[34..50];
    let found: Vec<_> = names.iter().flat_map(|name| segment(&file(name), secret)).collect();
    let expected: Vec<_> = written.iter().map(|record| (record.seq - 2, record.clone())).collect();
    assert_eq!(found, expected);

    let meta = file("meta");
    for page in [&meta[..], &meta[65_536..]] {
        assert_eq!(&page[..8], b"PrMeta01");
        let page = &page[..u32_at(page, 8)];
        assert_eq!(u32_at(page, 12), checksum(&[&page[..12], &page[16..]]));
        assert_eq!((u16_at(page, 16), u64_at(page, 26)), (2, 1_000));
        assert_eq!(page[34..50], store.restored().secret);
        assert_eq!((u32_at(page, 50), u64_at(page, 54), u64_at(page, 62)), (1, 77, 0));
    }
    let acked = file("acked");
    let newest = [&acked[..20], &acked[4_096..4_116]];
    let newest = newest.into_iter().max_by_key(|page| u64_at(page, 0)).expect("there are two");
    assert_eq!((u64_at(newest, 8), u32_at(newest, 16)), (120, checksum(&[&newest[..16]])));

    let index = file(&names[0].replace(".log", ".idx"));
    let records = segment(&file(&names[0]), secret);
    assert_eq!((&index[..8], u16_at(&index, 8)), (&b"PrIdx001"[..], 2));
    assert_eq!(u32_at(&index, 12), records.len());
    assert_eq!(u32_at(&index, 32), checksum(&[&index[128..]]));
    assert_eq!(u32_at(&index, 68), checksum(&[&index[..68]]));
    assert_eq!((u64_at(&index, 36), u64_at(&index, 60)), (2, file(&names[0]).len() as u64));
    for (at, (_, record)) in records.iter().enumerate() {
        assert_eq!(u64_at(&index, 128 + at * 24), record.seq);
        let offset = u64_at(&index, 128 + at * 24 + 16) as usize;
        assert_eq!(u64_at(&file(&names[0]), offset + 12), record.seq);
    }
}
