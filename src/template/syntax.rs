//! The syntax tree of a template.
//!
//! Every node has its position in the text and can be printed as error messages quote it; both are needed for
//! `executing "" at <...>`. Nothing is evaluated here.

use std::fmt::{Display, Formatter, Result};
use std::ops::Range;

use crate::quote::quote;
use crate::value::Value;

/// The statements of a template, a branch or a loop.
pub(crate) type Body = Vec<Statement>;

/// A statement.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    /// A text and its position in the template.
    Text(usize, String),
    /// An action that prints, and its span, including the delimiters.
    Action(Range<usize>, Pipeline),
    If(Choice),
    With(Branch),
    Range(Branch),
    Call(Call),
    Break,
    Continue,
}

/// `if` with every `else if` that follows it, and `else`. They are in a list and not nested, so that no code
/// recurses with their number.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub cases: Vec<Case>,
    pub otherwise: Body,
}

/// A condition, and the body if it is the first that is true.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub pipeline: Pipeline,
    pub body: Body,
}

/// The common structure of `with` and `range`.
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

/// Commands, each of which passes its result to the next, and the variables that get the last result.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub position: usize,
    pub variables: Vec<String>,
    /// Whether existing variables are assigned; otherwise new ones are declared.
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

/// The kind of a word in a command.
#[derive(Clone, Debug)]
pub(crate) enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    /// The number and its text in the template.
    Number(Value, String),
    /// The text and its form in the template, including the quotes.
    Text(Value, String),
    Function(String),
    /// Names of fields, starting at the dot.
    Field(Vec<String>),
    /// The name of a variable, and names of fields starting at it.
    Variable(String, Vec<String>),
    /// Names of fields, starting at the result of another operand.
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
    use crate::functions::Vocabulary;
    use crate::parse::parse;

    fn written(text: &str) -> Option<String> {
        let templates = parse(text, Vocabulary::Common).ok()?;
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
