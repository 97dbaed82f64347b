//! Connection permits: the limits on open connections, in total and per client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Limits;

/// Gives a permit to each connection, as long as the limits allow one more.
#[derive(Debug, Default)]
pub(crate) struct ConnectionPermits(Mutex<PermitCounts>);

/// How many permits are held.
#[derive(Debug, Default)]
struct PermitCounts {
    total: u64,
    by_address: HashMap<IpAddr, u64>,
}

/// The right to one open connection; dropping it gives the permit back.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    permits: Arc<ConnectionPermits>,
    address: Option<IpAddr>,
}

/// Which limit on connections is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitReached {
    /// `max-connections`
    Total,
    /// `max-connections-per-ip`
    PerAddress,
}

impl ConnectionPermits {
    /// Takes a permit for a client at this address. A client without an address counts in the
    /// total alone.
    pub(crate) fn try_acquire(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<ConnectionPermit, LimitReached> {
        let address = address.map(client_network);
        let mut counts = self.lock();
        if limits.max_connections.is_some_and(|max| counts.total >= max) {
            return Err(LimitReached::Total);
        }
        if let Some(address) = address {
            let count = counts.by_address.get(&address).copied().unwrap_or_default();
            if limits.max_connections_per_ip.is_some_and(|max| count >= max) {
                return Err(LimitReached::PerAddress);
            }
            counts.by_address.insert(address, count + 1);
        }
        counts.total += 1;
        Ok(ConnectionPermit { permits: Arc::clone(self), address })
    }

    fn lock(&self) -> MutexGuard<'_, PermitCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.permits.lock();
        counts.total -= 1;
        let Some(address) = self.address else { return };
        if let Some(count) = counts.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}

/// The network that counts as one client: an IPv4 address, or the /64 of an IPv6 address, which
/// providers assign to one customer.
fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_dropped_permit_can_be_acquired_again() {
        let args = ["--dev", "--max-connections", "3", "--max-connections-per-ip", "2"];
        let limits = Config::from_args(args).unwrap().limits;
        let permits = Arc::new(ConnectionPermits::default());
        let acquire = |address: &str| permits.try_acquire(address.parse().ok(), &limits);
        let first = acquire("10.0.0.1").unwrap();
        let _second = acquire("::ffff:10.0.0.1").unwrap();
        assert_eq!(acquire("10.0.0.1").unwrap_err(), LimitReached::PerAddress);
        let third = acquire("2001:db8::1").unwrap();
        assert_eq!(acquire("2001:db8::2").unwrap_err(), LimitReached::Total);
        drop((first, third));
        let _fourth = acquire("10.0.0.1").unwrap();
        assert_eq!(permits.lock().by_address.len(), 1, "an address without connections is removed");
    }
}
