//! The parts a rule is made of.

use crate::netlink::Attributes;

use super::{NFTA_DATA_VALUE, NFTA_LIST_ELEM};

const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_BITWISE_SREG: u16 = 1;
const NFTA_BITWISE_DREG: u16 = 2;
const NFTA_BITWISE_LEN: u16 = 3;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_BITWISE_XOR: u16 = 5;
const NFTA_LOOKUP_SET: u16 = 1;
const NFTA_LOOKUP_SREG: u16 = 2;
const NFTA_LOOKUP_DREG: u16 = 3;
const NFTA_LOOKUP_FLAGS: u16 = 5;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_KEY: u16 = 2;
const NFTA_FIB_DREG: u16 = 1;
const NFTA_FIB_RESULT: u16 = 2;
const NFTA_FIB_FLAGS: u16 = 3;
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;

const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
const NFTA_FIB_F_DADDR: u32 = 1 << 1;
/// The kernel's bit of `ct status` for connections with a changed destination.
const IPS_DST_NAT: u32 = 1 << 5;
/// `ct state established,related` as nftables counts its bits.
const ESTABLISHED_RELATED: u32 = (1 << 1) | (1 << 2);

/// Registers of four bytes; longer values fill those that follow.
pub(super) const REG: u32 = libc::NFT_REG32_00 as u32;

/// Where a protocol keeps its addresses.
#[derive(Clone, Copy)]
pub(super) struct Family {
    pub(super) nfproto: u8,
    pub(super) source_offset: u32,
    pub(super) destination_offset: u32,
    pub(super) address_length: u32,
    /// The loopback network: its address and mask.
    pub(super) loopback: (&'static [u8], &'static [u8]),
    /// Whether the kernel can be told to route loopback addresses to other interfaces.
    pub(super) routes_loopback: bool,
}

pub(super) const IPV4: Family = Family {
    nfproto: libc::NFPROTO_IPV4 as u8,
    source_offset: 12,
    destination_offset: 16,
    address_length: 4,
    loopback: (&[127, 0, 0, 0], &[255, 0, 0, 0]),
    routes_loopback: true,
};

pub(super) const IPV6: Family = Family {
    nfproto: libc::NFPROTO_IPV6 as u8,
    source_offset: 8,
    destination_offset: 24,
    address_length: 16,
    loopback: (
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[255; 16],
    ),
    routes_loopback: false,
};

/// Writer of a rule's expressions, in the order they are evaluated.
pub(super) struct Expressions<'a, 'b>(&'a mut Attributes<'b>);

impl<'a, 'b> Expressions<'a, 'b> {
    pub(super) fn new(attributes: &'a mut Attributes<'b>) -> Self {
        Self(attributes)
    }

    fn push(&mut self, name: &str, body: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.0.nest(NFTA_LIST_ELEM, |a| {
            a.string(NFTA_EXPR_NAME, name);
            a.nest(NFTA_EXPR_DATA, body);
        });
        self
    }

    pub(super) fn load_meta(&mut self, key: libc::c_int, register: u32) -> &mut Self {
        self.push("meta", |a| {
            a.be32(NFTA_META_KEY, key as u32);
            a.be32(NFTA_META_DREG, register);
        })
    }

    fn load_payload(&mut self, base: libc::c_int, offset: u32, len: u32, reg: u32) -> &mut Self {
        self.push("payload", |a| {
            a.be32(NFTA_PAYLOAD_DREG, reg);
            a.be32(NFTA_PAYLOAD_BASE, base as u32);
            a.be32(NFTA_PAYLOAD_OFFSET, offset);
            a.be32(NFTA_PAYLOAD_LEN, len);
        })
    }

    fn compare(&mut self, operator: libc::c_int, register: u32, value: &[u8]) -> &mut Self {
        self.push("cmp", |a| {
            a.be32(NFTA_CMP_SREG, register);
            a.be32(NFTA_CMP_OP, operator as u32);
            a.nest(NFTA_CMP_DATA, |a| a.bytes(NFTA_DATA_VALUE, value));
        })
    }

    fn mask(&mut self, register: u32, mask: &[u8]) -> &mut Self {
        self.push("bitwise", |a| {
            a.be32(NFTA_BITWISE_SREG, register);
            a.be32(NFTA_BITWISE_DREG, register);
            a.be32(NFTA_BITWISE_LEN, mask.len() as u32);
            a.nest(NFTA_BITWISE_MASK, |a| a.bytes(NFTA_DATA_VALUE, mask));
            let zeros = vec![0; mask.len()];
            a.nest(NFTA_BITWISE_XOR, |a| a.bytes(NFTA_DATA_VALUE, &zeros));
        })
    }

    fn verdict(&mut self, code: libc::c_int) -> &mut Self {
        self.push("immediate", |a| {
            a.be32(NFTA_IMMEDIATE_DREG, libc::NFT_REG_VERDICT as u32);
            a.nest(NFTA_IMMEDIATE_DATA, |a| {
                a.nest(NFTA_DATA_VERDICT, |a| {
                    a.be32(NFTA_VERDICT_CODE, code as u32);
                });
            });
        })
    }

    pub(super) fn accept(&mut self) -> &mut Self {
        self.verdict(libc::NF_ACCEPT)
    }

    pub(super) fn drop(&mut self) -> &mut Self {
        self.verdict(libc::NF_DROP)
    }

    pub(super) fn return_(&mut self) -> &mut Self {
        self.verdict(libc::NFT_RETURN)
    }

    pub(super) fn counter(&mut self) -> &mut Self {
        self.push("counter", |_| {})
    }

    /// Goes on only if the register holds this value.
    pub(super) fn equals(&mut self, register: u32, value: &[u8]) -> &mut Self {
        self.compare(libc::NFT_CMP_EQ, register, value)
    }

    pub(super) fn load_value(&mut self, register: u32, value: &[u8]) -> &mut Self {
        self.push("immediate", |a| {
            a.be32(NFTA_IMMEDIATE_DREG, register);
            a.nest(NFTA_IMMEDIATE_DATA, |a| a.bytes(NFTA_DATA_VALUE, value));
        })
    }

    /// Goes on only with packets of this family.
    pub(super) fn family(&mut self, family: Family) -> &mut Self {
        self.load_meta(libc::NFT_META_NFPROTO, REG).compare(
            libc::NFT_CMP_EQ,
            REG,
            &[family.nfproto],
        )
    }

    /// Goes on only if the interface, incoming or outgoing, is the one of this name.
    pub(super) fn interface(&mut self, key: libc::c_int, name: &str) -> &mut Self {
        let mut value = name.as_bytes().to_vec();
        value.push(0);
        self.load_meta(key, REG)
            .compare(libc::NFT_CMP_EQ, REG, &value)
    }

    pub(super) fn load_source(&mut self, family: Family, register: u32) -> &mut Self {
        let base = libc::NFT_PAYLOAD_NETWORK_HEADER;
        self.load_payload(base, family.source_offset, family.address_length, register)
    }

    pub(super) fn load_destination(&mut self, family: Family, register: u32) -> &mut Self {
        let base = libc::NFT_PAYLOAD_NETWORK_HEADER;
        let offset = family.destination_offset;
        self.load_payload(base, offset, family.address_length, register)
    }

    pub(super) fn load_destination_port(&mut self, register: u32) -> &mut Self {
        self.load_payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, register)
    }

    /// Goes on only if the loaded address is one of the host's loopback network.
    pub(super) fn is_loopback(&mut self, family: Family, register: u32) -> &mut Self {
        let (address, mask) = family.loopback;
        if mask.iter().any(|&byte| byte != 255) {
            self.mask(register, mask);
        }
        self.compare(libc::NFT_CMP_EQ, register, address)
    }

    /// Goes on only if the loaded key is in the set.
    pub(super) fn in_set(&mut self, set: &str, register: u32) -> &mut Self {
        self.push("lookup", |a| {
            a.string(NFTA_LOOKUP_SET, set);
            a.be32(NFTA_LOOKUP_SREG, register);
        })
    }

    /// Goes on only if the loaded key is not in the set.
    pub(super) fn not_in_set(&mut self, set: &str, register: u32) -> &mut Self {
        self.push("lookup", |a| {
            a.string(NFTA_LOOKUP_SET, set);
            a.be32(NFTA_LOOKUP_SREG, register);
            a.be32(NFTA_LOOKUP_FLAGS, libc::NFT_LOOKUP_F_INV as u32);
        })
    }

    /// Goes on only if the loaded key is in the map, with its value in the same register.
    pub(super) fn map(&mut self, map: &str, register: u32) -> &mut Self {
        self.push("lookup", |a| {
            a.string(NFTA_LOOKUP_SET, map);
            a.be32(NFTA_LOOKUP_SREG, register);
            a.be32(NFTA_LOOKUP_DREG, register);
        })
    }

    /// Goes on only with packets addressed to this host.
    pub(super) fn only_to_this_host(&mut self) -> &mut Self {
        self.push("fib", |a| {
            a.be32(NFTA_FIB_DREG, REG);
            a.be32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
            a.be32(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
        });
        let local = u32::from(libc::RTN_LOCAL).to_ne_bytes();
        self.compare(libc::NFT_CMP_EQ, REG, &local)
    }

    fn load_ct(&mut self, key: libc::c_int) -> &mut Self {
        self.push("ct", |a| {
            a.be32(NFTA_CT_DREG, REG);
            a.be32(NFTA_CT_KEY, key as u32);
        })
    }

    fn any_bit(&mut self, bits: u32) -> &mut Self {
        self.mask(REG, &bits.to_ne_bytes())
            .compare(libc::NFT_CMP_NEQ, REG, &[0; 4])
    }

    /// Goes on only with packets of a connection that came by a published port.
    pub(super) fn came_by_published_port(&mut self) -> &mut Self {
        self.load_ct(libc::NFT_CT_STATUS).any_bit(IPS_DST_NAT)
    }

    /// Goes on only with packets of a connection that was let through before.
    pub(super) fn established(&mut self) -> &mut Self {
        self.load_ct(libc::NFT_CT_STATE)
            .any_bit(ESTABLISHED_RELATED)
    }

    /// Sends the packet to the address and the port that are loaded.
    pub(super) fn dnat(&mut self, family: Family, address: u32, port: u32) -> &mut Self {
        self.push("nat", |a| {
            a.be32(NFTA_NAT_TYPE, libc::NFT_NAT_DNAT as u32);
            a.be32(NFTA_NAT_FAMILY, u32::from(family.nfproto));
            a.be32(NFTA_NAT_REG_ADDR_MIN, address);
            a.be32(NFTA_NAT_REG_PROTO_MIN, port);
        })
    }

    pub(super) fn masquerade(&mut self) -> &mut Self {
        self.push("masq", |_| {})
    }
}
