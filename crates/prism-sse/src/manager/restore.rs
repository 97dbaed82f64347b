//! What a manager takes from its store when it starts.

use super::idempotency::DigestHasher;
use super::settings::ManagerSettings;
use super::state::State;
use super::writer::unix_millis;
use crate::limits;
use crate::store::{PageQuery, Store};

/// Fills the window with the newest records that a store has. What cannot be read now is read from
/// the store when somebody asks for it.
pub(super) fn restore(
    state: &mut State,
    store: &dyn Store,
    settings: &ManagerSettings,
    digests: &DigestHasher,
    now: u64,
) {
    // What is too old is not read again. It is tried again later if that fails.
    let retention = settings.history.clone().unwrap_or_default();
    drop(store.trim(&retention, unix_millis()));
    state.log.set_store_floor(store.floor());
    let restored = store.restored();
    if restored.epochs.is_empty() {
        return;
    }
    let bytes = settings.window_bytes.unwrap_or(limits::WINDOW_BYTES) as u64;
    let begin = store.tail(bytes).unwrap_or(restored.last);
    state.log.restore(&restored.epochs, begin);
    let unix_now = unix_millis();
    let mut after = begin;
    while after < restored.last {
        let query = PageQuery {
            after,
            topics: None,
            broadcasts: true,
            max_records: limits::CHUNK_RECORDS,
            max_bytes: limits::FRAME_BYTES,
        };
        let page = store.page(query);
        let Ok(page) = page else { break };
        if let Some(missing) = page.missing {
            // What is older stays in the store, which tells the gap to those who read it.
            state.log.drop_history(missing.until);
        }
        let first = page.missing.map_or(0, |missing| missing.until + 1);
        for record in page.records.into_iter().filter(|record| record.seq >= first) {
            let at = now.saturating_sub(unix_now.saturating_sub(record.time));
            if let Some(key) = &record.key {
                state.keys.applied(digests.of_stored(key), record.seq, at);
            }
            state.restore(record, at);
        }
        if page.until <= after {
            break;
        }
        after = page.until;
    }
    if restored.is_intact {
        state.log.advance_applied(restored.reserved);
    } else {
        // The end of the order was lost: the store tells that to those who read up to there.
        state.log.drop_history(restored.reserved);
    }
}
