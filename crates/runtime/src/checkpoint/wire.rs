//! The messages of CRIU's service (<https://criu.org/RPC>), as far as they are used here.

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Kind {
    Empty = 0,
    Dump = 1,
    Restore = 2,
    Notify = 6,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub options: Option<Options>,
    #[prost(bool, optional, tag = "3")]
    pub notify_success: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Response {
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub kind: i32,
    #[prost(bool, required, tag = "2")]
    pub success: bool,
    #[prost(message, optional, tag = "4")]
    pub restore: Option<Restored>,
    #[prost(message, optional, tag = "5")]
    pub notify: Option<Notification>,
    #[prost(int32, optional, tag = "7")]
    pub errno: Option<i32>,
    #[prost(string, optional, tag = "9")]
    pub message: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Restored {
    #[prost(int32, required, tag = "1")]
    pub pid: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Notification {
    #[prost(string, optional, tag = "1")]
    pub script: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Options {
    #[prost(int32, required, tag = "1")]
    pub images: i32,
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
    #[prost(bool, optional, tag = "3")]
    pub leave_running: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub external_unix_sockets: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub tcp_established: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub evasive_devices: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub shell_job: Option<bool>,
    #[prost(bool, optional, tag = "8")]
    pub file_locks: Option<bool>,
    #[prost(int32, optional, tag = "9")]
    pub log_level: Option<i32>,
    #[prost(string, optional, tag = "10")]
    pub log_file: Option<String>,
    #[prost(bool, optional, tag = "12")]
    pub notify_scripts: Option<bool>,
    #[prost(string, optional, tag = "13")]
    pub root: Option<String>,
    #[prost(int32, optional, tag = "17")]
    pub work: Option<i32>,
    #[prost(bool, optional, tag = "18")]
    pub link_remap: Option<bool>,
    #[prost(bool, optional, tag = "24")]
    pub manage_cgroups: Option<bool>,
    #[prost(message, repeated, tag = "25")]
    pub cgroup_roots: Vec<CgroupRoot>,
    /// What is restored becomes a child of the service's parent.
    #[prost(bool, optional, tag = "26")]
    pub as_sibling: Option<bool>,
    #[prost(message, repeated, tag = "27")]
    pub inherited: Vec<Inherited>,
    #[prost(int32, optional, tag = "34")]
    pub cgroups_mode: Option<i32>,
    #[prost(string, repeated, tag = "37")]
    pub external: Vec<String>,
    /// `CLONE_NEW*` flags.
    #[prost(uint32, optional, tag = "38")]
    pub empty_namespaces: Option<u32>,
    #[prost(message, repeated, tag = "39")]
    pub joined: Vec<JoinedNamespace>,
    #[prost(string, optional, tag = "44")]
    pub freezer: Option<String>,
    /// Seconds that the processes may take to be stopped.
    #[prost(uint32, optional, tag = "45")]
    pub timeout: Option<u32>,
    #[prost(bool, optional, tag = "46")]
    pub tcp_skip_in_flight: Option<bool>,
    /// The master side of a terminal is somebody else's.
    #[prost(bool, optional, tag = "50")]
    pub orphan_terminal: Option<bool>,
    /// More options, which go before these.
    #[prost(string, optional, tag = "51")]
    pub config_file: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CgroupRoot {
    /// None for v2.
    #[prost(string, optional, tag = "1")]
    pub controllers: Option<String>,
    #[prost(string, required, tag = "2")]
    pub path: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Inherited {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(int32, required, tag = "2")]
    pub fd: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct JoinedNamespace {
    #[prost(string, required, tag = "1")]
    pub kind: String,
    #[prost(string, required, tag = "2")]
    pub file: String,
}
