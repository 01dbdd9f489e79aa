//! Living beside another firewall.
//!
//! A packet must be accepted by every table. Docker and many firewalls set the policy of `filter FORWARD`
//! to drop, so our packets need a rule there: in DOCKER-USER, which Docker keeps for others and never flushes,
//! else in FORWARD itself. Such a rule opens nothing: our own table still drops what nobody published.

use nix::errno::Errno;

use crate::netlink::{Requests, Socket, attribute, be32};
use crate::{BridgeConfig, Result};

use super::batch::{Batch, nfgenmsg};
use super::message;
use super::ruleset::comment;

const FILTER: &str = "filter";
const FORWARD: &str = "FORWARD";
const DOCKER_USER: &str = "DOCKER-USER";
const OPERATION: &str = "read the firewall's FORWARD chain";

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_USERDATA: u16 = 7;
const RULE_COMMENT: u8 = 0;

const V4: u8 = libc::NFPROTO_IPV4 as u8;
const V6: u8 = libc::NFPROTO_IPV6 as u8;

/// The address families whose packets pass the bridge.
pub(super) fn families(bridge: &BridgeConfig) -> &'static [u8] {
    match bridge.subnet_v6 {
        Some(_) => &[V4, V6],
        None => &[V4],
    }
}

/// Asks for the FORWARD chain of a family.
pub(super) fn push_query(requests: &mut Requests, family: u8) {
    push_get_chain(requests, family, FORWARD);
}

/// A `filter` table whose FORWARD chain drops what it has no rule for.
pub(super) struct DroppingFilter {
    family: u8,
}

impl DroppingFilter {
    /// Reads the answer to [`push_query`]; none if the chain lets packets pass.
    pub(super) fn from_reply(family: u8, attrs: &[u8]) -> Option<Self> {
        let policy = attribute(attrs, NFTA_CHAIN_POLICY).and_then(be32)?;
        (policy == libc::NF_DROP as u32).then_some(Self { family })
    }

    /// Whether the rules for the bridge are there.
    pub(super) fn accepts(&self, socket: &Socket, bridge: &str) -> Result<bool> {
        let chain = self.chain(socket)?;
        Ok(!our_rules(socket, self.family, chain, bridge)?.is_empty())
    }

    fn chain(&self, socket: &Socket) -> Result<&'static str> {
        Ok(match chain_exists(socket, self.family, DOCKER_USER)? {
            true => DOCKER_USER,
            false => FORWARD,
        })
    }

    /// Adds the rules for the bridge unless they are there.
    pub(super) fn push_accept(
        &self,
        socket: &Socket,
        batch: &mut Batch,
        bridge: &str,
    ) -> Result<()> {
        if self.accepts(socket, bridge)? {
            return Ok(());
        }
        let (chain, comment) = (self.chain(socket)?, rule_comment(bridge));
        for direction in [libc::NFT_META_OIFNAME, libc::NFT_META_IIFNAME] {
            batch.insert_rule(self.family, FILTER, chain, &comment, |e| {
                e.interface(direction, bridge).counter().accept();
            });
        }
        Ok(())
    }
}

/// Takes the bridge's rules out of the firewall's chains.
pub(super) fn push_removal(socket: &Socket, batch: &mut Batch, bridge: &str) -> Result<()> {
    for family in [V4, V6] {
        for chain in [FORWARD, DOCKER_USER] {
            for handle in our_rules(socket, family, chain, bridge)? {
                batch.delete_rule(family, FILTER, chain, handle);
            }
        }
    }
    Ok(())
}

fn rule_comment(bridge: &str) -> Vec<u8> {
    comment(&format!("rctr {bridge}"))
}

/// The handles of the rules in a chain that carry our comment.
fn our_rules(socket: &Socket, family: u8, chain: &str, bridge: &str) -> Result<Vec<u64>> {
    let mut requests = Requests::default();
    let dump = libc::NLM_F_DUMP as u16;
    let header = nfgenmsg(family);
    requests.push(message(libc::NFT_MSG_GETRULE), dump, &header, |a| {
        a.string(NFTA_RULE_TABLE, FILTER);
        a.string(NFTA_RULE_CHAIN, chain);
    });
    let replies = match socket.dump(&requests, OPERATION)?.into_result() {
        Ok(replies) => replies,
        Err(refusal) if refusal.errno == Errno::ENOENT => return Ok(Vec::new()),
        Err(refusal) => return Err(refusal.into_error(OPERATION)),
    };
    let wanted = rule_comment(bridge);
    let handles = replies.iter().filter_map(|reply| {
        let attrs = reply.body.get(4..)?;
        let data = attribute(attrs, NFTA_RULE_USERDATA)?;
        let handle = attribute(attrs, NFTA_RULE_HANDLE)?;
        let ours = data.first() == Some(&RULE_COMMENT) && data.starts_with(&wanted);
        ours.then(|| Some(u64::from_be_bytes(handle.try_into().ok()?)))?
    });
    Ok(handles.collect())
}

fn chain_exists(socket: &Socket, family: u8, chain: &str) -> Result<bool> {
    let mut requests = Requests::default();
    push_get_chain(&mut requests, family, chain);
    let answer = socket.exchange(&requests, OPERATION)?;
    Ok(answer.refusals.is_empty())
}

fn push_get_chain(requests: &mut Requests, family: u8, chain: &str) {
    let header = nfgenmsg(family);
    requests.push(message(libc::NFT_MSG_GETCHAIN), 0, &header, |a| {
        a.string(NFTA_CHAIN_TABLE, FILTER);
        a.string(NFTA_CHAIN_NAME, chain);
    });
}
