//! Log messages about the catalogue as a whole.

use super::rounded;
use crate::plan::Level;
use crate::time::Duration;
use alloc::string::String;
use core::fmt;

/// A message about the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CatalogueNotice {
    /// Requests fail, whichever part sends them: the cause of the last one.
    Lost(String),
    /// A request succeeded after an outage of this length, in which so many failed.
    Regained(Duration, u32),
    /// The catalogue accepts no more connections or requests, so the limit on requests in flight is lower for
    /// a while.
    BudgetCut {
        /// The limit now.
        allowed: u32,
        /// The limit otherwise.
        whole: u32,
        /// The catalogue's message.
        cause: String,
    },
    /// The limit on requests in flight is the usual one again.
    BudgetWhole(u32),
}

impl CatalogueNotice {
    /// The level of the message.
    pub fn level(&self) -> Level {
        match self {
            Self::Lost(_) => Level::Error,
            Self::BudgetCut { .. } => Level::Warning,
            Self::Regained(..) | Self::BudgetWhole(_) => Level::Info,
        }
    }
}

impl fmt::Display for CatalogueNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(cause) => write!(f, "The catalogue fails all requests: {cause}"),
            Self::Regained(outage, failures) => write!(
                f,
                "The catalogue answers again after {}, {failures} requests failed",
                rounded(*outage)
            ),
            Self::BudgetCut {
                allowed,
                whole,
                cause,
            } => write!(
                f,
                "The catalogue takes no more connections, asking it {allowed} things at a time instead of \
                 {whole} for a while: {cause}"
            ),
            Self::BudgetWhole(whole) => write!(
                f,
                "The catalogue takes connections again, asking it {whole} things at a time"
            ),
        }
    }
}
