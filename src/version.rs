//! The version of this build: the release, and the commit it is built from.

/// The release; a build that is not a release has a text that states that.
pub const VERSION: &str = match option_env!("BUILT_AS_VERSION") {
    Some(version) => version,
    None => "dev-build-not-for-release",
};

/// The commit.
pub const COMMIT: &str = env!("BUILT_FROM_COMMIT");
