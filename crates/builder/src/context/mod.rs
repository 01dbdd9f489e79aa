//! Build contexts: a directory, an archive, a git repository, a URL.
