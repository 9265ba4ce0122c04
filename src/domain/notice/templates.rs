//! The messages about templates and what they look up.

use super::{Failure, InUnits};
use crate::catalogue::Dependency;
use crate::plan::Level;
use crate::time::Duration;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A message about a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TemplateNotice {
    /// The file of this path has new contents.
    Written(String),
    /// A template could not be rendered, or its file not be written; the file stays as it is.
    Failed {
        /// The path of the file.
        destination: String,
        /// The failure.
        failure: Failure,
    },
    /// A template is rendered and written again.
    Resumed {
        /// The path of the file.
        destination: String,
        /// How many attempts failed in a row.
        failures: u32,
    },
    /// A template that the application needs was not written in time.
    Missing {
        /// The path of the file.
        destination: String,
        /// What it waits for.
        waits_for: Vec<Dependency>,
        /// How long the start has waited.
        limit: Duration,
    },
    /// A template is not written before keys exist that do not exist.
    Waits {
        /// The path of the file.
        destination: String,
        /// The first of the keys.
        first: Dependency,
        /// How many others there are.
        others: usize,
    },
    /// What a template uses could not be looked up.
    LookUpFailed {
        /// The name that the template uses.
        dependency: Dependency,
        /// The failure.
        failure: Failure,
    },
    /// It can be looked up again.
    LookUpResumed {
        /// The name that the template uses.
        dependency: Dependency,
        /// How many requests failed in a row.
        failures: u32,
    },
    /// The catalogue reports that its access rules hide everything of this name.
    Hidden(Dependency),
}

impl TemplateNotice {
    /// The level of the message.
    pub fn level(&self) -> Level {
        match self {
            Self::Failed { .. } | Self::Missing { .. } => Level::Error,
            Self::LookUpFailed { .. } | Self::Hidden(_) => Level::Warning,
            Self::Written(_) | Self::Resumed { .. } | Self::Waits { .. } | Self::LookUpResumed { .. } => {
                Level::Info
            }
        }
    }

    /// The failure that may have happened several times in a row, if the message is about one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure, .. } | Self::LookUpFailed { failure, .. } => Some(failure),
            _ => None,
        }
    }
}

impl fmt::Display for TemplateNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(destination) => write!(f, "Template {destination} was written"),
            Self::Failed { destination, failure } => {
                write!(f, "Template {destination} was not written: {failure}")
            }
            Self::Resumed {
                destination,
                failures,
            } => write!(
                f,
                "Template {destination} is written again after {failures} failed attempts"
            ),
            Self::Missing {
                destination,
                waits_for,
                limit,
            } => {
                write!(
                    f,
                    "Template {destination} is required and was not written within {}",
                    InUnits(*limit)
                )?;
                for (index, dependency) in waits_for.iter().enumerate() {
                    let before = if index == 0 { ": it waits for" } else { "," };
                    write!(f, "{before} {dependency}")?;
                }
                Ok(())
            }
            Self::Waits {
                destination,
                first,
                others,
            } => {
                write!(f, "Template {destination} is not written before {first} exists")?;
                match others {
                    0 => Ok(()),
                    1 => f.write_str(", nor before 1 other"),
                    more => write!(f, ", nor before {more} others"),
                }
            }
            Self::LookUpFailed { dependency, failure } => {
                write!(f, "Failed to look up {dependency} for templates: {failure}")
            }
            Self::LookUpResumed { dependency, failures } => write!(
                f,
                "The catalogue answers again for {dependency} after {failures} failed requests"
            ),
            Self::Hidden(dependency) => write!(
                f,
                "The catalogue lists nothing for {dependency}, and says that its ACLs hide some from this token; this is \
                 not taken as a change"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_template_that_waits_names_the_first_key() {
        let notice = |others| TemplateNotice::Waits {
            destination: "/etc/app".into(),
            first: Dependency::Key("a/b".into()),
            others,
        };
        let sentence = "Template /etc/app is not written before key a/b exists";
        assert_eq!(notice(0).to_string(), sentence);
        assert_eq!(
            notice(1).to_string(),
            std::format!("{sentence}, nor before 1 other")
        );
        assert_eq!(
            notice(5).to_string(),
            std::format!("{sentence}, nor before 5 others")
        );
    }

    #[test]
    fn a_missing_template_names_what_it_waits_for() {
        let service = |name: &str| Dependency::Service {
            name: name.into(),
            tag: None,
        };
        let notice = |waits_for| TemplateNotice::Missing {
            destination: "/etc/app".into(),
            waits_for,
            limit: Duration::from_secs(60),
        };
        let sentence = "Template /etc/app is required and was not written within 1m0s";
        assert_eq!(notice(Vec::new()).to_string(), sentence);
        assert_eq!(
            notice([service("web"), service("db")].into()).to_string(),
            std::format!("{sentence}: it waits for service web, service db")
        );
    }
}
