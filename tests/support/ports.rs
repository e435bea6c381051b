//! Free TCP ports for processes that cannot be asked which port they got.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range from which the kernel takes ports for outgoing connections (32768 and up), so that
/// nothing but another caller of this function can take a port between the check and its use.
const FIRST: u32 = 10_000;
const LAST: u32 = 32_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The first of `count` consecutive free ports on 127.0.0.1. Test processes begin at different places.
pub fn free_ports(count: u16) -> u16 {
    let start = std::process::id().wrapping_mul(64);
    for _ in 0..4_000 {
        let step = NEXT.fetch_add(u32::from(count), Ordering::Relaxed);
        let first = FIRST + start.wrapping_add(step) % (LAST - FIRST);
        let first = u16::try_from(first).expect("the range is below 65536");
        if (first..first + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return first;
        }
    }
    panic!("no {count} consecutive free ports between {FIRST} and {LAST}");
}
