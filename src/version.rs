//! The version of this build, and the commit it is built from.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit.
pub const COMMIT: &str = env!("BUILT_FROM_COMMIT");
