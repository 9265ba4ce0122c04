//! The compiler of configurations: source, template, a tree of values with positions, and one conversion into
//! a plan.
//!
//! Each pass has its own file and its own errors. The last one, [`v2`], reports all errors at once. The
//! compiler starts, opens and changes nothing, so a refused configuration has no effects. A second front end
//! for v3 can be added beside `v2`, with the same `keys` and the same plan.

mod excerpt;
pub mod json;
mod keys;
mod listing;
mod problem;
mod secrets;
pub mod source;
mod syntax;
mod tree;
pub mod v2;

pub use source::{Readable, Source};

use crate::ports::{Interfaces, Users};
use domain::Plan;
use domain::plan::Word;
use listing::Listing;
use problem::Problems;
use std::collections::BTreeMap;
use tree::Document;

/// The machine and the command line that a configuration is compiled for.
pub struct Target<'a> {
    /// The environment that templates see.
    pub variables: BTreeMap<String, String>,
    /// The host's name, which is part of a service's default ID; `None` if the kernel has no valid one.
    pub hostname: Option<String>,
    /// The port that lists the machine's addresses.
    pub interfaces: &'a dyn Interfaces,
    /// The port that reads the machine's users and groups.
    pub users: &'a dyn Users,
    /// The application and its arguments as given on the command line; may be empty.
    pub application: &'a [Word],
}

/// A plan, and information about its configuration for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// Warnings, each with its position and line.
    pub warnings: Vec<String>,
    /// The configuration as JSON on one line, without its secrets (LG-5).
    pub shown: String,
}

/// Reads a configuration and compiles it.
///
/// # Errors
/// A report of all errors for the operator, each with file, line, column, key, the line itself and, where
/// possible, a hint.
pub fn load(source: &Source, readable: Readable, target: &Target<'_>) -> Result<Compiled, String> {
    let variables = &target.variables;
    let listing = listing(source, readable, variables)?;
    let text = listing.text();
    let root = json::parse(text).map_err(|error| syntax::report(source, &listing, &error, variables))?;
    let document = Document { text, root };
    let mut problems = Problems::of(&document);
    match v2::compile(&document, target, &mut problems) {
        Some(plan) if problems.has_no_errors() => Ok(Compiled {
            plan,
            warnings: problems.warnings(&listing, variables),
            shown: secrets::on_one_line(text.strip_prefix(json::MARK).unwrap_or(text)),
        }),
        _ => Err(problems.errors(&listing, variables)),
    }
}

/// Reads a configuration and renders its template. Nothing else is checked.
///
/// # Errors
/// The file cannot be read, or the template is invalid.
pub fn render(
    source: &Source,
    readable: Readable,
    variables: &BTreeMap<String, String>,
) -> Result<String, String> {
    listing(source, readable, variables).map(Listing::into_text)
}

fn listing(
    source: &Source,
    readable: Readable,
    variables: &BTreeMap<String, String>,
) -> Result<Listing, String> {
    let mut listing = Listing::written(source, source.read(readable)?);
    match listing.render(variables) {
        Ok(()) => Ok(listing),
        Err(error) => Err(syntax::template_report(&listing, &error)),
    }
}
