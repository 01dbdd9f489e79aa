//! Arguments of `network`.

use clap::{Args, Subcommand};

use super::FormatFlag;

#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Connect a container to a network
    Connect(NetworkConnectArgs),
    /// Create a network
    Create(NetworkCreateArgs),
    /// Disconnect a container from a network
    Disconnect(NetworkDisconnectArgs),
    /// Display detailed information on one or more networks
    Inspect(NetworkInspectArgs),
    /// List networks
    #[command(alias = "list")]
    Ls(NetworkLsArgs),
    /// Remove all unused networks
    Prune(NetworkPruneArgs),
    /// Remove one or more networks
    #[command(alias = "remove")]
    Rm(NetworkRmArgs),
}

#[derive(Debug, Args)]
pub struct NetworkConnectArgs {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "NAME")]
    pub alias: Vec<String>,
    /// Driver options for the network
    #[arg(long, value_name = "KEY=VALUE")]
    pub driver_opt: Vec<String>,
    /// Highest gw-priority provides the default gateway
    #[arg(long, value_name = "N")]
    pub gw_priority: Option<i64>,
    /// IPv4 address
    #[arg(long, value_name = "IP")]
    pub ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "IP")]
    pub ip6: Option<String>,
    /// Add a link-local address for the container
    #[arg(long, value_name = "IP")]
    pub link_local_ip: Vec<String>,
    #[arg(value_name = "NETWORK CONTAINER")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct NetworkCreateArgs {
    /// Recorded only: there are no services
    #[arg(long)]
    pub attachable: bool,
    /// Auxiliary addresses that containers do not get
    #[arg(long, value_name = "NAME=IP")]
    pub aux_address: Vec<String>,
    /// Driver to manage the network: bridge, macvlan, ipvlan
    #[arg(short, long, value_name = "NAME", default_value = "bridge")]
    pub driver: String,
    /// Gateway of a subnet
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub gateway: Vec<String>,
    /// Restrict external access to the network
    #[arg(long)]
    pub internal: bool,
    /// Allocate container addresses from a part of a subnet
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub ip_range: Vec<String>,
    /// IP address management driver: default
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub ipam_driver: String,
    /// IPv4 address assignment, which is always on
    #[arg(long, value_name = "BOOL")]
    pub ipv4: Option<bool>,
    /// Enable IPv6 address assignment
    #[arg(long)]
    pub ipv6: bool,
    /// Set metadata on a network
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long = "opt", value_name = "KEY=VALUE")]
    pub opt: Vec<String>,
    /// Reach of the network: local
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    /// Subnet in CIDR format
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub subnet: Vec<String>,
    #[arg(value_name = "NETWORK")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct NetworkDisconnectArgs {
    /// Disconnect although something hinders it
    #[arg(short, long)]
    pub force: bool,
    #[arg(value_name = "NETWORK CONTAINER")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct NetworkInspectArgs {
    #[command(flatten)]
    pub format: FormatFlag,
    /// The same: there are no services whose tasks could be shown
    #[arg(short, long)]
    pub verbose: bool,
    #[arg(value_name = "NETWORK")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct NetworkLsArgs {
    #[command(flatten)]
    pub list: super::ListFlags,
    /// Only display network IDs
    #[arg(short, long)]
    pub quiet: bool,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Args)]
pub struct NetworkPruneArgs {
    /// Provide filter values: until=TIME, label=NAME[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Args)]
pub struct NetworkRmArgs {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    pub force: bool,
    #[arg(value_name = "NETWORK")]
    pub names: Vec<String>,
}
