//! From where a request comes: the peer, or what a proxy of ours says of it.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr as _;

use axum::http::HeaderMap;

/// More hops than any honest request has.
const HOPS_MAX: usize = 16;
/// A network of IPv6 that one household or machine commonly gets (RFC 6177): its owner can use any address of it.
const IPV6_PREFIX: u32 = 56;

/// The peer of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The addresses of the proxies before us (`TRUSTED_PROXIES`): they are believed what they say in `X-Forwarded-For`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

/// An address, or all that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Proxies {
    /// Reads `10.0.0.0/8, 2001:db8::1`.
    ///
    /// # Errors
    /// What is neither an address nor a network.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty());
        entries
            .map(Network::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether it is one of ours.
    #[must_use]
    pub fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.includes(address))
    }

    /// Who asked: the last one in the chain that is not ours. What stands before it in the header is anybody's invention.
    #[must_use]
    pub fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.include(peer) {
            return peer;
        }
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        let mut caller = peer;
        for hop in hops.take(HOPS_MAX) {
            let Some(hop) = read_hop(hop.trim()) else {
                break;
            };
            caller = hop;
            if !self.include(hop) {
                break;
            }
        }
        caller
    }
}

impl Proxies {
    /// Whether a peer of a private network says who asked, and nobody told us to believe it: a proxy of ours, most likely.
    #[must_use]
    pub fn are_missing(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let near = match peer.to_canonical() {
            IpAddr::V4(peer) => peer.is_loopback() || peer.is_private(),
            IpAddr::V6(peer) => peer.is_loopback() || peer.is_unique_local(),
        };
        near && headers.contains_key("x-forwarded-for") && !self.include(peer)
    }
}

/// An address, with or without a port.
fn read_hop(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| {
        let with_port = std::net::SocketAddr::from_str(text).ok();
        let with_port = with_port.map(|address| address.ip());
        with_port.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
    });
    address.map(|address: IpAddr| address.to_canonical())
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("has {text:?}; write addresses or networks such as 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u32 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), |prefix| {
            prefix.parse::<u32>().map_err(|_| wrong())
        })?;
        if prefix > bits {
            return Err(wrong());
        }
        // Peers are told as what they are: so are networks.
        let canonical = address.to_canonical();
        let prefix = if canonical.is_ipv4() && address.is_ipv6() {
            prefix.checked_sub(128 - 32).ok_or_else(wrong)?
        } else {
            prefix
        };
        Ok(Self {
            address: canonical,
            prefix,
        })
    }

    fn includes(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let other = ours.to_bits() ^ theirs.to_bits();
                other.leading_zeros() >= self.prefix
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let other = ours.to_bits() ^ theirs.to_bits();
                other.leading_zeros() >= self.prefix
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// What is counted together: an IPv4 address, or a network of IPv6.
#[must_use]
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::MAX << (Ipv6Addr::BITS - IPV6_PREFIX);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & network))
        }
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn caller(proxies: &str, peer: &str, lines: &[&str]) -> String {
        let lines = lines
            .iter()
            .map(|line| ("x-forwarded-for".parse().unwrap(), line.parse().unwrap()));
        let headers: HeaderMap = lines.collect();
        let proxies = Proxies::parse(proxies).unwrap();
        proxies.caller(ip(peer), &headers).to_string()
    }

    #[test]
    fn only_a_proxy_of_ours_is_believed_and_only_its_own_words() {
        let ours = "10.0.0.0/8, 2001:db8::/32";
        for (peer, lines, expected) in [
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", &["198.51.100.7:1234"], "198.51.100.7"),
            ("2001:db8::5", &["[2001:db9::1]:80"], "2001:db9::1"),
            (
                "10.0.0.1",
                &["203.0.113.9, 198.51.100.7, 10.1.1.1"],
                "198.51.100.7",
            ),
            (
                "10.0.0.1",
                &["203.0.113.9", "198.51.100.7", "10.1.1.1"],
                "198.51.100.7",
            ),
            // What cannot be read says nothing: it is the proxy's.
            ("10.0.0.1", &["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, , 10.1.1.1"], "10.1.1.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(caller(ours, peer, lines), expected, "{peer} {lines:?}");
        }
        assert_eq!(caller("", "10.0.0.1", &["198.51.100.7"]), "10.0.0.1");
        let endless = "10.0.0.2,".repeat(1_000);
        assert_eq!(caller(ours, "10.0.0.1", &[&endless]), "10.0.0.1");
    }

    #[test]
    fn networks_are_read_and_compared_by_their_bits() {
        let proxies = Proxies::parse("10.1.0.0/15, 192.0.2.1,fd00::/8").unwrap();
        for (address, ours) in [
            ("10.0.255.255", true),
            ("10.1.0.0", true),
            ("10.2.0.0", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(proxies.include(ip(address)), ours, "{address}");
        }
        let mapped = Proxies::parse("::ffff:10.0.0.0/104").unwrap();
        assert!(mapped.include(ip("10.1.2.3")) && !mapped.include(ip("11.1.2.3")));
        assert!(Proxies::parse("0.0.0.0/0").unwrap().include(ip("1.2.3.4")));
        assert_eq!(Proxies::parse(""), Ok(Proxies::default()));
        for wrong in [
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "::ffff:10.0.0.0/95",
            "proxy.example",
            "10.0.0.0/-1",
        ] {
            assert!(Proxies::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_proxy_that_is_not_believed_is_noticed() {
        let headers: HeaderMap = [(
            "x-forwarded-for".parse().unwrap(),
            "192.0.2.1".parse().unwrap(),
        )]
        .into_iter()
        .collect();
        let (nobody, ours) = (Proxies::default(), Proxies::parse("10.0.0.0/8").unwrap());
        assert!(nobody.are_missing(ip("10.0.0.1"), &headers));
        assert!(nobody.are_missing(ip("::1"), &headers));
        assert!(!ours.are_missing(ip("10.0.0.1"), &headers));
        assert!(
            !nobody.are_missing(ip("192.0.2.1"), &headers),
            "anybody's invention"
        );
        assert!(!nobody.are_missing(ip("10.0.0.1"), &HeaderMap::new()));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        assert_eq!(counted_as(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1::"));
        assert_eq!(counted_as(ip("2001:db8:1:102::1")), ip("2001:db8:1:100::"));
        assert_eq!(counted_as(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
        assert_eq!(counted_as(ip("192.0.2.1")), ip("192.0.2.1"));
    }
}
