use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::Protocol;

/// The result of every call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, with the object it went wrong with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An interface of this name exists already; pick another name.
    #[error("network interface {name} exists already")]
    InterfaceExists {
        /// The name that is taken.
        name: String,
    },
    /// The bridge a call needs is not there; `ensure_bridge` makes it.
    #[error("bridge {bridge} does not exist")]
    NoSuchBridge {
        /// Name of the bridge.
        bridge: String,
    },
    /// The host has no interface of this name, and it is no VLAN of one.
    #[error("the host has no interface {parent}")]
    NoSuchParent {
        /// Name of the interface.
        parent: String,
    },
    /// An interface carries one kind of interfaces of containers at a time.
    #[error("interface {parent} is in use by another kind of network: a bridge, macvlan or ipvlan")]
    ParentBusy {
        /// Name of the interface.
        parent: String,
    },
    /// The DNS server cannot listen in a container's namespace.
    #[error("listen for DNS queries in a network namespace")]
    DnsSocket {
        /// Why not.
        source: io::Error,
    },
    /// The DNS server cannot do its work, or does not answer.
    #[error("DNS server: {reason}")]
    Dns {
        /// What hinders it.
        reason: String,
    },
    /// An interface has the bridge's name but is something else, e.g. a physical card.
    #[error("network interface {name} exists and is not a bridge")]
    NotABridge {
        /// Name of the interface.
        name: String,
    },
    /// A name the kernel would not take for an interface.
    #[error(
        "{name:?} is not an interface name: 1 to 15 characters without spaces, ':' or '/' are allowed"
    )]
    InvalidName {
        /// The refused name.
        name: String,
    },
    /// The bridge's subnet is in use on another interface.
    #[error(
        "subnet {subnet} of bridge {bridge} overlaps {other} on interface {interface}: set another subnet in [network] of the configuration"
    )]
    SubnetInUse {
        /// Name of the bridge to be made.
        bridge: String,
        /// The subnet that was asked for.
        subnet: IpNet,
        /// The network that is already reachable.
        other: IpNet,
        /// The interface it is reachable on.
        interface: String,
    },
    /// Everything that may be chosen for a bridge is in use elsewhere.
    #[error("no subnet is free for bridge {bridge}: set subnet in [network] of the configuration")]
    NoFreeSubnet {
        /// Name of the bridge.
        bridge: String,
    },
    /// The subnet has no room for a gateway and one container.
    #[error("subnet {subnet} of bridge {bridge} is too small")]
    SubnetTooSmall {
        /// Name of the bridge to be made.
        bridge: String,
        /// The subnet that was asked for.
        subnet: IpNet,
    },
    /// The host port is taken by another process or container.
    #[error("port {host_ip}:{port}/{protocol} is already in use")]
    PortInUse {
        /// Address on the host.
        host_ip: IpAddr,
        /// Port on the host.
        port: u16,
        /// Transport protocol.
        protocol: Protocol,
    },
    /// Every port of the range is taken.
    #[error("no free {protocol} port between {} and {}", range.start(), range.end())]
    NoFreePort {
        /// The range that was searched.
        range: RangeInclusive<u16>,
        /// Transport protocol.
        protocol: Protocol,
    },
    /// The host has no such address to publish a port on.
    #[error("{host_ip} is not an address of this host")]
    AddressNotAvailable {
        /// The address that was asked for.
        host_ip: IpAddr,
    },
    /// The kernel does not speak the protocol (SCTP without its module).
    #[error("the kernel does not support {protocol}")]
    ProtocolUnsupported {
        /// Transport protocol.
        protocol: Protocol,
    },
    /// A published port joins an IPv4 with an IPv6 address.
    #[error("cannot publish {host_ip} to {container_ip}: address families differ")]
    FamilyMismatch {
        /// Address on the host.
        host_ip: IpAddr,
        /// Address of the container.
        container_ip: IpAddr,
    },
    /// A port is to be published on `::1`, which the kernel never routes to another interface.
    #[error("cannot publish port {port} on ::1: the kernel does not route it; use 127.0.0.1")]
    Ipv6Loopback {
        /// Port on the host.
        port: u16,
    },
    /// A port is to be published on an IPv6 address, and the containers have none to lead it to.
    #[error(
        "cannot publish port {port} on {host_ip}: containers have no IPv6 here; set subnet_v6 in [network] of the configuration"
    )]
    NoIpv6ToPublish {
        /// Address on the host.
        host_ip: IpAddr,
        /// Port on the host.
        port: u16,
    },
    /// A port could not be bound for another reason.
    #[error("cannot bind port {host_ip}:{port}/{protocol}")]
    Bind {
        /// Address on the host.
        host_ip: IpAddr,
        /// Port on the host.
        port: u16,
        /// Transport protocol.
        protocol: Protocol,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel was built or booted without nftables.
    #[error("the kernel has no nftables (module nf_tables): cannot {operation}")]
    NoNftables {
        /// What was being done.
        operation: String,
    },
    /// The nftables rules changed under our hands again and again.
    #[error("nftables rules kept changing while trying to {operation}")]
    Contended {
        /// What was being done.
        operation: String,
    },
    /// The kernel refused a netlink request.
    #[error("cannot {operation}{}", detail(kernel_message))]
    Netlink {
        /// What was being done, with the object's name.
        operation: String,
        /// The kernel's own words, if it gave any.
        kernel_message: Option<String>,
        /// The errno.
        source: io::Error,
    },
    /// The kernel's answer could not be read.
    #[error("unexpected netlink answer to: {operation}")]
    MalformedReply {
        /// What was being done.
        operation: String,
    },
    /// A kernel parameter could not be read or set.
    #[error("cannot set {} to {value}", path.display())]
    Sysctl {
        /// The file below /proc/sys.
        path: PathBuf,
        /// The value it should have.
        value: String,
        /// The error of read or write.
        source: io::Error,
    },
    /// A kernel parameter of an interface that the kernel does not have.
    #[error("{} is not a sysctl file", path.display())]
    NoSysctl {
        /// Where it would be.
        path: PathBuf,
    },
    /// No kernel parameter of an interface.
    #[error(
        "unrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
    )]
    UnknownInterfaceSysctl {
        /// What was given.
        text: String,
    },
    /// A network namespace could not be made or entered.
    #[error("cannot {operation}")]
    Namespace {
        /// What was being done.
        operation: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
    /// A CNI configuration cannot be used.
    #[error("CNI configuration {}: {reason}", path.display())]
    CniConfig {
        /// The file, or the directory of files.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A network's plugin is not installed.
    #[error("CNI plugin {plugin} is not found in {}", paths(looked))]
    CniPluginMissing {
        /// Its file name.
        plugin: String,
        /// The directories that were searched.
        looked: Vec<PathBuf>,
    },
    /// A plugin cannot be run.
    #[error("run CNI plugin {}", plugin.display())]
    CniExec {
        /// The program.
        plugin: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A plugin did not end in time and was killed.
    #[error("CNI plugin {} did not end its {command} within {seconds} s", plugin.display())]
    CniTimeout {
        /// The program.
        plugin: PathBuf,
        /// What it was asked for.
        command: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// A plugin that a killed runtime has left is still at work.
    #[error("end an orphaned CNI plugin (process {pid})")]
    CniOrphan {
        /// Its process id.
        pid: i32,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A plugin says no.
    #[error("CNI plugin {} failed {command}: {reason}", plugin.display())]
    CniPlugin {
        /// The program.
        plugin: PathBuf,
        /// What it was asked for.
        command: &'static str,
        /// The specification's code of the error, 0 if it gave none.
        code: u32,
        /// Its words.
        reason: String,
    },
}

fn paths(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

fn detail(message: &Option<String>) -> String {
    message
        .as_ref()
        .map_or_else(String::new, |text| format!(" ({text})"))
}
