//! Pages of a store that readers read below the window in memory, in one cache.
//!
//! A page begins at a fixed place, so that readers of one stretch share it: of all records at each
//! multiple of [`limits::PAGE_STRIDE`], and for a reader of topics by name where that reader is. A
//! reader that waits for a page is an entry in the list of those who wait for it, and owns nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::audience::Audience;
use crate::limits;
use crate::log::{Chunk, Class, EVERYONE, Record, RecordTopic};
use crate::selector::{Selector, Topic};
use crate::store::{Missing, Page, PageQuery, StoredRecord};
use crate::wire::{ConnectionId, Framed};

/// Which page a reader asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PageKey {
    after: u64,
    /// The topics that are selected, if all are by name.
    topics: Option<Arc<[Topic]>>,
    broadcasts: bool,
}

/// A page, as readers read it: the index of a record is its sequence number.
#[derive(Debug)]
pub(crate) struct LoadedPage {
    /// `None` if there is no record.
    pub(crate) chunk: Option<Arc<Chunk>>,
    /// Every record up to here is in it.
    pub(crate) until: u64,
    pub(crate) missing: Option<Missing>,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Pages {
    state: Mutex<PagesState>,
    requested: Condvar,
}

#[derive(Debug, Default)]
struct PagesState {
    loaded: HashMap<PageKey, Arc<LoadedPage>>,
    /// The keys of `loaded`, oldest first, and some that were forgotten.
    order: VecDeque<PageKey>,
    bytes: usize,
    /// Those who wait for pages that are not loaded.
    waiting: HashMap<PageKey, Vec<ConnectionId>>,
    /// Pages that nobody loads yet.
    queue: VecDeque<PageKey>,
    ended: bool,
}

impl PageKey {
    /// The page that has the first record from sequence number `from` on that an audience reads.
    pub(crate) fn new(audience: &Audience, from: u64) -> Self {
        let by_name = !audience.selects_any() && audience.patterns().next().is_none();
        let after = from.saturating_sub(1);
        if !by_name {
            return Self {
                after: after - after % limits::PAGE_STRIDE,
                topics: None,
                broadcasts: true,
            };
        }
        let names = audience.selectors().iter().filter_map(|selector| match selector {
            Selector::Exact(topic) => Some(topic.clone()),
            _ => None,
        });
        let topics = Some(names.collect());
        Self { after, topics, broadcasts: audience.wants_broadcasts() }
    }

    pub(super) fn query(&self) -> PageQuery<'_> {
        PageQuery {
            after: self.after,
            topics: self.topics.as_deref(),
            broadcasts: self.broadcasts,
            max_records: limits::PAGE_RECORDS,
            max_bytes: limits::PAGE_BYTES,
        }
    }
}

impl LoadedPage {
    pub(super) fn new(page: Page) -> Self {
        let bytes = page.records.iter().map(size).sum();
        let records: Box<[_]> = page.records.into_iter().filter_map(record).map(Arc::new).collect();
        let chunk = (!records.is_empty()).then(|| Chunk::seal(records));
        Self { chunk, until: page.until, missing: page.missing, bytes }
    }
}

fn size(record: &StoredRecord) -> usize {
    let topics: usize = record.topics.iter().map(|topic| topic.as_str().len()).sum();
    record.chunk.len() + topics + limits::RECORD_OVERHEAD_BYTES
}

/// The record as readers of pages read it. What a store serves is what it was given.
fn record(stored: StoredRecord) -> Option<Record> {
    let framed = Framed::from_chunk(stored.chunk)?;
    // Without the manager's lock topics have names alone.
    let topic = |name| RecordTopic { key: EVERYONE, name };
    let topics = if stored.topics.is_empty() {
        [topic(None)].into()
    } else {
        stored.topics.into_iter().map(Some).map(topic).collect()
    };
    Some(Record {
        index: stored.seq,
        seq: stored.seq,
        at: 0,
        topics,
        class: Class::History,
        private: stored.private,
        ephemeral: false,
        sends_position: stored.sends_position,
        id: stored.id,
        framed,
        granting: Box::default(),
        receivers: AtomicU32::new(0),
        offset: 0,
    })
}

impl PagesState {
    fn forget(&mut self, key: &PageKey) {
        if let Some(page) = self.loaded.remove(key) {
            self.bytes -= page.bytes;
        }
    }
}

impl Pages {
    /// A page for a reader at sequence number `from`, or else which one has to be loaded.
    pub(super) fn find(&self, audience: &Audience, from: u64) -> Result<Arc<LoadedPage>, PageKey> {
        let mut state = self.lock();
        let key = PageKey::new(audience, from);
        match state.loaded.get(&key) {
            Some(page) if page.until >= from => return Ok(Arc::clone(page)),
            Some(_) => {}
            None => return Err(key),
        }
        // It ends before the reader: at damage, or because the store did when it was loaded.
        let key = PageKey { after: from.saturating_sub(1), ..key };
        match state.loaded.get(&key) {
            Some(page) if page.until >= from => return Ok(Arc::clone(page)),
            _ => state.forget(&key),
        }
        Err(key)
    }

    /// Lets a connection wait for a page. `false` if it is there already.
    pub(super) fn wait(&self, key: PageKey, connection: ConnectionId) -> bool {
        let mut state = self.lock();
        if state.loaded.contains_key(&key) {
            return false;
        }
        if let Some(waiting) = state.waiting.get_mut(&key) {
            waiting.push(connection);
        } else {
            state.waiting.insert(key.clone(), vec![connection]);
            state.queue.push_back(key);
            self.requested.notify_one();
        }
        true
    }

    /// The next page to load. `None` once the cache has ended.
    pub(super) fn next_request(&self) -> Option<PageKey> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            if let Some(key) = state.queue.pop_front() {
                return Some(key);
            }
            state = self.requested.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts a request back that failed.
    pub(super) fn put_back(&self, key: PageKey) {
        self.lock().queue.push_back(key);
    }

    /// Takes a page that was loaded. Returns those who wait for it.
    pub(super) fn insert(&self, key: PageKey, page: LoadedPage) -> Vec<ConnectionId> {
        let mut state = self.lock();
        let waiting = state.waiting.remove(&key).unwrap_or_default();
        state.forget(&key);
        state.bytes += page.bytes;
        state.loaded.insert(key.clone(), Arc::new(page));
        state.order.push_back(key);
        while state.bytes > limits::PAGE_CACHE_BYTES && state.loaded.len() > 1 {
            let Some(oldest) = state.order.pop_front() else { break };
            state.forget(&oldest);
        }
        waiting
    }

    /// Forgets pages that begin below a floor, because the store evicted records of theirs.
    pub(super) fn evict(&self, floor: u64) {
        let mut state = self.lock();
        let below: Vec<_> = state.loaded.keys().filter(|key| key.after < floor).cloned().collect();
        for key in below {
            state.forget(&key);
        }
        let PagesState { loaded, order, .. } = &mut *state;
        order.retain(|key| loaded.contains_key(key));
    }

    /// Ends those who load pages.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.requested.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, PagesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
