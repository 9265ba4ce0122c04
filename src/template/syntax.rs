//! What a parsed template looks like.
//!
//! Every node holds its position in the text and can print itself the way error messages quote it; the
//! two together are what `executing "" at <...>` shows. Nothing here evaluates anything.

use std::fmt::{Display, Formatter, Result};
use std::ops::Range;

use crate::quote::quote;
use crate::value::Value;

/// The statements of a template, a branch or a loop.
pub(crate) type Body = Vec<Statement>;

/// One thing to do.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    /// A text and where it begins in the template.
    Text(usize, String),
    /// What is printed, and from where to where its action reaches, delimiters included.
    Action(Range<usize>, Pipeline),
    If(Choice),
    With(Branch),
    Range(Branch),
    Call(Call),
    Break,
    Continue,
}

/// `if` with every `else if` that follows it, and `else`. They stand beside one another, not in one another, so
/// that nothing recurses with their number.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub cases: Vec<Case>,
    pub otherwise: Body,
}

/// A condition, and what is done if it is the first that is true.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub pipeline: Pipeline,
    pub body: Body,
}

/// The common shape of `with` and `range`.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub pipeline: Pipeline,
    pub body: Body,
    pub otherwise: Body,
}

/// `{{template "name" pipeline}}`.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub position: usize,
    pub name: String,
    pub pipeline: Option<Pipeline>,
}

/// Commands, each handing its result to the next, and the variables that take the last result.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub position: usize,
    pub variables: Vec<String>,
    /// Whether existing variables are assigned instead of new ones declared.
    pub assigns: bool,
    pub commands: Vec<Command>,
}

/// A first operand and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub position: usize,
    pub first: Operand,
    pub arguments: Vec<Operand>,
}

/// A single word of a command.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub position: usize,
    pub kind: OperandKind,
}

/// What a word of a command is.
#[derive(Clone, Debug)]
pub(crate) enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    /// The constant and the text it was written as.
    Number(Value, String),
    /// The text and its form in the template, quotes included.
    Text(Value, String),
    Function(String),
    /// Field names from dot inwards.
    Field(Vec<String>),
    /// A variable's name and field names from there inwards.
    Variable(String, Vec<String>),
    /// Field names from the result of another operand inwards.
    Chain(Box<Operand>, Vec<String>),
    Parenthesized(Box<Pipeline>),
}

impl Display for Call {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        write!(formatter, "{{{{template {}", quote(&self.name, false))?;
        if let Some(pipeline) = &self.pipeline {
            write!(formatter, " {pipeline}")?;
        }
        formatter.write_str("}}")
    }
}

impl Display for Pipeline {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        if !self.variables.is_empty() {
            write!(formatter, "{} := ", self.variables.join(", "))?;
        }
        separated(formatter, &self.commands, " | ")
    }
}

impl Display for Command {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        write!(formatter, "{}", self.first)?;
        for argument in &self.arguments {
            write!(formatter, " {argument}")?;
        }
        Ok(())
    }
}

impl Display for Operand {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        match &self.kind {
            OperandKind::Dot => formatter.write_str("."),
            OperandKind::Nil => formatter.write_str("nil"),
            OperandKind::Bool(value) => write!(formatter, "{value}"),
            OperandKind::Number(_, written) | OperandKind::Text(_, written) => formatter.write_str(written),
            OperandKind::Function(name) => formatter.write_str(name),
            OperandKind::Field(names) => fields(formatter, names),
            OperandKind::Variable(name, names) => {
                formatter.write_str(name)?;
                fields(formatter, names)
            }
            OperandKind::Chain(start, names) => {
                write!(formatter, "{start}")?;
                fields(formatter, names)
            }
            OperandKind::Parenthesized(pipeline) => write!(formatter, "({pipeline})"),
        }
    }
}

fn fields(formatter: &mut Formatter<'_>, names: &[String]) -> Result {
    names.iter().try_for_each(|name| write!(formatter, ".{name}"))
}

fn separated(formatter: &mut Formatter<'_>, items: &[Command], separator: &str) -> Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            formatter.write_str(separator)?;
        }
        write!(formatter, "{item}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    fn written(text: &str) -> Option<String> {
        let templates = parse(text).ok()?;
        Some(match templates.get("")?.first()? {
            Statement::Action(_, pipeline) => pipeline.to_string(),
            Statement::Call(call) => call.to_string(),
            _ => return None,
        })
    }

    #[test]
    fn pipelines_are_quoted_with_single_spaces() {
        for (text, expected) in [
            (
                "{{ .a.b  |  printf `%s` \"x\" | len }}",
                ".a.b | printf `%s` \"x\" | len",
            ),
            (
                "{{ $x   :=   ( print 1 0x1F 'a' ).b }}",
                "$x := (print 1 0x1F 'a').b",
            ),
            ("{{ template  `T`  $.x }}", "{{template \"T\" $.x}}"),
            ("{{ template \"T\" }}", "{{template \"T\"}}"),
            ("{{ eq . nil true }}", "eq . nil true"),
        ] {
            assert_eq!(written(text).as_deref(), Some(expected), "{text}");
        }
    }
}
