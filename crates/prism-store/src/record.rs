//! A record as it is in a segment file: `docs/store.md` describes it byte by byte.

use bytes::{Buf, Bytes};
use prism_sse::{EventId, StoredKey, StoredRecord, Topic};

/// The first bytes of each record, by which one is found behind damaged bytes.
pub(crate) const MAGIC: [u8; 4] = *b"PrR1";

/// Bytes before the parts whose length differs: magic, length, checksum, sequence number, the one
/// of the record before, time, flags, number of topics.
pub(crate) const HEAD: usize = 4 + 4 + 4 + 8 + 8 + 8 + 1 + 2;

/// The longest record. An event has far less.
pub(crate) const LEN_MAX: usize = 256 << 20;

const PRIVATE: u8 = 1;
const SENDS_POSITION: u8 = 2;
const HAS_ID: u8 = 4;
const HAS_KEY: u8 = 8;
const HAS_PUBLISHER: u8 = 16;

/// A record that was read.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) record: StoredRecord,
    /// Sequence number of the record before it; 0 if there was none.
    pub(crate) previous: u64,
    /// Bytes that it takes in the file.
    pub(crate) len: usize,
}

/// Appends a record to `out`. Returns its length.
pub(crate) fn encode(record: &StoredRecord, previous: u64, key: u32, out: &mut Vec<u8>) -> usize {
    let begin = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&record.seq.to_le_bytes());
    out.extend_from_slice(&previous.to_le_bytes());
    out.extend_from_slice(&record.time.to_le_bytes());
    let publisher = record.key.as_ref().and_then(|it| it.publisher.as_deref());
    let flags = [
        (record.private, PRIVATE),
        (record.sends_position, SENDS_POSITION),
        (record.id.is_some(), HAS_ID),
        (record.key.is_some(), HAS_KEY),
        (publisher.is_some(), HAS_PUBLISHER),
    ];
    out.push(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum());
    out.extend_from_slice(&(record.topics.len() as u16).to_le_bytes());
    for topic in &record.topics {
        text(topic.as_str(), out);
    }
    if let Some(id) = &record.id {
        text(id.as_str(), out);
    }
    if let Some(it) = &record.key {
        text(&it.key, out);
        out.extend_from_slice(&it.content);
    }
    if let Some(publisher) = publisher {
        text(publisher, out);
    }
    out.extend_from_slice(&record.chunk);
    let len = out.len() - begin;
    out[begin + 4..begin + 8].copy_from_slice(&(len as u32).to_le_bytes());
    let checksum = checksum(&out[begin..], key);
    out[begin + 8..begin + 12].copy_from_slice(&checksum.to_le_bytes());
    len
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// What the checksums of a store's records begin with. Nobody else knows it, so that an event does
/// not hold the bytes of a record, which would be found behind damaged bytes.
pub(crate) fn checksum_key(secret: &[u8; 16]) -> u32 {
    crc32c::crc32c(secret)
}

/// Of everything but the magic and the checksum itself.
fn checksum(record: &[u8], key: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(key, &record[4..8]), &record[12..])
}

/// The length of the record that begins with these bytes, as far as they say one.
pub(crate) fn len(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..8)?;
    let len = u32::from_le_bytes(head[4..8].try_into().ok()?) as usize;
    (head[..4] == MAGIC && (HEAD..=LEN_MAX).contains(&len)).then_some(len)
}

/// The record at the beginning of `bytes`. `None` if there is no whole and undamaged one.
pub(crate) fn decode(bytes: &Bytes, key: u32) -> Option<Decoded> {
    let len = len(bytes)?;
    if bytes.len() < len {
        return None;
    }
    let mut rest = bytes.slice(..len);
    if checksum(&rest, key) != u32::from_le_bytes(rest[8..12].try_into().ok()?) {
        return None;
    }
    rest.advance(12);
    let (seq, previous, time) = (rest.get_u64_le(), rest.get_u64_le(), rest.get_u64_le());
    let (flags, topics) = (rest.get_u8(), rest.get_u16_le());
    let topics = (0..topics).map(|_| Topic::try_from(take(&mut rest)?.as_str()).ok());
    let topics = topics.collect::<Option<Box<[_]>>>()?;
    let id = match flags & HAS_ID {
        0 => None,
        _ => Some(EventId::try_from(take(&mut rest)?.as_str()).ok()?),
    };
    let mut key = None;
    if flags & HAS_KEY != 0 {
        let name = take(&mut rest)?;
        let content = rest.get(..16)?.try_into().ok()?;
        rest.advance(16);
        let publisher = match flags & HAS_PUBLISHER {
            0 => None,
            _ => Some(take(&mut rest)?.into()),
        };
        key = Some(StoredKey { publisher, key: name.into(), content });
    }
    let record = StoredRecord {
        seq,
        time,
        topics,
        private: flags & PRIVATE != 0,
        sends_position: flags & SENDS_POSITION != 0,
        id,
        key,
        chunk: rest,
    };
    Some(Decoded { record, previous, len })
}

fn take(rest: &mut Bytes) -> Option<String> {
    if rest.len() < 4 {
        return None;
    }
    let len = rest.get_u32_le() as usize;
    if rest.len() < len {
        return None;
    }
    String::from_utf8(rest.split_to(len).to_vec()).ok()
}
