//! Which addresses a request may reach.
//!
//! Runbooks of operators talk to private networks and to this machine; what they must not reach by an
//! address slipped into a param are the metadata services of clouds, which hand out credentials to
//! whoever asks, and addresses that mean nothing between machines.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use reqwest::Url;

/// Refused unless it is allowed by name.
const REFUSED: &[&str] = &[
    // "This host": reaches loopback in disguise.
    "0.0.0.0/8",
    "::/128",
    // Link-local; the metadata services of AWS, Google, Azure, OpenStack, DigitalOcean.
    "169.254.0.0/16",
    "fe80::/10",
    "fec0::/10",
    // The same of AWS and Google over IPv6, of Alibaba, of Oracle, and Azure's wire server.
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "100.100.100.200/32",
    "192.0.0.192/32",
    "168.63.129.16/32",
    // Multicast, reserved, broadcast.
    "224.0.0.0/4",
    "240.0.0.0/4",
    "ff00::/8",
];

/// Refuses addresses.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    refused: Vec<Network>,
    allowed: Vec<Network>,
}

/// Where the request was going.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("requests to {address} are not allowed (host `{host}`)")]
pub(super) struct Forbidden {
    pub host: String,
    pub address: IpAddr,
}

impl Guard {
    /// Refuses the networks that nobody should reach and `refused`, except where `allowed` says otherwise.
    pub fn new(refused: &[Network], allowed: &[Network]) -> Guard {
        let known = REFUSED.iter().map(|text| {
            text.parse::<Network>().unwrap_or_else(|error| unreachable!("`{text}` is written above: {error}"))
        });
        Guard { refused: known.chain(refused.iter().copied()).collect(), allowed: allowed.to_vec() }
    }

    /// Checks a URL whose host is an address; a name is checked when it is resolved.
    pub fn check_url(&self, url: &Url) -> Result<(), Forbidden> {
        let host = url.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => self.check(host, address),
            Err(_) => Ok(()),
        }
    }

    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), Forbidden> {
        if forms(address).all(|form| self.may_reach(form)) {
            Ok(())
        } else {
            Err(Forbidden { host: host.to_owned(), address })
        }
    }

    fn may_reach(&self, address: IpAddr) -> bool {
        let within = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        within(&self.allowed) || !within(&self.refused)
    }
}

/// The address, and the IPv4 address that it carries: a gateway or the kernel may unpack it.
fn forms(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let carried = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => carried(v6).map(IpAddr::V4),
    };
    // An IPv4-mapped address is that IPv4 address and nothing else.
    let own = match (address, carried) {
        (IpAddr::V6(v6), Some(_)) if v6.to_ipv4_mapped().is_some() => None,
        _ => Some(address),
    };
    own.into_iter().chain(carried)
}

fn carried(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match s {
        // Unspecified and loopback are themselves, not 0.0.0.0 and 0.0.0.1.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Mapped, compatible, translated, NAT64 (both prefixes).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        // 6to4.
        | [0x2002, high, low, ..] => v4(high, low),
        // Teredo writes the client's address inverted.
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        _ => None,
    }
}

/// A network in the form `10.0.0.0/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network such as 10.0.0.0/8 or fd00::/8")]
pub struct ParseNetwork(String);

impl FromStr for Network {
    type Err = ParseNetwork;

    fn from_str(text: &str) -> Result<Network, ParseNetwork> {
        let wrong = || ParseNetwork(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), |prefix| prefix.parse().map_err(|_| wrong()))?;
        if prefix > longest { Err(wrong()) } else { Ok(Network { address, prefix }) }
    }
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        // A shift by the whole width has no value: then every address is inside.
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u32::from(a) ^ u32::from(b)).checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (u128::from(a) ^ u128::from(b)).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn allows(guard: &Guard, url: &str) -> bool {
        guard.check_url(&url.parse().unwrap()).is_ok()
    }

    #[test]
    fn metadata_services_are_refused_in_every_disguise() {
        let guard = Guard::new(&[], &[]);
        for host in [
            "169.254.169.254",
            "169.254.169.254.",
            "169.254.170.2",
            "2852039166",
            "0xA9FEA9FE",
            "0xa9.0xfe.0xa9.0xfe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[::169.254.169.254]",
            "[::ffff:0:169.254.169.254]",
            "[64:ff9b::169.254.169.254]",
            "[64:ff9b:1::169.254.169.254]",
            "[2002:a9fe:a9fe::1]",
            "[2001:0:1:2:3:4:5601:5601]",
            "[fe80::1]",
            "[febf::1]",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "0.0.0.0",
            "0",
            "0.1.2.3",
            "[::]",
            "224.0.0.1",
            "255.255.255.255",
            "[ff02::1]",
            "[::ffff:0.0.0.0]",
            "%31%36%39.254.169.254",
            "①⑥⑨.254.169.254",
        ] {
            assert!(!allows(&guard, &format!("http://{host}/latest/meta-data")), "{host}");
        }
    }

    #[test]
    fn operators_reach_what_they_operate() {
        let guard = Guard::new(&[], &[]);
        for host in [
            "127.0.0.1",
            "[::1]",
            "10.1.2.3",
            "192.168.1.1",
            "172.16.0.1",
            "100.64.0.1",
            "8.8.8.8",
            "[fd12::1]",
            "[2a00::1]",
            "[::ffff:127.0.0.1]",
            "169.253.255.255",
            "example.com",
        ] {
            assert!(allows(&guard, &format!("http://{host}/")), "{host}");
        }
    }

    #[test]
    fn lists_refuse_more_and_allow_exceptions() {
        let guard = Guard::new(
            &[network("127.0.0.0/8"), network("10.0.0.0/8")],
            &[network("10.9.0.0/16"), network("169.254.7.7")],
        );
        assert!(!allows(&guard, "http://127.0.0.1/"));
        assert!(!allows(&guard, "http://[::ffff:127.0.0.1]/"));
        assert!(!allows(&guard, "http://10.8.0.1/"));
        assert!(allows(&guard, "http://10.9.0.1/"));
        assert!(allows(&guard, "http://169.254.7.7/"));
        assert!(!allows(&guard, "http://169.254.7.8/"));
    }

    #[test]
    fn networks_are_read_and_hold_their_addresses() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "x/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(network("0.0.0.0/0").contains(address("1.2.3.4")));
        assert!(network("::/0").contains(address("1::")));
        assert!(!network("::/0").contains(address("1.2.3.4")));
        assert!(network("10.0.0.0/9").contains(address("10.127.0.1")));
        assert!(!network("10.0.0.0/9").contains(address("10.128.0.1")));
    }
}
