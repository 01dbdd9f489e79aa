//! IPv6 that comes up without a word to the neighbours.
//!
//! The kernel reports each multicast group that an interface joins, those of its addresses among them, and a bridge passes
//! reports on to all its ports: next to hundreds of containers that takes longer than the rest of a start.

use std::time::{Duration, Instant};

use crate::Result;
use crate::netlink::Socket;
use crate::sysctl::{Family, Held};

/// include/uapi/linux/rtnetlink.h, if_addr.h
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const RT_SCOPE_LINK: u8 = 253;
const IFA_F_TENTATIVE: u8 = 0x40;

const A_DAY_MS: &str = "86400000";
/// The kernel's workers take some ten microseconds unless the machine is very busy. Then the reports are made after all.
const PATIENCE: Duration = Duration::from_millis(20);

/// Lasts while an interface's addresses come up.
pub(crate) struct QuietStart {
    addresses: Socket,
    /// Reports of MLDv2 are sent some ticks after a group was joined, those of MLDv1 at once.
    _version: Option<Held>,
}

impl QuietStart {
    /// Of an interface of this thread's namespace that is not up yet, and not connected to anybody.
    pub(crate) fn begin(v6: &Family, ifname: &str) -> Result<Self> {
        // Each is sent once more at some time below this.
        let repeated = format!("conf/{ifname}/mldv1_unsolicited_report_interval");
        v6.ensure_if_present(&repeated, A_DAY_MS)?;
        Ok(Self {
            addresses: Socket::route_events(RTMGRP_IPV6_IFADDR)?,
            _version: v6.hold(&format!("conf/{ifname}/force_mld_version"), "1")?,
        })
    }

    /// Waits until the kernel has opened the interface's link-local address for reception, which it does last, in the
    /// background. All groups are joined then. Where that cannot be heard of the neighbours hear more, and that is all.
    pub(crate) fn wait(&self, index: u32) {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(Some(told)) = self.addresses.next_event(deadline) {
            if told.iter().any(|message| is_open(&message.body, index)) {
                break;
            }
        }
    }
}

/// Whether a message says so of the interface's link-local address. It begins with a `struct ifaddrmsg`.
fn is_open(message: &[u8], index: u32) -> bool {
    let Some(&[_, _, flags, scope, a, b, c, d]) = message.first_chunk() else {
        return false;
    };
    let of = u32::from_ne_bytes([a, b, c, d]);
    (scope, flags & IFA_F_TENTATIVE, of) == (RT_SCOPE_LINK, 0, index)
}
