//! Which addresses and URLs may be reached: the public internet, and what the operator allows besides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use reqwest::Url;

/// Longest URL, in characters.
pub const URL_MAX: usize = 2_000;

/// Networks of IPv4 that are nobody's, everybody's or this machine's own: the union of what Svix and Hook0 refuse,
/// after the IANA registry of special-purpose addresses (RFC 6890).
const SPECIAL_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, and with it the metadata services of the clouds.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved, broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Parts of 2000::/3, the only routed part of IPv6, that lead to nobody: protocol assignments with Teredo, and the
/// two networks for documentation.
const SPECIAL_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn starts_v4(ip: Ipv4Addr, (network, bits): (Ipv4Addr, u32)) -> bool {
    (ip.to_bits() ^ network.to_bits()) >> (32 - bits) == 0
}

fn starts_v6(ip: Ipv6Addr, (network, bits): (Ipv6Addr, u32)) -> bool {
    (ip.to_bits() ^ network.to_bits()) >> (128 - bits) == 0
}

/// An IPv4 address inside an IPv6 one, and whether packets really travel to it that way.
fn embedded(ip: Ipv6Addr) -> Option<(Ipv4Addr, bool)> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match (a, b, c, d, e, f) {
        // Mapped: the system connects to the IPv4 address itself.
        (0, 0, 0, 0, 0, 0xffff) => Some((v4(g, h), true)),
        // NAT64 (RFC 6052).
        (0x64, 0xff9b, 0, 0, 0, 0) => Some((v4(g, h), true)),
        // 6to4 (RFC 3056).
        (0x2002, ..) => Some((v4(b, c), true)),
        // "Compatible" (RFC 4291, long abandoned); ::1 and :: are of this form too.
        (0, 0, 0, 0, 0, 0) => Some((v4(g, h), false)),
        _ => None,
    }
}

/// Does the address belong to the public internet?
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !SPECIAL_V4.iter().any(|network| starts_v4(ip, *network)),
        IpAddr::V6(ip) => match embedded(ip) {
            Some((v4, travels)) => travels && is_public(v4.into()),
            None => ip.segments()[0] >> 13 == 1 && !SPECIAL_V6.iter().any(|network| starts_v6(ip, *network)),
        },
    }
}

/// Has the operator allowed the address, in whatever way it is written?
pub fn is_allowed(ip: IpAddr, allow: &[IpNet]) -> bool {
    let inner = match ip {
        IpAddr::V6(v6) => embedded(v6).filter(|(_, travels)| *travels).map(|(v4, _)| IpAddr::V4(v4)),
        IpAddr::V4(_) => None,
    };
    allow.iter().any(|net| net.contains(&ip) || inner.is_some_and(|inner| net.contains(&inner)))
}

/// What a URL may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// https on its usual port: public addresses and allowed ones.
    Anywhere,
    /// http, or another port: allowed addresses only.
    AllowedOnly,
}

/// Reads a URL and refuses what can be known to be wrong without asking the name service.
///
/// # Errors
/// A sentence for the person who typed it.
pub(super) fn check(text: &str, allow: &[IpNet]) -> Result<(Url, Reach), String> {
    if text.chars().count() > URL_MAX {
        return Err(format!("Keep the address to {URL_MAX} characters."));
    }
    // The URL standard drops tabs and line breaks silently; nobody types them on purpose.
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("Write the address without spaces and line breaks.".into());
    }
    let url = Url::parse(text).map_err(|_| "Write a full address, such as https://example.com/hook.".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("The address must begin with https://.".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("Leave user name and password out of the address; send a header instead.".into());
    }
    // Longer in its escaped form than as typed: what is kept and sent is this one.
    if url.as_str().len() > URL_MAX {
        return Err(format!("Keep the address to {URL_MAX} characters."));
    }
    let usual = url.scheme() == "https" && url.port().is_none();
    let reach = if usual { Reach::Anywhere } else { Reach::AllowedOnly };
    if reach == Reach::AllowedOnly && allow.is_empty() {
        return Err(if url.scheme() == "http" {
            "The address must begin with https://.".into()
        } else {
            "Use the usual port of https, 443: leave the port out.".into()
        });
    }
    match host_ip(&url) {
        Some(ip) => judge(ip, reach, allow).map_err(|()| refusal(&url, reach))?,
        None => match url.host_str() {
            None | Some("" | ".") => return Err("Write a full address, such as https://example.com/hook.".into()),
            Some(_) if names_private(&url, allow) => return Err(refusal(&url, reach)),
            Some(_) => {}
        },
    }
    Ok((url, reach))
}

/// Does the URL name a host that only a private network has?
pub(super) fn names_private(url: &Url, allow: &[IpNet]) -> bool {
    if let Some(ip) = host_ip(url) {
        return judge(ip, Reach::Anywhere, allow).is_err();
    }
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let own = host == "localhost" || host.ends_with(".localhost");
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    own && !loopback.iter().any(|ip| is_allowed(*ip, allow))
}

pub(super) fn judge(ip: IpAddr, reach: Reach, allow: &[IpNet]) -> Result<(), ()> {
    if is_allowed(ip, allow) || (reach == Reach::Anywhere && is_public(ip)) { Ok(()) } else { Err(()) }
}

/// The address that is written in a URL instead of a name. The URL standard has turned 0x7f.1, 127.1 and 2130706433
/// into 127.0.0.1 by now.
pub(super) fn host_ip(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// Why a host is not reached. Says nothing of where a name leads: that may be somebody's private network.
pub(super) fn refusal(url: &Url, reach: Reach) -> String {
    let host = url.host_str().unwrap_or_default();
    match reach {
        Reach::Anywhere => format!("{host} is not an address of the public internet."),
        Reach::AllowedOnly if url.scheme() == "http" => format!("http:// is not allowed for {host}; use https://."),
        Reach::AllowedOnly => format!("Only the usual port of https, 443, is allowed for {host}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(text: &[&str]) -> Vec<IpNet> {
        text.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn the_public_internet() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001:80b::200e",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn allowed_networks_in_every_spelling() {
        let nets = allow(&["127.0.0.0/8", "fd00::/8"]);
        for ip in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "fd00::7"] {
            assert!(is_allowed(ip.parse().unwrap(), &nets), "{ip}");
        }
        for ip in ["10.0.0.1", "::1", "::127.0.0.1", "fe80::1", "8.8.8.8"] {
            assert!(!is_allowed(ip.parse().unwrap(), &nets), "{ip}");
        }
    }

    /// Each spelling that some parser somewhere takes for this machine, or for the metadata service.
    const SPELLINGS: &[&str] = &[
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "0x7f.1",
        "0x7f.0x0.0x0.0x1",
        "0x7f000001",
        "0x7F000001",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0177.0.0.01",
        "127.0.0.1%2e",
        "127%2e0%2e0%2e1",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "0",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::127.0.0.1]",
        "[::7f00:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::FFFF:7F00:0001]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "evil.localhost",
        "ｌocalhost",
        "169.254.169.254",
        "169.254.169.254.",
        "169.254.43518",
        "169.16689662",
        "0xa9fea9fe",
        "0xa9.0xfe.0xa9.0xfe",
        "2852039166",
        "025177524776",
        "0251.0376.0251.0376",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[::ffff:10.0.0.1]",
        "10.1",
        "192.168.257",
    ];

    #[test]
    fn every_spelling_of_an_inner_address_is_refused() {
        for host in SPELLINGS {
            for nets in [vec![], allow(&["172.20.0.0/16"])] {
                for url in [format!("https://{host}/"), format!("http://{host}/"), format!("https://{host}:8443/")] {
                    assert!(check(&url, &nets).is_err(), "{url}");
                }
            }
        }
        // A scope inside the brackets is no URL at all.
        assert!(check("https://[fe80::1%25eth0]/", &allow(&["fe80::/10"])).is_err());
    }

    #[test]
    fn addresses_that_are_fine() {
        for url in
            ["https://example.com", "https://example.com:443/a?b=c#d", "https://8.8.8.8/", "https://münchen.example/ü"]
        {
            assert_eq!(check(url, &[]).unwrap().1, Reach::Anywhere, "{url}");
        }
        let nets = allow(&["127.0.0.0/8"]);
        for url in [
            "http://127.0.0.1:4000/x",
            "http://127.1",
            "http://localhost:9",
            "http://waha:3000",
            "https://a.example:8443",
        ] {
            assert_eq!(check(url, &nets).unwrap().1, Reach::AllowedOnly, "{url}");
        }
        assert_eq!(check("https://127.0.0.1/", &nets).unwrap().1, Reach::Anywhere);
    }

    #[test]
    fn says_what_is_wrong() {
        let says = |url: &str| check(url, &[]).unwrap_err();
        insta::assert_snapshot!(
            [
                "", "example.com", "/hook", "https://", "ftp://example.com", "javascript:alert(1)", "http://example.com",
                "https://example.com:80", "https://example.com:8443", "https://me:pass@example.com", "https://me@example.com",
                "https://exa mple.com", "https://example.com/\n", "https://10.0.0.1", "https://[::1]/", "https://localhost",
            ]
            .map(|url| format!("{url:?}: {}", says(url)))
            .join("\n"),
            @r#"
        "": Write a full address, such as https://example.com/hook.
        "example.com": Write a full address, such as https://example.com/hook.
        "/hook": Write a full address, such as https://example.com/hook.
        "https://": Write a full address, such as https://example.com/hook.
        "ftp://example.com": The address must begin with https://.
        "javascript:alert(1)": The address must begin with https://.
        "http://example.com": The address must begin with https://.
        "https://example.com:80": Use the usual port of https, 443: leave the port out.
        "https://example.com:8443": Use the usual port of https, 443: leave the port out.
        "https://me:pass@example.com": Leave user name and password out of the address; send a header instead.
        "https://me@example.com": Leave user name and password out of the address; send a header instead.
        "https://exa mple.com": Write the address without spaces and line breaks.
        "https://example.com/\n": Write the address without spaces and line breaks.
        "https://10.0.0.1": 10.0.0.1 is not an address of the public internet.
        "https://[::1]/": [::1] is not an address of the public internet.
        "https://localhost": localhost is not an address of the public internet.
        "#
        );
        assert_eq!(says(&format!("https://example.com/{}", "x".repeat(2_000))), "Keep the address to 2000 characters.");
        assert_eq!(says(&format!("https://example.com/{}", "ü".repeat(700))), "Keep the address to 2000 characters.");
        assert_eq!(
            check("http://8.8.8.8", &allow(&["127.0.0.0/8"])).unwrap_err(),
            "http:// is not allowed for 8.8.8.8; use https://."
        );
    }
}
