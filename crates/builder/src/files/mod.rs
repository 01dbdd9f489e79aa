//! Trees that files are copied from, and the copying.
