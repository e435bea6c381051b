//! Which endpoint a connection that is passed on goes to. Pure: chance is an argument.

use std::net::SocketAddr;

use crate::bundle::relay::Share;

/// The endpoints of the share that `draw` falls to, in the order in which they are to be tried: beginning anywhere. None
/// if there is no share at all.
#[must_use]
pub fn endpoints(shares: &[Share], draw: u64) -> Option<Vec<SocketAddr>> {
    let share = drawn(shares, draw)?;
    let count = share.endpoints.len();
    // The draw's other half: the first is used up by the shares.
    let first = usize::try_from(draw >> 32).unwrap_or_default().checked_rem(count).unwrap_or_default();
    Some(share.endpoints.iter().cycle().skip(first).take(count).copied().collect())
}

fn drawn(shares: &[Share], draw: u64) -> Option<&Share> {
    let total: u64 = shares.iter().map(|it| u64::from(it.weight)).sum();
    let mut place = (draw & u64::from(u32::MAX)).checked_rem(total)?;
    shares.iter().find(|it| {
        let weight = u64::from(it.weight);
        let is_here = place < weight;
        place = place.saturating_sub(weight);
        is_here
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(weight: u32, ports: &[u16]) -> Share {
        Share {
            weight,
            endpoints: ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect(),
        }
    }

    fn ports(shares: &[Share], draw: u64) -> Option<Vec<u16>> {
        Some(endpoints(shares, draw)?.iter().map(SocketAddr::port).collect())
    }

    #[test]
    fn shares_have_their_parts_and_endpoints_take_turns() {
        let shares = [share(1, &[1]), share(0, &[9]), share(2, &[2, 3, 4]), share(1, &[])];
        for (draw, expected) in [
            (0, &[1][..]),
            (1, &[2, 3, 4]),
            (2, &[2, 3, 4]),
            (3, &[]),
            (4, &[1]),
            (1 << 32 | 1, &[3, 4, 2]),
            (5 << 32 | 6, &[4, 2, 3]),
        ] {
            assert_eq!(ports(&shares, draw).as_deref(), Some(expected), "{draw:#x}");
        }
    }

    #[test]
    fn without_a_share_there_is_none() {
        assert_eq!(ports(&[], 5), None);
        assert_eq!(ports(&[share(0, &[1])], 5), None);
    }
}
