//! The number of open connections of a server, whether hyper or a shard has them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::limits;

#[derive(Default)]
pub(crate) struct ConnectionCount {
    count: AtomicUsize,
    /// Those from addresses that are limited.
    by_address: Mutex<HashMap<IpAddr, usize>>,
    /// Notified when a connection ends.
    decreased: Notify,
}

/// Counts one connection from its creation until it is dropped.
pub(crate) struct ConnectionGuard {
    count: Arc<ConnectionCount>,
    /// The address for which it counts, if that is limited.
    address: Option<IpAddr>,
}

impl ConnectionCount {
    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until a connection may have ended, at most [`limits::ACCEPT_PAUSE`]. A notification
    /// wakes one waiter only, so that the other one has to look by itself.
    pub(crate) async fn wait_for_decrease(&self) {
        drop(timeout(limits::ACCEPT_PAUSE, self.decreased.notified()).await);
    }

    /// Waits until no connection is open.
    pub(crate) async fn wait_for_zero(&self) {
        while self.get() > 0 {
            self.wait_for_decrease().await;
        }
    }
}

impl ConnectionGuard {
    pub(crate) fn new(count: &Arc<ConnectionCount>) -> Self {
        count.count.fetch_add(1, Ordering::Relaxed);
        Self { count: Arc::clone(count), address: None }
    }

    /// Counts a connection from this address. `None` if as many are open as `limit` allows.
    pub(super) fn with_limit(
        count: &Arc<ConnectionCount>,
        address: IpAddr,
        limit: Option<usize>,
    ) -> Option<Self> {
        let Some(limit) = limit else { return Some(Self::new(count)) };
        let address = client_network(address);
        let mut by_address = count.by_address();
        let of_address = by_address.get(&address).copied().unwrap_or_default();
        if of_address >= limit {
            return None;
        }
        by_address.insert(address, of_address + 1);
        drop(by_address);
        let mut guard = Self::new(count);
        guard.address = Some(address);
        Some(guard)
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            let mut by_address = self.count.by_address();
            if let Entry::Occupied(mut of_address) = by_address.entry(address) {
                *of_address.get_mut() -= 1;
                if *of_address.get() == 0 {
                    of_address.remove();
                }
            }
        }
        self.count.count.fetch_sub(1, Ordering::Release);
        self.count.decreased.notify_one();
    }
}

/// The network that counts as one address: an IPv4 address, or the /64 of an IPv6 address, which
/// providers assign to one customer.
fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
    }
}
