//! A transaction: all of its changes are made, or none.

use crate::Result;
use crate::netlink::{Attributes, Refusal, Requests, Socket};

use super::expression::Expressions;
use super::{
    NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_FLAGS, NFTA_SET_ELEM_KEY,
    NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_TABLE, NFTA_TABLE_NAME,
    NFTA_TABLE_USERDATA, message,
};

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_DATA_TYPE: u16 = 6;
const NFTA_SET_DATA_LEN: u16 = 7;
const NFTA_SET_ID: u16 = 10;
const NFTA_SET_USERDATA: u16 = 13;

const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCLUSIVE: u16 = CREATE | libc::NLM_F_EXCL as u16;
const APPEND: u16 = CREATE | libc::NLM_F_APPEND as u16;
/// An attribute's length has 16 bits; an element takes at most 80 bytes.
const ELEMENTS_PER_MESSAGE: usize = 500;

/// struct nfgenmsg
pub(super) fn nfgenmsg(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// A chain that the kernel calls at a hook.
pub(super) struct BaseChain {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) hook: libc::c_int,
    pub(super) priority: i32,
}

/// What a set holds; types are nft's own numbers, six bits for each part of a concatenation.
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) flags: libc::c_int,
    pub(super) key_type: u32,
    pub(super) key_length: u32,
    /// Type and length of the values, of a map.
    pub(super) data: Option<(u32, u32)>,
    /// What nft needs to print the keys.
    pub(super) user_data: Vec<u8>,
}

/// One element to be added or deleted.
pub(super) struct NewElement {
    pub(super) key: Vec<u8>,
    pub(super) data: Option<Vec<u8>>,
    pub(super) flags: u32,
}

pub(super) const INTERVAL_END: u32 = libc::NFT_SET_ELEM_INTERVAL_END as u32;

impl NewElement {
    pub(super) fn key(key: Vec<u8>) -> Self {
        Self {
            key,
            data: None,
            flags: 0,
        }
    }

    /// The end of an interval: the first address after it.
    pub(super) fn end(key: Vec<u8>) -> Self {
        Self {
            flags: INTERVAL_END,
            ..Self::key(key)
        }
    }

    fn push(&self, a: &mut Attributes<'_>) {
        a.nest(NFTA_LIST_ELEM, |a| {
            a.nest(NFTA_SET_ELEM_KEY, |a| a.bytes(NFTA_DATA_VALUE, &self.key));
            if let Some(data) = &self.data {
                a.nest(NFTA_SET_ELEM_DATA, |a| a.bytes(NFTA_DATA_VALUE, data));
            }
            if self.flags != 0 {
                a.be32(NFTA_SET_ELEM_FLAGS, self.flags);
            }
        });
    }
}

pub(super) struct Batch {
    requests: Requests,
    changes: u32,
}

impl Batch {
    /// With a generation the kernel refuses the batch (ERESTART) if the rules have changed since.
    pub(super) fn new(generation: Option<u32>) -> Self {
        let mut batch = Self {
            requests: Requests::default(),
            changes: 0,
        };
        let begin = libc::NFNL_MSG_BATCH_BEGIN as u16;
        batch.requests.push(begin, 0, &for_nftables(), |a| {
            if let Some(generation) = generation {
                a.be32(libc::NFNL_BATCH_GENID as u16, generation);
            }
        });
        batch
    }

    /// Sends the batch unless it is empty. The inner result is the kernel's verdict.
    pub(super) fn commit(
        mut self,
        socket: &Socket,
        operation: &str,
    ) -> Result<std::result::Result<(), Refusal>> {
        if self.changes == 0 {
            return Ok(Ok(()));
        }
        let end = libc::NFNL_MSG_BATCH_END as u16;
        self.requests.push(end, 0, &for_nftables(), |_| {});
        let answer = socket.exchange(&self.requests, operation)?;
        Ok(answer.into_result().map(|_| ()))
    }

    pub(super) fn add_table(&mut self, family: u8, name: &str, user_data: &[u8]) {
        self.push(libc::NFT_MSG_NEWTABLE, EXCLUSIVE, family, |a| {
            a.string(NFTA_TABLE_NAME, name);
            a.bytes(NFTA_TABLE_USERDATA, user_data);
        });
    }

    /// Adds the table only if it is missing, so that it can be deleted for sure.
    pub(super) fn touch_table(&mut self, family: u8, name: &str) {
        self.push(libc::NFT_MSG_NEWTABLE, CREATE, family, |a| {
            a.string(NFTA_TABLE_NAME, name);
        });
    }

    pub(super) fn delete_table(&mut self, family: u8, name: &str) {
        self.push(libc::NFT_MSG_DELTABLE, 0, family, |a| {
            a.string(NFTA_TABLE_NAME, name);
        });
    }

    pub(super) fn add_chain(&mut self, family: u8, table: &str, chain: &BaseChain) {
        self.push(libc::NFT_MSG_NEWCHAIN, CREATE, family, |a| {
            a.string(NFTA_CHAIN_TABLE, table);
            a.string(NFTA_CHAIN_NAME, chain.name);
            a.nest(NFTA_CHAIN_HOOK, |a| {
                a.be32(NFTA_HOOK_HOOKNUM, chain.hook as u32);
                a.be32(NFTA_HOOK_PRIORITY, chain.priority as u32);
            });
            a.be32(NFTA_CHAIN_POLICY, libc::NF_ACCEPT as u32);
            a.string(NFTA_CHAIN_TYPE, chain.kind);
        });
    }

    pub(super) fn append_rule(
        &mut self,
        family: u8,
        table: &str,
        chain: &str,
        body: impl FnOnce(&mut Expressions<'_, '_>),
    ) {
        self.push_rule(APPEND, family, table, chain, None, body);
    }

    /// Adds a rule before all others, with a comment to find it by.
    pub(super) fn insert_rule(
        &mut self,
        family: u8,
        table: &str,
        chain: &str,
        comment: &[u8],
        body: impl FnOnce(&mut Expressions<'_, '_>),
    ) {
        self.push_rule(CREATE, family, table, chain, Some(comment), body);
    }

    fn push_rule(
        &mut self,
        flags: u16,
        family: u8,
        table: &str,
        chain: &str,
        comment: Option<&[u8]>,
        body: impl FnOnce(&mut Expressions<'_, '_>),
    ) {
        self.push(libc::NFT_MSG_NEWRULE, flags, family, |a| {
            a.string(NFTA_RULE_TABLE, table);
            a.string(NFTA_RULE_CHAIN, chain);
            a.nest(NFTA_RULE_EXPRESSIONS, |a| body(&mut Expressions::new(a)));
            if let Some(comment) = comment {
                a.bytes(NFTA_RULE_USERDATA, comment);
            }
        });
    }

    pub(super) fn delete_rule(&mut self, family: u8, table: &str, chain: &str, handle: u64) {
        self.push(libc::NFT_MSG_DELRULE, 0, family, |a| {
            a.string(NFTA_RULE_TABLE, table);
            a.string(NFTA_RULE_CHAIN, chain);
            a.be64(NFTA_RULE_HANDLE, handle);
        });
    }

    pub(super) fn add_set(&mut self, family: u8, table: &str, set: &Set) {
        let id = self.changes;
        self.push(libc::NFT_MSG_NEWSET, CREATE, family, |a| {
            a.string(NFTA_SET_TABLE, table);
            a.string(NFTA_SET_NAME, set.name);
            a.be32(NFTA_SET_ID, id);
            a.be32(NFTA_SET_FLAGS, set.flags as u32);
            a.be32(NFTA_SET_KEY_TYPE, set.key_type);
            a.be32(NFTA_SET_KEY_LEN, set.key_length);
            if let Some((kind, length)) = set.data {
                a.be32(NFTA_SET_DATA_TYPE, kind);
                a.be32(NFTA_SET_DATA_LEN, length);
            }
            if !set.user_data.is_empty() {
                a.bytes(NFTA_SET_USERDATA, &set.user_data);
            }
        });
    }

    /// Elements that are there already with the same data are no error.
    pub(super) fn add_elements(&mut self, table: &str, set: &str, elements: &[NewElement]) {
        self.push_elements(libc::NFT_MSG_NEWSETELEM, CREATE, table, set, elements);
    }

    /// A missing element makes the whole batch fail.
    pub(super) fn delete_elements(&mut self, table: &str, set: &str, elements: &[NewElement]) {
        self.push_elements(libc::NFT_MSG_DELSETELEM, 0, table, set, elements);
    }

    fn push_elements(
        &mut self,
        command: libc::c_int,
        flags: u16,
        table: &str,
        set: &str,
        elements: &[NewElement],
    ) {
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.push(command, flags, super::INET, |a| {
                a.string(NFTA_SET_ELEM_LIST_TABLE, table);
                a.string(NFTA_SET_ELEM_LIST_SET, set);
                a.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |a| {
                    chunk.iter().for_each(|element| element.push(a));
                });
            });
        }
    }

    fn push(
        &mut self,
        command: libc::c_int,
        flags: u16,
        family: u8,
        body: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.changes += 1;
        self.requests
            .push(message(command), flags, &nfgenmsg(family), body);
    }
}

/// The header that begins and ends a batch: its last field says whose messages are inside.
fn for_nftables() -> [u8; 4] {
    let [high, low] = (libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes();
    [0, 0, high, low]
}
