//! The address by which a client's connections are counted.
//!
//! Connections that share a proxy share its address, and a limit for it would refuse them all. So a
//! peer at a loopback or private address, where proxies are, is not counted. A proxy that the
//! setting `trusted-proxy` names is believed what it says of its client: in `X-Forwarded-For`, or,
//! if that is missing, in `Forwarded` (RFC 7239). Both lists grow at the right, so that the client
//! is the rightmost address that is no trusted proxy itself; what is left of it may be made up.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;

use crate::config::Network;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that a connection is counted by. `None` if it is counted by none.
pub(super) fn client_address(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    trusted: &[Network],
) -> Option<IpAddr> {
    let peer = peer?.to_canonical();
    if is_trusted(trusted, peer) {
        return told_address(headers, trusted);
    }
    (!is_local(peer)).then_some(peer)
}

fn told_address(headers: &HeaderMap, trusted: &[Network]) -> Option<IpAddr> {
    let is_client = |address: &Option<IpAddr>| {
        // What cannot be read is no trusted proxy either, and ends the search.
        address.is_none_or(|address| !is_trusted(trusted, address))
    };
    let elements = |name| {
        let lines = headers.get_all(name).iter().rev();
        lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',').map(str::trim))
    };
    if headers.contains_key(X_FORWARDED_FOR) {
        let mut told = elements(X_FORWARDED_FOR).map(node_address);
        return told.find(is_client)?;
    }
    let mut told = elements(FORWARDED.as_str()).map(forwarded_for);
    told.find(is_client)?
}

/// The address in the parameter `for` of an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let node = element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    })?;
    node_address(node.trim_matches('"'))
}

/// An address as proxies write it: with or without a port, and IPv6 with or without brackets.
fn node_address(node: &str) -> Option<IpAddr> {
    let in_brackets = || node.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let address = node.parse::<IpAddr>().ok().or_else(|| in_brackets().map(IpAddr::V6));
    let address = address.or_else(|| node.parse().ok().map(|address: SocketAddr| address.ip()));
    address.map(|address| address.to_canonical())
}

fn is_trusted(trusted: &[Network], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// Whether an address is only used within a machine or a private network.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_counted_unless_proxies_may_be_at_its_address() {
        let counted = |peer: &str| {
            let headers = headers(&[("x-forwarded-for", "198.51.100.9")]);
            client_address(Some(peer.parse().unwrap()), &headers, &[])
        };
        for local in ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1"] {
            assert_eq!(counted(local), None, "{local}");
            assert_eq!(counted(&format!("::ffff:{local}")), None, "{local}");
        }
        for local in ["::1", "fd00::1", "fe80::1"] {
            assert_eq!(counted(local), None, "{local}");
        }
        for public in ["192.0.2.1", "172.32.0.1", "2001:db8::1"] {
            assert_eq!(counted(public), Some(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_believed_the_rightmost_address_that_is_no_trusted_proxy() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| Network::parse(text).unwrap());
        let told = |lines: &[(&'static str, &str)]| {
            let peer = "10.0.0.1".parse().ok();
            client_address(peer, &headers(lines), &trusted).map(|address| address.to_string())
        };
        for (lines, client) in [
            (&[][..], None),
            (&[("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "1.1.1.1, 192.0.2.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "1.1.1.1,192.0.2.1 , 10.9.9.9")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "192.168.7.7")], Some("192.168.7.7")),
            (&[("x-forwarded-for", "192.0.2.1:4711")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "[2001:db9::1]:4711")], Some("2001:db9::1")),
            (&[("x-forwarded-for", "1.1.1.1, unknown")], None),
            (&[("x-forwarded-for", "1.1.1.1, ")], None),
            (&[("x-forwarded-for", "10.2.2.2")], None),
            (
                &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.1")],
                Some("192.0.2.1"),
            ),
            (&[("forwarded", "for=192.0.2.1")], Some("192.0.2.1")),
            (
                &[("forwarded", "for=1.1.1.1, For=\"[2001:db9::1]:80\";proto=https")],
                Some("2001:db9::1"),
            ),
            (&[("forwarded", "for=192.0.2.1, proto=http;for=10.3.3.3")], Some("192.0.2.1")),
            (&[("forwarded", "for=1.1.1.1, for=_hidden")], None),
            (&[("forwarded", "for=1.1.1.1, proto=https")], None),
            (&[("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1")),
        ] {
            assert_eq!(told(lines).as_deref(), client, "{lines:?}");
        }
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }
}
