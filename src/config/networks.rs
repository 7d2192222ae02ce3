//! Blocks of addresses, such as those of proxies that are trusted.
//!
//! In: addresses and CIDR blocks as text. Out: whether an address lies in one of them.
//! Laws: an IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`) is the IPv4 address; a block whose address has
//! bits beyond its prefix is refused, since its writer meant another one; no block contains the unspecified address, which
//! stands for a client whose address is not known.
//! Source: RFC 4632, section 3.1 (IPv4 prefixes); RFC 4291, section 2.3 (IPv6 prefixes).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A list of blocks. The default is empty and contains no address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Networks(Vec<Network>);

/// The addresses that begin with the same bits. One address is a block whose prefix is as long as the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a block of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetworkError {
    /// The part before the slash is no IP address.
    Address,
    /// The part after the slash is no number of bits that the address has.
    Prefix,
    /// Bits beyond the prefix are set.
    Beyond(Network),
}

impl Networks {
    /// Whether one of the blocks contains the address. Costs one comparison per block.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        !address.is_unspecified() && self.0.iter().any(|network| network.contains(address))
    }

    /// The number of blocks.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The blocks, as they are written.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same_start(own.to_bits(), other.to_bits(), self.prefix),
            (IpAddr::V6(own), IpAddr::V6(other)) => same_start6(own, other, self.prefix),
            _ => false,
        }
    }

    /// The block without the bits beyond its prefix.
    fn trimmed(self) -> Self {
        let address = match self.address {
            IpAddr::V4(own) => IpAddr::V4((own.to_bits() & mask(self.prefix)).into()),
            IpAddr::V6(own) => IpAddr::V6((own.to_bits() & mask6(self.prefix)).into()),
        };
        Self { address, ..self }
    }
}

fn same_start(a: u32, b: u32, prefix: u8) -> bool {
    (a ^ b) & mask(prefix) == 0
}

fn same_start6(a: Ipv6Addr, b: Ipv6Addr, prefix: u8) -> bool {
    (a.to_bits() ^ b.to_bits()) & mask6(prefix) == 0
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0)
}

fn mask6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(prefix))).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let written: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let address = written.to_canonical();
        // The prefix of an IPv4 address that is written as IPv6 counts the 96 bits before it.
        let before = if written == address { 0 } else { 96 };
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match bits {
            None => most,
            Some(bits) if !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) => {
                let bits: u8 = bits.parse().map_err(|_| NetworkError::Prefix)?;
                bits.checked_sub(before).filter(|bits| *bits <= most).ok_or(NetworkError::Prefix)?
            }
            Some(_) => return Err(NetworkError::Prefix),
        };
        let network = Self { address, prefix };
        let trimmed = network.trimmed();
        if trimmed == network { Ok(network) } else { Err(NetworkError::Beyond(trimmed)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("not an address: write an IP address such as `10.0.0.1`, or `10.0.0.0/8`"),
            Self::Prefix => {
                f.write_str("the number behind the slash is not a prefix: write 0 to 32 for IPv4, 0 to 128 for IPv6")
            }
            Self::Beyond(network) => write!(f, "the address has bits beyond its prefix: write `{network}`"),
        }
    }
}

impl std::error::Error for NetworkError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        let networks: Networks = [network.parse().unwrap()].into_iter().collect();
        networks.contains(address.parse().unwrap())
    }

    #[test]
    fn a_block_contains_what_begins_like_it() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.168.1.4", "192.168.1.4", "192.168.1.5"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
            ("10.0.0.0/31", "::ffff:10.0.0.1", "::ffff:10.0.0.2"),
            ("2001:db8::7", "2001:db8::7", "2001:db8::8"),
        ] {
            assert!(holds(network, inside), "{network} holds {inside}");
            assert!(!holds(network, outside), "{network} does not hold {outside}");
        }
        assert!(!Networks::default().contains("127.0.0.1".parse().unwrap()));
        for unknown in ["::", "0.0.0.0", "::ffff:0.0.0.0"] {
            assert!(!holds("::/0", unknown) && !holds("0.0.0.0/0", unknown) && !holds("::", unknown), "{unknown}");
        }
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        for wrong in ["", "host", "10.0.0", "10.0.0.1:80", "[::1]", " 10.0.0.1"] {
            assert_eq!(wrong.parse::<Network>(), Err(NetworkError::Address), "{wrong}");
        }
        for wrong in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "::ffff:10.0.0.0/8", "10.0.0.0/8/8"] {
            assert_eq!(wrong.parse::<Network>(), Err(NetworkError::Prefix), "{wrong}");
        }
        let beyond = "10.1.0.0/8".parse::<Network>().unwrap_err();
        assert_eq!(beyond.to_string(), "the address has bits beyond its prefix: write `10.0.0.0/8`");
    }
}
