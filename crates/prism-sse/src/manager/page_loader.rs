//! The threads that read pages from the store, and wake those who wait for them.

use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use super::inner::ManagerInner;
use super::pages::{LoadedPage, Pages};
use crate::limits;
use crate::store::Store;
use crate::wire::ConnectionId;

/// Starts the threads of a manager. They end with [`Pages::end`].
pub(super) fn start(
    manager: &Arc<ManagerInner>,
    store: &Arc<dyn Store>,
    pages: &Arc<Pages>,
) -> Vec<JoinHandle<()>> {
    let start = |number| {
        let (manager, store) = (Arc::downgrade(manager), Arc::clone(store));
        let pages = Arc::clone(pages);
        let name = format!("prism-pages-{number}");
        thread::Builder::new().name(name).spawn(move || load(&manager, &*store, &pages)).ok()
    };
    (0..limits::PAGE_THREADS).filter_map(start).collect()
}

fn load(manager: &Weak<ManagerInner>, store: &dyn Store, pages: &Pages) {
    while let Some(key) = pages.next_request() {
        match store.page(key.query()) {
            Ok(page) => {
                let waiting = pages.insert(key, LoadedPage::new(page));
                let Some(manager) = manager.upgrade() else { return };
                wake(&manager, &waiting);
            }
            Err(_) => {
                // The store may be able to read again in a moment.
                thread::sleep(limits::STORE_RETRY_MIN);
                pages.put_back(key);
            }
        }
    }
}

/// Wakes connections, some of which may have ended.
fn wake(manager: &ManagerInner, connections: &[ConnectionId]) {
    for &connection in connections {
        // One at a time, so that the lock is never held for long.
        let mut state = manager.lock();
        if let Some(slot) = state.find_any(connection) {
            state.schedule(slot);
        }
    }
    manager.wake();
}
