//! The version of this build, and the commit it is built from.

/// The version. That of a program without etcd ends with `+without-etcd`.
pub const VERSION: &str = env!("BUILT_VERSION");

/// The commit.
pub const COMMIT: &str = env!("BUILT_FROM_COMMIT");
