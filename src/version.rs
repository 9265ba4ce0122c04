//! What this build calls itself: the release, and the commit it is built from. Decides nothing else.

/// The release; a build that is none says so.
pub const VERSION: &str = match option_env!("BUILT_AS_VERSION") {
    Some(version) => version,
    None => "dev-build-not-for-release",
};

/// The commit.
pub const COMMIT: &str = env!("BUILT_FROM_COMMIT");
