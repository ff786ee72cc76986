//! Whose word about other hops is believed: the addresses of proxies in front of the gateway.

use std::net::IpAddr;

/// Networks, as `ADDRESS/BITS` or a single address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trusted(pub(crate) Vec<Network>);

/// One network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Trusted {
    /// Whether `peer` is in one of the networks.
    pub(crate) fn holds(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(peer))
    }
}

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address. Errors are in words for the operator.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a network: write ADDRESS/BITS, as in 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits)),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?,
        };
        let network = Self { address, bits };
        if network.octets_outside() {
            // Somebody who writes 10.1.2.3/8 means either more or less than it says.
            return Err(format!("`{text}` has bits set behind the first {bits}"));
        }
        Ok(network)
    }

    fn holds(&self, peer: IpAddr) -> bool {
        match (self.address, peer.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                own.to_bits() == peer.to_bits() & mask(self.bits, 32) as u32
            }
            (IpAddr::V6(own), IpAddr::V6(peer)) => {
                own.to_bits() == peer.to_bits() & mask(self.bits, 128)
            }
            _ => false,
        }
    }

    fn octets_outside(&self) -> bool {
        match self.address {
            IpAddr::V4(own) => own.to_bits() & !(mask(self.bits, 32) as u32) != 0,
            IpAddr::V6(own) => own.to_bits() & !mask(self.bits, 128) != 0,
        }
    }
}

/// The first `bits` of `width`, the lowest `width` of the answer counting.
fn mask(bits: u8, width: u8) -> u128 {
    match u32::from(width.saturating_sub(bits)) {
        128.. => 0,
        behind => u128::MAX << behind,
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, peer: &str) -> bool {
        Trusted(vec![Network::parse(network).unwrap()]).holds(peer.parse().unwrap())
    }

    #[test]
    fn a_network_holds_what_shares_its_first_bits() {
        for (network, peer, held) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
            ("::/0", "2001:db8::1", true),
        ] {
            assert_eq!(holds(network, peer), held, "{peer} in {network}");
        }
        assert!(!Trusted::default().holds([127, 0, 0, 1].into()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.1.0.0/8", "host/8"] {
            assert!(Network::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Network::parse("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
    }
}
