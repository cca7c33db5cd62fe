//! Who is calling, when proxies stand in between.
//!
//! `X-Forwarded-For` can be written by anybody, so it counts only as far as trusted proxies vouch for it: from the
//! right, each proxy names who called it; the first address that is not a trusted proxy's is the caller.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The caller's address, IPv4-mapped ones as plain IPv4.
pub fn client(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    // Without a connection (in tests) nobody is trusted: this address is on no list.
    let peer =
        extensions.get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip());
    behind(peer, headers, trusted)
}

fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
    let mut caller = peer.to_canonical();
    if trusted.is_empty() || !is_trusted(caller) {
        return caller;
    }
    // Several header lines are one list, in order.
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        let Ok(line) = line.to_str() else { return caller };
        for hop in line.rsplit(',') {
            let Some(ip) = parse(hop.trim()) else { return caller };
            caller = ip;
            if !is_trusted(ip) {
                return caller;
            }
        }
    }
    caller
}

/// `203.0.113.9`, `203.0.113.9:4711`, `2001:db8::1`, `[2001:db8::1]:4711`
fn parse(hop: &str) -> Option<IpAddr> {
    let ip = hop
        .parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|addr| addr.ip()))
        .or_else(|_| hop.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>());
    ip.ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        behind(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(call("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "anybody can write the header");
        assert_eq!(call("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(call("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            call("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.9.9.9"]),
            "198.51.100.1",
            "what the caller wrote does not count"
        );
        assert_eq!(call("10.0.0.1", &["1.1.1.1", "198.51.100.1:80"]), "198.51.100.1", "lines are one list");
        assert_eq!(
            call("10.0.0.1", &["198.51.100.1, nonsense"]),
            "10.0.0.1",
            "nobody vouches for what stands left of nonsense"
        );
        assert_eq!(call("2001:db8::5", &["[2606:4700::1]:443"]), "2606:4700::1");
        assert_eq!(call("::ffff:10.0.0.1", &["::ffff:198.51.100.1"]), "198.51.100.1");
        assert_eq!(call("10.0.0.1", &["10.1.1.1, 10.2.2.2"]), "10.1.1.1", "a chain of proxies only: its far end");
    }
}
