//! The error of a template that could not be rendered, in the words and form of the original.
//!
//! Operators know these messages from Go and search for them, so the form is the same to the letter: the name
//! of the template is empty, hence the doubled colon.

use std::fmt::{Display, Formatter, Result};

use crate::quote::quote;

/// A template is malformed, or its execution failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The line of the error in the template, from 1.
    pub line: usize,
    /// The offset of the error, in bytes from the start of the template; 0 if it has no position.
    pub offset: usize,
    /// Where the execution failed; `None` if the template is malformed.
    pub place: Option<Place>,
    /// The message.
    pub message: String,
    /// The name of the unknown function, if that is the error.
    pub unknown_function: Option<String>,
}

/// The place at which the execution failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset in bytes from the start of the line.
    pub column: usize,
    /// The named template being executed; empty for the outermost.
    pub template: String,
    /// The piece of the template being executed.
    pub excerpt: String,
}

impl TemplateError {
    /// An error in the syntax of a template.
    pub(crate) fn syntax(line: usize, offset: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            offset,
            place: None,
            message: message.into(),
            unknown_function: None,
        }
    }

    /// An error during execution at `position` of `text`.
    pub(crate) fn execution(
        text: &str,
        position: usize,
        template: &str,
        excerpt: String,
        message: String,
    ) -> Self {
        let before = text.get(..position).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: 1 + before.matches('\n').count(),
            offset: before.len(),
            place: Some(Place {
                column: before.len() - line_start,
                template: template.to_owned(),
                excerpt,
            }),
            message,
            unknown_function: None,
        }
    }
}

impl Display for TemplateError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        write!(formatter, "template: :{}:", self.line)?;
        if let Some(place) = &self.place {
            let template = quote(&place.template, false);
            let excerpt = &place.excerpt;
            write!(
                formatter,
                "{}: executing {template} at <{excerpt}>:",
                place.column
            )?;
        }
        write!(formatter, " {}", self.message)
    }
}

impl std::error::Error for TemplateError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_templates_are_reported_by_line() {
        let error = TemplateError::syntax(3, 0, "unexpected EOF");
        assert_eq!(error.to_string(), "template: :3: unexpected EOF");
    }

    #[test]
    fn failed_executions_are_reported_by_line_column_template_and_excerpt() {
        let error = TemplateError::execution("a\n  {{.b}}", 6, "T", ".b".to_owned(), "no".to_owned());
        assert_eq!(error.to_string(), "template: :2:4: executing \"T\" at <.b>: no");
    }
}
