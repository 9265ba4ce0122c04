//! The configuration as a compiler: source, template, JSON, and one conversion into a plan.
//!
//! Each pass has its own file and its own errors, and the last one, [`v2`], reports everything that is wrong
//! at once. Nothing here starts, opens or changes anything: a configuration that is refused leaves no trace.
//! A second front end for v3 will stand beside `v2` and compile into the same plan.

pub mod json;
mod problem;
mod secrets;
pub mod source;
pub mod v2;

pub use source::{Readable, Source};

use crate::ports::Interfaces;
use domain::Plan;
use domain::plan::Word;
use json::Document;
use std::collections::BTreeMap;

/// What a configuration is compiled for.
pub struct Target<'a> {
    /// The environment that templates see.
    pub variables: BTreeMap<String, String>,
    /// The host's name, part of every service ID; none if the kernel does not tell.
    pub hostname: Option<String>,
    /// Where addresses are looked up.
    pub interfaces: &'a dyn Interfaces,
    /// The application and its arguments as given on the command line; may be empty.
    pub application: &'a [Word],
}

/// A plan, and what the operator should know about the configuration it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// What the configuration says.
    pub plan: Plan,
    /// Sentences about things that are accepted but look like mistakes.
    pub warnings: Vec<String>,
    /// The configuration as JSON on one line, without its secrets (LG-5).
    pub shown: String,
}

/// Reads a configuration and compiles it.
///
/// # Errors
/// A report for the operator: everything that is wrong, a line each, with file, line and key.
pub fn load(source: &Source, readable: Readable, target: &Target<'_>) -> Result<Compiled, String> {
    let text = render(source, readable, &target.variables)?;
    let document = Document::parse(&text).map_err(|error| format!("{source}: {error}{}", hint(source)))?;
    v2::compile(&document, target).map_err(|problems| problems.report(source))
}

/// A path without its prefix is taken as the text itself (CFG-24).
fn hint(source: &Source) -> String {
    match source {
        Source::Inline(text) if text.starts_with(['/', '.']) && !text.contains('\n') && text.len() < 4096 => {
            format!("\nDid you mean file://{text}?")
        }
        _ => String::new(),
    }
}

/// Reads a configuration and renders its template; nothing else is checked.
///
/// # Errors
/// The file cannot be read, or the template is wrong.
pub fn render(
    source: &Source,
    readable: Readable,
    variables: &BTreeMap<String, String>,
) -> Result<String, String> {
    let text = source.read(readable)?;
    let rendered = template::render(&text, variables);
    rendered.map_err(|error| format!("Could not apply template to config: {error}"))
}
