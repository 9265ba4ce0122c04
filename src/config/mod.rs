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
mod report;
mod secrets;
pub mod source;
mod syntax;
mod tree;
pub mod v2;

pub use report::{Report, text};
pub use source::{Readable, Source};

use crate::ports::{Interfaces, Programs, Users};
use domain::Plan;
use domain::plan::Word;
use listing::Listing;
use problem::Problems;
use std::collections::BTreeMap;
use tree::Document;

/// The machine, the program and the command line that a configuration is compiled for.
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
    /// Whether the program can use etcd; it can be built without.
    pub has_etcd: bool,
    /// What is looked at besides, if the configuration is only checked.
    pub examination: Option<Examination<'a>>,
}

impl Target<'_> {
    /// Whether the configuration is only checked, on a machine with other interfaces.
    pub fn has_other_interfaces(&self) -> bool {
        self.examination
            .is_some_and(|examination| examination.has_other_interfaces)
    }
}

/// What a check of a configuration looks at that a start does not.
#[derive(Clone, Copy)]
pub struct Examination<'a> {
    /// The port that looks for programs.
    pub programs: &'a dyn Programs,
    /// Whether this machine has other interfaces than the one that the configuration is for. Then an address that does
    /// not exist here is only a warning.
    pub has_other_interfaces: bool,
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
    let checked = check(source, readable, target).map_err(|errors| text(&errors))?;
    Ok(checked.into())
}

/// A plan, and information about its configuration for the operator, whose warnings are not yet texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The plan.
    pub plan: Plan,
    /// The warnings, in the order of the text.
    pub warnings: Vec<Report>,
    /// The configuration as JSON on one line, without its secrets (LG-5).
    pub shown: String,
}

impl From<Checked> for Compiled {
    fn from(checked: Checked) -> Self {
        Self {
            plan: checked.plan,
            warnings: checked.warnings.iter().map(Report::to_string).collect(),
            shown: checked.shown,
        }
    }
}

/// Reads a configuration and compiles it, as [`load`] does.
///
/// # Errors
/// All errors, in the order of the text.
pub fn check(source: &Source, readable: Readable, target: &Target<'_>) -> Result<Checked, Vec<Report>> {
    let variables = &target.variables;
    let listing = listing(source, readable, variables).map_err(|error| vec![*error])?;
    let rendered = listing.text();
    let root =
        json::parse(rendered).map_err(|error| vec![syntax::report(source, &listing, &error, variables)])?;
    let document = Document { text: rendered, root };
    let mut problems = Problems::of(&document);
    match v2::compile(&document, target, &mut problems) {
        Some(plan) if problems.has_no_errors() => Ok(Checked {
            plan,
            warnings: problems.warnings(&listing, variables),
            shown: secrets::on_one_line(rendered.strip_prefix(json::MARK).unwrap_or(rendered)),
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
    let listing = listing(source, readable, variables).map_err(|error| error.to_string())?;
    Ok(listing.into_text())
}

/// Reads a configuration and finds the path of its control socket. Nothing else is checked, so that a client finds the
/// socket on whatever machine it runs. `None` if the configuration has no control socket.
///
/// # Errors
/// The file cannot be read, the template is invalid, or the result is not JSON.
pub fn control_socket(
    source: &Source,
    variables: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    let listing = listing(source, Readable::Files, variables).map_err(|error| error.to_string())?;
    let root = json::parse(listing.text());
    let root = root.map_err(|error| syntax::report(source, &listing, &error, variables).to_string())?;
    Ok(v2::control::socket_of(&root))
}

fn listing(
    source: &Source,
    readable: Readable,
    variables: &BTreeMap<String, String>,
) -> Result<Listing, Box<Report>> {
    let text = source.read(readable);
    let text = text.map_err(|sentence| Box::new(Report::sentence(source.to_string(), sentence)))?;
    let mut listing = Listing::written(source, text);
    match listing.render(variables) {
        Ok(()) => Ok(listing),
        Err(error) => Err(Box::new(syntax::template_report(&listing, &error))),
    }
}
