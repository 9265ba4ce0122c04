//! Executes a parsed template.
//!
//! Defines what statements, pipelines, fields and variables do. Every error names the place in the template
//! that was evaluated last, as Go's messages do; therefore `at` follows the execution, and is read only if an
//! error occurs. Steps and depth are counted, because a template can loop and call itself. Only the given
//! data and environment are read.

use std::fmt::Display;
use std::ops::Range;

use super::format;
use crate::error::TemplateError;
use crate::functions::{self, Behaviour, Function, Parameter, Vocabulary};
use crate::limit::{self, BoundedText, DEPTH, STEPS, too_long};
use crate::lookup::{self, Lookup};
use crate::parse::Templates;
use crate::rendered::{Piece, Rendered};
use crate::search::Steps;
use crate::syntax::{Body, Branch, Call, Choice, Command, Operand, OperandKind, Pipeline, Statement};
use crate::value::{Environment, Key, Outcome, Type, Value};

/// Renders the outermost template with `data`.
pub(crate) fn execute(
    text: &str,
    templates: &Templates,
    data: &Value,
    environment: &Environment,
    lookup: Option<&dyn Lookup>,
) -> Result<Rendered, TemplateError> {
    let dot = Held::known(data.clone());
    let mut executor = Executor {
        text,
        templates,
        environment,
        lookup,
        out: BoundedText::default(),
        pieces: Vec::new(),
        variables: vec![("$", dot.clone())],
        template: "",
        at: (0, &""),
        depth: 0,
        steps: 0,
    };
    if let Some(body) = templates.get("") {
        executor.body(&dot, body)?;
    }
    let Executor { out, pieces, .. } = executor;
    let text = out
        .finish()
        .map_err(|message| TemplateError::syntax(1, 0, message))?;
    Ok(Rendered { text, pieces })
}

struct Executor<'a> {
    text: &'a str,
    templates: &'a Templates,
    environment: &'a Environment,
    lookup: Option<&'a dyn Lookup>,
    out: BoundedText,
    pieces: Vec<Piece>,
    variables: Vec<(&'a str, Held)>,
    /// The name of the template being executed.
    template: &'a str,
    /// Position and text of what was evaluated last.
    at: (usize, &'a dyn Display),
    depth: usize,
    steps: usize,
}

/// A value, and whether its declared type is "any": only there nil is a value.
#[derive(Clone)]
struct Held {
    value: Value,
    as_anything: bool,
}

/// How the execution continues after a statement.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

type Executed<T> = Result<T, TemplateError>;

impl Held {
    fn known(value: Value) -> Self {
        Self {
            value,
            as_anything: false,
        }
    }

    fn of_type(declared: Type, value: Value) -> Self {
        Self {
            value,
            as_anything: declared == Type::Any,
        }
    }

    fn type_name(&self) -> String {
        match self.as_anything {
            true => Type::Any.name().to_owned(),
            false => self.value.type_name(),
        }
    }
}

fn is_contains(names: &[String]) -> bool {
    names.last().is_some_and(|name| name == "Contains")
}

impl<'a> Executor<'a> {
    fn body(&mut self, dot: &Held, body: &'a Body) -> Executed<Flow> {
        self.enter()?;
        let mut flow = Flow::Next;
        for statement in body {
            flow = self.statement(dot, statement)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    fn statement(&mut self, dot: &Held, statement: &'a Statement) -> Executed<Flow> {
        self.step()?;
        match statement {
            Statement::Text(position, text) => {
                self.begin_piece(*position..position + text.len(), true);
                self.print(text)?;
            }
            Statement::Action(written, pipeline) => self.action(dot, written, pipeline)?,
            Statement::If(choice) => return self.choice(dot, choice),
            Statement::With(branch) => return self.with(dot, branch),
            Statement::Range(branch) => self.range(dot, branch)?,
            Statement::Call(call) => self.call_template(dot, call)?,
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn step(&mut self) -> Executed<()> {
        self.work(1)
    }

    fn work(&mut self, steps: usize) -> Executed<()> {
        self.steps += steps;
        match self.steps > STEPS {
            true => self.fail(limit::exceeded()),
            false => Ok(()),
        }
    }

    fn enter(&mut self) -> Executed<()> {
        self.depth += 1;
        match self.depth > DEPTH {
            true => self.fail(format!("exceeded maximum template depth ({DEPTH})")),
            false => Ok(()),
        }
    }

    fn print(&mut self, text: &str) -> Executed<()> {
        self.out.push(text);
        match self.out.overflowed() {
            true => self.fail(too_long()),
            false => Ok(()),
        }
    }

    /// The output from now on comes from the part `written` of the template.
    fn begin_piece(&mut self, written: Range<usize>, is_copied: bool) {
        let start = self.out.len();
        self.pieces.push(Piece {
            start,
            written,
            is_copied,
        });
    }

    fn action(&mut self, dot: &Held, written: &Range<usize>, pipeline: &'a Pipeline) -> Executed<()> {
        let held = self.pipeline(dot, pipeline)?;
        if !pipeline.variables.is_empty() {
            return Ok(());
        }
        self.begin_piece(written.clone(), false);
        match held.value {
            Value::Nil => self.print("<no value>"),
            value => {
                let text = format::plain(&value).or_else(|message| self.fail(message))?;
                self.print(&text)
            }
        }
    }

    fn choice(&mut self, dot: &Held, choice: &'a Choice) -> Executed<Flow> {
        let visible = self.variables.len();
        let chosen = self.chosen(dot, choice)?;
        let flow = self.body(dot, chosen);
        self.variables.truncate(visible);
        flow
    }

    /// The body of the first condition that is true. Each false condition counts as a step.
    fn chosen(&mut self, dot: &Held, choice: &'a Choice) -> Executed<&'a Body> {
        for case in &choice.cases {
            if self.pipeline(dot, &case.pipeline)?.value.is_true() {
                return Ok(&case.body);
            }
            self.step()?;
        }
        Ok(&choice.otherwise)
    }

    fn with(&mut self, dot: &Held, branch: &'a Branch) -> Executed<Flow> {
        let visible = self.variables.len();
        let held = self.pipeline(dot, &branch.pipeline)?;
        let flow = match held.value.is_true() {
            true => self.body(&held, &branch.body),
            false => self.body(dot, &branch.otherwise),
        };
        self.variables.truncate(visible);
        flow
    }

    fn range(&mut self, dot: &Held, branch: &'a Branch) -> Executed<()> {
        let visible = self.variables.len();
        let held = self.pipeline(dot, &branch.pipeline)?;
        let repeated = match &held.value {
            Value::List(list) => {
                let items = list.items.iter().cloned().zip(0..);
                let items = items.map(|(item, index)| (Value::Int(index), item));
                self.repeat(branch, list.element, items)?
            }
            Value::Map(map) => {
                let entries = map.entries.iter().map(|(key, item)| (key.value(), item.clone()));
                self.repeat(branch, map.element, entries)?
            }
            Value::Nil => false,
            other => return self.refuse_range(other),
        };
        if !repeated {
            self.body(dot, &branch.otherwise)?;
        }
        self.variables.truncate(visible);
        Ok(())
    }

    fn refuse_range(&self, value: &Value) -> Executed<()> {
        let shown = format::plain(value).or_else(|message| self.fail(message))?;
        self.fail(format!("range can't iterate over {shown}"))
    }

    /// Executes the body for each item. Returns whether there was an item.
    fn repeat(
        &mut self,
        branch: &'a Branch,
        element: Type,
        items: impl Iterator<Item = (Value, Value)>,
    ) -> Executed<bool> {
        let visible = self.variables.len();
        let mut repeated = false;
        for (index, item) in items {
            repeated = true;
            self.step()?;
            let item = Held::of_type(element, item);
            self.set_range_variables(&branch.pipeline, index, &item)?;
            let flow = self.body(&item, &branch.body)?;
            self.variables.truncate(visible);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(repeated)
    }

    fn set_range_variables(&mut self, pipeline: &'a Pipeline, index: Value, item: &Held) -> Executed<()> {
        match pipeline.variables.as_slice() {
            [] => Ok(()),
            [one] => self.assign(one, item.clone()),
            [first, second, ..] => {
                self.assign(first, Held::known(index))?;
                self.assign(second, item.clone())
            }
        }
    }

    fn call_template(&mut self, dot: &Held, call: &'a Call) -> Executed<()> {
        self.look_at(call.position, call);
        let Some((name, body)) = self.templates.get_key_value(&call.name) else {
            let name = crate::quote::quote(&call.name, false);
            return self.fail(format!("template {name} not defined"));
        };
        let dot = match &call.pipeline {
            Some(pipeline) => self.pipeline(dot, pipeline)?,
            None => Held::known(Value::Nil),
        };
        let inside = vec![("$", dot.clone())];
        let variables = std::mem::replace(&mut self.variables, inside);
        let template = std::mem::replace(&mut self.template, name);
        self.body(&dot, body)?;
        self.variables = variables;
        self.template = template;
        Ok(())
    }

    fn pipeline(&mut self, dot: &Held, pipeline: &'a Pipeline) -> Executed<Held> {
        self.enter()?;
        self.look_at(pipeline.position, pipeline);
        let mut piped = None;
        for command in &pipeline.commands {
            let held = self.command(dot, command, piped)?;
            piped = Some(Held::known(held.value));
        }
        let held = piped.unwrap_or_else(|| Held::known(Value::Nil));
        for name in &pipeline.variables {
            match pipeline.assigns {
                true => self.assign(name, held.clone())?,
                false => self.variables.push((name, held.clone())),
            }
        }
        self.depth -= 1;
        Ok(held)
    }

    fn command(&mut self, dot: &Held, command: &'a Command, piped: Option<Held>) -> Executed<Held> {
        let first = &command.first;
        let given = !command.arguments.is_empty() || piped.is_some();
        if !matches!(first.kind, OperandKind::Parenthesized(_)) {
            self.look_at(first.position, first);
        }
        match &first.kind {
            OperandKind::Function(name) => {
                let called = (command.position, command as &dyn Display);
                return self.call(dot, name, called, &command.arguments, piped);
            }
            OperandKind::Field(_) | OperandKind::Chain(..) => {
                if let Some(held) = self.method(dot, command, piped.as_ref())? {
                    return Ok(held);
                }
            }
            OperandKind::Variable(_, names) if !names.is_empty() => {
                if let Some(held) = self.method(dot, command, piped.as_ref())? {
                    return Ok(held);
                }
            }
            _ => self.refuse_arguments(first, given)?,
        }
        match first.kind {
            OperandKind::Nil => self.fail("nil is not a command"),
            _ => self.operand(dot, first, given),
        }
    }

    /// The result of the only method there is, `Contains` of a list of texts, if this is a call of it.
    fn method(&mut self, dot: &Held, command: &'a Command, piped: Option<&Held>) -> Executed<Option<Held>> {
        let (names, start) = match &command.first.kind {
            OperandKind::Field(names) => (names, dot.clone()),
            OperandKind::Variable(name, names) => (names, self.variable(name)?),
            OperandKind::Chain(start, names) if is_contains(names) => {
                (names, self.operand(dot, start, false)?)
            }
            _ => return Ok(None),
        };
        if self.lookup.is_none() || !is_contains(names) {
            return Ok(None);
        }
        let Value::List(list) = self.fields(start, &names[..names.len() - 1], false)?.value else {
            return Ok(None);
        };
        let wanted = match (command.arguments.as_slice(), piped) {
            ([operand], None) => self.argument(dot, Parameter::Text, operand)?,
            ([], Some(piped)) => self.suited(piped.clone(), Parameter::Text)?,
            (arguments, piped) => {
                let got = arguments.len() + usize::from(piped.is_some());
                return self.fail(format!("wrong number of args for Contains: want 1 got {got}"));
            }
        };
        let list = Value::List(list);
        self.work(limit::steps_for(&list))?;
        let found = lookup::contains(&[wanted, list]);
        found
            .map(|found| Some(Held::known(found)))
            .or_else(|message| self.fail(message))
    }

    fn refuse_arguments(&self, operand: &Operand, given: bool) -> Executed<()> {
        match given {
            true => self.fail(format!("can't give argument to non-function {operand}")),
            false => Ok(()),
        }
    }

    /// The value of an operand; `given` is whether a field at its end has arguments.
    fn operand(&mut self, dot: &Held, operand: &'a Operand, given: bool) -> Executed<Held> {
        self.look_at(operand.position, operand);
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Held::known(Value::Nil)),
            OperandKind::Bool(truth) => Ok(Held::known(Value::Bool(*truth))),
            OperandKind::Number(constant, _) | OperandKind::Text(constant, _) => {
                Ok(Held::known(constant.clone()))
            }
            OperandKind::Function(name) => self.call(dot, name, (operand.position, operand), &[], None),
            OperandKind::Field(names) => self.fields(dot.clone(), names, given),
            OperandKind::Variable(name, names) => {
                let start = self.variable(name)?;
                self.fields(start, names, given)
            }
            OperandKind::Chain(start, _) if matches!(start.kind, OperandKind::Nil) => {
                self.fail(format!("indirection through explicit nil in {operand}"))
            }
            OperandKind::Chain(start, names) => {
                let start = self.operand(dot, start, false)?;
                self.fields(start, names, given)
            }
            OperandKind::Parenthesized(pipeline) => self.pipeline(dot, pipeline),
        }
    }

    fn variable(&self, name: &str) -> Executed<Held> {
        let found = self.variables.iter().rev().find(|(known, _)| *known == name);
        match found {
            Some((_, held)) => Ok(held.clone()),
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    fn assign(&mut self, name: &str, held: Held) -> Executed<()> {
        let found = self.variables.iter_mut().rev().find(|(known, _)| *known == name);
        match found {
            Some((_, place)) => {
                *place = held;
                Ok(())
            }
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    fn fields(&self, start: Held, names: &[String], given: bool) -> Executed<Held> {
        let last = names.len().saturating_sub(1);
        let mut held = start;
        for (index, name) in names.iter().enumerate() {
            held = self.field(&held, name, given && index == last)?;
        }
        Ok(held)
    }

    fn field(&self, receiver: &Held, name: &str, given: bool) -> Executed<Held> {
        match &receiver.value {
            Value::Nil if receiver.as_anything => {
                let type_name = receiver.type_name();
                self.fail(format!("nil pointer evaluating {type_name}.{name}"))
            }
            Value::Nil => Ok(Held::known(Value::Nil)),
            Value::Map(map) if map.key == Type::Text && given => {
                self.fail(format!("{name} is not a method but has arguments"))
            }
            Value::Map(map) if map.key == Type::Field && given => {
                self.fail(format!("{name} is not a method but has arguments"))
            }
            Value::Map(map) if map.key == Type::Field => match map.entries.get(&Key::Text(name.into())) {
                Some(value) => Ok(Held::known(value.clone())),
                None => {
                    let fields: Vec<String> = map.entries.keys().map(Key::to_string).collect();
                    let fields = fields.join(", ");
                    self.fail(format!(
                        "can't evaluate field {name} in type struct, which has {fields}"
                    ))
                }
            },
            Value::Map(map) if map.key == Type::Text => {
                let entry = map.entry(&Key::Text(name.into()));
                Ok(Held::of_type(map.element, entry))
            }
            _ => {
                let type_name = receiver.type_name();
                self.fail(format!("can't evaluate field {name} in type {type_name}"))
            }
        }
    }

    fn call(
        &mut self,
        dot: &Held,
        name: &str,
        called: (usize, &'a dyn Display),
        operands: &'a [Operand],
        piped: Option<Held>,
    ) -> Executed<Held> {
        let vocabulary = match self.lookup {
            Some(_) => Vocabulary::WithLookup,
            None => Vocabulary::Common,
        };
        let Some(function) = functions::find(name, vocabulary) else {
            let name = crate::quote::quote(name, false);
            return self.fail(format!("{name} is not a defined function"));
        };
        self.check_count(function, operands.len(), piped.is_some())?;
        if let Behaviour::FirstThatIs(truth) = function.behaviour {
            return self.first_that_is(truth, dot, operands, piped);
        }
        let arguments = self.arguments(dot, function, operands, piped)?;
        self.work(arguments.iter().map(limit::steps_for).sum())?;
        let outcome = match function.behaviour {
            Behaviour::Of(run) => run(&arguments),
            Behaviour::OfEnvironment(run) => run(&arguments, self.environment),
            Behaviour::OfLookup(run) => match self.lookup {
                Some(lookup) => run(&arguments, lookup),
                None => Ok(Value::Nil),
            },
            Behaviour::Counted(run) => self.counted(run, &arguments),
            Behaviour::FirstThatIs(_) => Ok(Value::Nil),
        };
        match outcome {
            Ok(value) => {
                self.work(limit::steps_for(&value))?;
                Ok(Held::known(value))
            }
            Err(message) => {
                self.at = called;
                self.fail(format!("error calling {name}: {message}"))
            }
        }
    }

    /// Calls a function that counts its steps itself.
    fn counted(&mut self, run: fn(&[Value], &mut Steps) -> Outcome, arguments: &[Value]) -> Outcome {
        let mut steps = Steps::new(STEPS.saturating_sub(self.steps));
        let outcome = run(arguments, &mut steps);
        self.steps = STEPS - steps.left();
        outcome
    }

    fn check_count(&self, function: &Function, operands: usize, piped: bool) -> Executed<()> {
        let (name, wanted) = (function.name, function.parameters.len());
        let got = operands + usize::from(piped);
        let wrong = format!("wrong number of args for {name}: want");
        match function.takes_more {
            true if got < wanted => self.fail(format!("{wrong} at least {wanted} got {operands}")),
            false if got != wanted => self.fail(format!("{wrong} {wanted} got {got}")),
            _ => Ok(()),
        }
    }

    fn first_that_is(
        &mut self,
        truth: bool,
        dot: &Held,
        operands: &'a [Operand],
        piped: Option<Held>,
    ) -> Executed<Held> {
        let mut last = Held::known(Value::Nil);
        for operand in operands {
            last = Held::known(self.argument(dot, Parameter::Any, operand)?);
            if last.value.is_true() == truth {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn arguments(
        &mut self,
        dot: &Held,
        function: &Function,
        operands: &'a [Operand],
        piped: Option<Held>,
    ) -> Executed<Vec<Value>> {
        let mut parameters = function.parameters.iter().copied();
        let mut parameter = || parameters.next().unwrap_or(Parameter::Any);
        let mut arguments = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            arguments.push(self.argument(dot, parameter(), operand)?);
        }
        if let Some(piped) = piped {
            arguments.push(self.suited(piped, parameter())?);
        }
        Ok(arguments)
    }

    fn argument(&mut self, dot: &Held, parameter: Parameter, operand: &'a Operand) -> Executed<Value> {
        let held = self.operand(dot, operand, false)?;
        match (&operand.kind, parameter) {
            (OperandKind::Nil, Parameter::Text) => self.fail("cannot assign nil to string"),
            (OperandKind::Bool(_) | OperandKind::Number(..), Parameter::Text) => {
                self.fail(format!("expected string; found {operand}"))
            }
            (
                OperandKind::Bool(_) | OperandKind::Number(..) | OperandKind::Text(..),
                Parameter::ListOfTexts,
            ) => {
                let wanted = parameter.type_name();
                self.fail(format!("can't handle {operand} for arg of type {wanted}"))
            }
            _ => self.suited(held, parameter),
        }
    }

    /// The value, if it has the type of the parameter.
    fn suited(&self, held: Held, parameter: Parameter) -> Executed<Value> {
        let suits = match (&held.value, parameter) {
            (_, Parameter::Any) | (Value::Text(_), Parameter::Text) => true,
            (Value::List(list), Parameter::ListOfTexts) => list.element == Type::Text,
            (Value::Nil, Parameter::ListOfTexts) => !held.as_anything,
            _ => false,
        };
        let wanted = parameter.type_name();
        match &held.value {
            _ if suits => Ok(held.value),
            Value::Nil if !held.as_anything => self.fail(format!("invalid value; expected {wanted}")),
            value => {
                let got = value.type_name();
                self.fail(format!("wrong type for value; expected {wanted}; got {got}"))
            }
        }
    }

    fn look_at(&mut self, position: usize, node: &'a dyn Display) {
        self.at = (position, node);
    }

    fn fail<T>(&self, message: impl Into<String>) -> Executed<T> {
        let (position, node) = self.at;
        let excerpt = node.to_string();
        let message = message.into();
        Err(TemplateError::execution(
            self.text,
            position,
            self.template,
            excerpt,
            message,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{render, render_value};

    fn environment() -> Environment {
        let variables = [("A", "x"), ("B", "1:2"), ("EMPTY", "")];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        variables.map(owned).into()
    }

    fn check(text: &str, expected: &str) {
        let rendered = render(text, &environment());
        assert_eq!(rendered.as_deref(), Ok(expected), "{text}");
    }

    fn check_error(text: &str, expected: &str) {
        let rendered = render(text, &environment()).map_err(|error| error.to_string());
        assert_eq!(rendered, Err(format!("template: :{expected}")), "{text}");
    }

    #[test]
    fn loops_can_be_left_and_cut_short() {
        check(
            "{{range loop 4}}{{if eq . 1}}{{continue}}{{end}}{{.}}{{end}}",
            "023",
        );
        check(
            "{{range loop 2}}{{range loop 9}}{{break}}{{end}}{{.}}{{end}}",
            "01",
        );
    }

    #[test]
    fn loops_declare_or_assign_their_variables() {
        check("{{range $i, $e := split \":\" .B}}{{$i}}{{$e}}{{end}}", "0112");
        check(
            "{{$i := 9}}{{$e := 9}}{{range $i, $e = split \":\" .B}}{{end}}{{$i}}{{$e}}",
            "12",
        );
        check("{{$x := 9}}{{range $x := loop 2}}{{$x}}{{end}}{{$x}}", "019");
        check("{{range $x := loop 2}}{{$x = 7}}{{$x}}{{end}}", "77");
    }

    #[test]
    fn variables_last_as_long_as_their_block() {
        check("{{$x := 1}}{{if 1}}{{$x := 2}}{{end}}{{$x}}", "1");
        check("{{$x := 1}}{{with $x := 2}}{{$x}}{{else}}{{end}}{{$x}}", "21");
        check("{{with .A}}{{$y := .}}{{$.B}}{{$y}}{{end}}", "1:2x");
        check_error(
            "{{with 1}}{{$y := 1}}{{end}}{{$y}}",
            "1: undefined variable \"$y\"",
        );
    }

    #[test]
    fn a_called_template_sees_only_what_it_is_given() {
        check(
            "{{define \"T\"}}[{{.}}{{$}}]{{end}}{{template \"T\" .A}}{{template \"T\"}}",
            "[xx][<no value><no value>]",
        );
        check_error(
            "{{$x := 1}}{{define \"T\"}}{{$x}}{{end}}",
            "1: undefined variable \"$x\"",
        );
    }

    #[test]
    fn after_a_call_the_caller_goes_on_with_its_own_variables_and_name() {
        let start = "{{define \"T\"}}{{$x := 2}}{{end}}{{$x := 1}}{{template \"T\" .}}";
        check(&format!("{start}{{{{$x}}}}{{{{$.A}}}}"), "1x");
        let message = "1:63: executing \"\" at <len 1>: error calling len: len of type int";
        check_error(&format!("{start}{{{{len 1}}}}"), message);
    }

    #[test]
    fn alternatives_after_the_deciding_one_are_not_evaluated() {
        check("{{or .A (index .A 99)}}{{and .EMPTY (index .A 99)}}", "x");
        check("{{.A | and 1}}{{.A | or 0}}", "xx");
    }

    #[test]
    fn only_functions_take_arguments() {
        check_error(
            "{{1 | .A}}",
            "1:6: executing \"\" at <.A>: A is not a method but has arguments",
        );
        check_error(
            "{{.A 1}}",
            "1:2: executing \"\" at <.A>: A is not a method but has arguments",
        );
        check_error(
            "{{\"a\" 1}}",
            "1:2: executing \"\" at <\"a\">: can't give argument to non-function \"a\"",
        );
        check_error(
            "{{1 | (len)}}",
            "1:2: executing \"\" at <1>: can't give argument to non-function (len)",
        );
    }

    #[test]
    fn a_field_of_nil_depends_on_the_origin_of_the_nil() {
        let data = Value::map(Type::Any, [("n".to_owned(), Value::Nil)]);
        let message = |text| {
            let rendered = render_value(text, &data, &environment());
            rendered.map_err(|error| error.message)
        };
        assert_eq!(message("{{(.n).x}}"), Ok("<no value>".to_owned()));
        let nil_pointer = "nil pointer evaluating interface {}.x".to_owned();
        assert_eq!(message("{{.n.x}}"), Err(nil_pointer));
        assert_eq!(
            message("{{.n | len}}"),
            Err("error calling len: len of nil pointer".to_owned())
        );
        let invalid = "invalid value; expected string".to_owned();
        assert_eq!(message("{{.n | env}}"), Err(invalid));
        let wrong = "wrong type for value; expected string; got interface {}".to_owned();
        assert_eq!(message("{{env .n}}"), Err(wrong));
    }

    #[test]
    fn arguments_are_checked_before_the_call() {
        check_error(
            "{{env nil}}",
            "1:6: executing \"\" at <nil>: cannot assign nil to string",
        );
        check_error(
            "{{join \",\" \"a\"}}",
            "1:11: executing \"\" at <\"a\">: can't handle \"a\" for arg of type []string",
        );
        check_error(
            "{{len}}",
            "1:2: executing \"\" at <len>: wrong number of args for len: want 1 got 0",
        );
        check_error(
            "{{printf}}",
            "1:2: executing \"\" at <printf>: wrong number of args for printf: want at least 1 got 0",
        );
    }

    #[test]
    fn errors_in_later_lines_name_line_and_column() {
        check_error(
            "é\n{{.A}}\n  {{len 3}}",
            "3:4: executing \"\" at <len 3>: error calling len: len of type int",
        );
    }

    #[test]
    fn endless_work_ends_in_an_error() {
        let steps = format!("exceeded {STEPS} steps");
        let depth = format!("exceeded maximum template depth ({DEPTH})");
        for (text, expected) in [
            (
                "{{range loop 9999}}{{range loop 9999}}{{if 1}}{{end}}{{end}}{{end}}",
                steps.clone(),
            ),
            (
                "{{range loop 100000}}{{range loop 100000}}{{end}}{{end}}",
                steps.clone(),
            ),
            (
                "{{$x := loop 9999}}{{range $x}}{{range $x}}{{end}}{{end}}",
                steps.clone(),
            ),
            (
                "{{$x := printf \"%999999d\" 1}}{{range loop 9999}}{{if eq $x $x}}{{end}}{{end}}",
                steps,
            ),
            (
                "{{define \"T\"}}{{template \"T\"}}{{end}}{{template \"T\"}}",
                depth,
            ),
            (
                "{{range loop 100000}}{{printf \"%999999d\" 1}}{{end}}",
                too_long(),
            ),
        ] {
            let rendered = render(text, &environment()).map_err(|error| error.message);
            assert_eq!(rendered, Err(expected), "{text}");
        }
    }
}
