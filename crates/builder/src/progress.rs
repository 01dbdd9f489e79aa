//! What a build tells while it works.

use rctr_engine::LogStream;

/// A line in the view: one step, or one of the internal things before and after.
pub type VertexId = usize;

/// Bytes of something that goes on; zero where they are not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// So far.
    pub current: u64,
    /// In all.
    pub total: u64,
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// Work begins that a person may want to see.
    Started {
        /// Which.
        vertex: VertexId,
        /// `[2/3] RUN make`.
        name: &'a str,
    },
    /// It need not be done: the cache has its result. Instead of `Started` and `Done`.
    Cached {
        /// Which.
        vertex: VertexId,
        /// `[2/3] RUN make`.
        name: &'a str,
    },
    /// It prints.
    Output {
        /// Which.
        vertex: VertexId,
        /// On which stream.
        stream: LogStream,
        /// What, not always whole lines.
        bytes: &'a [u8],
    },
    /// Something within it, such as `transferring context:`; told again as it goes on, and with `done` at its end.
    Status {
        /// Which.
        vertex: VertexId,
        /// What; the same text is the same thing.
        text: &'a str,
        /// How far it has come.
        amount: Amount,
        /// It has ended.
        done: bool,
    },
    /// A word of warning.
    Warning {
        /// Which.
        vertex: VertexId,
        /// What.
        text: &'a str,
    },
    /// It has ended.
    Done {
        /// Which.
        vertex: VertexId,
        /// Why it failed, if it did.
        error: Option<&'a str>,
    },
}

/// Who watches a build. Called from several threads.
pub trait Progress: Send + Sync {
    /// Takes notice.
    fn event(&self, event: Event<'_>);
}

/// Nobody watches.
impl Progress for () {
    fn event(&self, _: Event<'_>) {}
}
