//! Free ports for private servers.
//!
//! Below 32768, because above the kernel hands them out to outgoing connections; and starting at a place that differs
//! from checkout to checkout, so that two of them rarely look at the same ports at the same moment.

use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

const FIRST: u16 = 20_000;
const BLOCK: u16 = 10;
const BLOCKS: u16 = 1_000;

/// Can we listen there?
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The first port of `count` free ones in a row, at a place that `key` decides.
pub fn block(key: &Path, count: u16) -> Result<u16> {
    block_where(key, count, is_free)
}

fn block_where(key: &Path, count: u16, free: impl Fn(u16) -> bool) -> Result<u16> {
    let start = u16::try_from(hash(key) % u64::from(BLOCKS)).unwrap_or_default();
    (0..BLOCKS)
        .map(|step| FIRST + (start + step) % BLOCKS * BLOCK)
        .find(|base| (0..count).all(|offset| free(base + offset)))
        .map_or_else(
            || bail!("no free ports on 127.0.0.1 between 20000 and 30000: stop what uses them"),
            Ok,
        )
}

/// `preferred` if it is free, else the next free one.
pub fn at_or_after(preferred: u16) -> Result<u16> {
    match (preferred..preferred.saturating_add(100)).find(|port| is_free(*port)) {
        Some(port) => Ok(port),
        None => bail!("no free port on 127.0.0.1 from {preferred} on: stop what uses them"),
    }
}

/// One that is free now.
pub fn any() -> Result<u16> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|any| any.local_addr());
    Ok(free.context("no free port on 127.0.0.1")?.port())
}

/// FNV-1a: the same on every machine and with every compiler.
pub fn hash(key: &Path) -> u64 {
    key.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_free_as_a_whole_and_below_the_ephemeral_range() {
        let key = Path::new("/some/checkout/.services/run");
        let first = block_where(key, 4, |_| true).unwrap();
        assert!((FIRST..30_000).contains(&first));
        let next = block_where(key, 4, |port| port != first + 3).unwrap();
        assert_eq!(next, FIRST + (first - FIRST + BLOCK) % (BLOCKS * BLOCK));
        assert!(block_where(key, 4, |_| false).is_err());
    }

    #[test]
    fn two_checkouts_start_at_different_places() {
        let one = block_where(Path::new("/a/.services/run"), 4, |_| true).unwrap();
        let two = block_where(Path::new("/b/.services/run"), 4, |_| true).unwrap();
        assert_ne!(one, two);
    }

    #[test]
    fn a_busy_port_is_passed_over() {
        let busy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = busy.local_addr().unwrap().port();
        assert!(!is_free(port));
        assert!(at_or_after(port).unwrap() > port);
    }
}
