//! Connections an address: one alone must not take all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::address::{Proxies, counted_as};

/// How many connections each address holds.
#[derive(Clone, Debug)]
pub struct Seats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    /// They bring everybody's requests.
    proxies: Proxies,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's seat, until it is dropped.
#[derive(Debug)]
pub struct Seat(Option<(Arc<Inner>, IpAddr)>);

impl Seats {
    /// Half of all connections for one address at most, but for our proxies.
    #[must_use]
    pub fn new(connections_max: usize, proxies: Proxies) -> Self {
        Self(Arc::new(Inner {
            max: (connections_max / 2).max(1),
            proxies,
            held: Mutex::default(),
        }))
    }

    /// A seat, if this address may have one more.
    #[must_use]
    pub fn take(&self, peer: IpAddr) -> Option<Seat> {
        if self.0.proxies.include(peer) {
            return Some(Seat(None));
        }
        let address = counted_as(peer);
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(address).or_default();
        if *count >= self.0.max {
            return None;
        }
        *count += 1;
        Some(Seat(Some((Arc::clone(&self.0), address))))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((seats, address)) = self.0.take() else {
            return;
        };
        let mut held = seats.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_half_of_all_and_a_proxy_of_ours_any_number() {
        let proxies = Proxies::parse("10.0.0.0/8").unwrap();
        let seats = Seats::new(6, proxies);
        let take = |address: &str| seats.take(address.parse().unwrap());
        let mut held: Vec<Seat> = (0..3).map(|_| take("192.0.2.1").unwrap()).collect();
        assert!(take("192.0.2.1").is_none());
        let other = take("192.0.2.2");
        assert!(other.is_some());
        let proxied: Vec<_> = (0..10).map(|_| take("10.1.2.3")).collect();
        assert!(proxied.iter().all(Option::is_some));
        held.pop();
        assert!(take("192.0.2.1").is_some());
        drop((held, other, proxied));
        assert_eq!(seats.0.held.lock().unwrap().len(), 0);
        // The addresses of one network of IPv6 are one's own.
        let of_one: Vec<_> = (1..=4).map(|n| take(&format!("2001:db8::{n}"))).collect();
        assert!(of_one[3].is_none());
    }
}
