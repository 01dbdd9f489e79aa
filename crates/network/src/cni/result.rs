//! What plugins say of an attachment.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::NetworkList;
use crate::{Error, Result};

/// One address of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// With its prefix length.
    pub address: IpNet,
    /// Its gateway, if the plugins name one.
    pub gateway: Option<IpAddr>,
}

/// The result of attaching a container.
#[derive(Debug, Clone, PartialEq)]
pub struct CniResult {
    /// The container's own addresses, in the plugins' order: the first is the primary one.
    pub addresses: Vec<Address>,
    /// Name servers that the plugins name.
    pub nameservers: Vec<String>,
    /// Search domains that the plugins name.
    pub search: Vec<String>,
    /// All of it as the last plugin printed it, for [`super::Cni::del`] and [`super::Cni::check`].
    pub raw: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Printed {
    interfaces: Vec<PrintedInterface>,
    ips: Vec<PrintedIp>,
    dns: PrintedDns,
    // Up to version 0.2.
    ip4: Option<PrintedOldIp>,
    ip6: Option<PrintedOldIp>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PrintedInterface {
    sandbox: String,
}

#[derive(Deserialize)]
struct PrintedIp {
    address: IpNet,
    gateway: Option<IpAddr>,
    interface: Option<usize>,
}

#[derive(Deserialize)]
struct PrintedOldIp {
    ip: IpNet,
    gateway: Option<IpAddr>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PrintedDns {
    nameservers: Vec<String>,
    search: Vec<String>,
}

impl CniResult {
    /// Reads a result of any version.
    pub(super) fn parse(raw: Value, list: &NetworkList) -> Result<CniResult> {
        let printed: Printed =
            serde_json::from_value(raw.clone()).map_err(|e| Error::CniConfig {
                path: list.file.clone(),
                reason: format!("the plugins' result cannot be read: {e}"),
            })?;
        let inside = |ip: &PrintedIp| match ip.interface.and_then(|n| printed.interfaces.get(n)) {
            Some(interface) => !interface.sandbox.is_empty(),
            None => true,
        };
        let old = printed.ip4.iter().chain(&printed.ip6).map(|ip| Address {
            address: ip.ip,
            gateway: ip.gateway,
        });
        let addresses = printed
            .ips
            .iter()
            .filter(|ip| inside(ip))
            .map(|ip| Address {
                address: ip.address,
                gateway: ip.gateway,
            })
            .chain(old)
            .collect();
        Ok(CniResult {
            addresses,
            nameservers: printed.dns.nameservers,
            search: printed.dns.search,
            raw,
        })
    }
}
