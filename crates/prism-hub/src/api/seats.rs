//! How many connections there are, in all and from each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Limits;

/// Seats for connections; those who have one keep it until they are gone.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: u64,
    by_address: HashMap<IpAddr, u64>,
}

/// A seat, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    address: Option<IpAddr>,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Everybody together has too many.
    All,
    /// This address has too many.
    Address,
}

impl Seats {
    /// Takes a seat for somebody at this address.
    pub(super) fn take(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<Seat, Full> {
        let address = address.map(network);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if limits.max_connections.is_some_and(|max| taken.all >= max) {
            return Err(Full::All);
        }
        if let Some(address) = address {
            let here = taken.by_address.get(&address).copied().unwrap_or_default();
            if limits.max_connections_per_ip.is_some_and(|max| here >= max) {
                return Err(Full::Address);
            }
            taken.by_address.insert(address, here + 1);
        }
        taken.all += 1;
        Ok(Seat { seats: Arc::clone(self), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        let Some(address) = self.address else { return };
        if let Some(here) = taken.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// What one customer has: an address of IPv4, or a /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
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
    fn a_seat_is_free_again_when_it_is_left() {
        let args = ["--dev", "--max-connections", "3", "--max-connections-per-ip", "2"];
        let limits = Config::from_args(args).unwrap().limits;
        let seats = Arc::new(Seats::default());
        let take = |address: &str| seats.take(address.parse().ok(), &limits);
        let first = take("10.0.0.1").unwrap();
        let _second = take("::ffff:10.0.0.1").unwrap();
        assert_eq!(take("10.0.0.1").unwrap_err(), Full::Address);
        let third = take("2001:db8::1").unwrap();
        assert_eq!(take("2001:db8::2").unwrap_err(), Full::All);
        drop((first, third));
        let _fourth = take("10.0.0.1").unwrap();
        assert_eq!(seats.0.lock().unwrap().by_address.len(), 1, "nobody is remembered who left");
    }
}
