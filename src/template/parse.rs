//! Parses tokens into statements.
//!
//! Decides whether a template is well-formed, and what the error is. Functions and variables are checked
//! here, so that a misspelt name is found even in a branch that is never taken. The parser recurses with the
//! nesting of the template, which is therefore limited.

use std::collections::BTreeMap;

use super::functions::{self, Vocabulary};
use super::literal;
use crate::error::TemplateError;
use crate::lex::{self, Keyword, Kind, Token};
use crate::limit::{NESTING, VARIABLES};
use crate::quote::quote;
use crate::syntax::{Body, Branch, Call, Case, Choice, Command, Operand, OperandKind, Pipeline, Statement};

/// Templates by name; the outermost has the empty name.
pub(crate) type Templates = BTreeMap<String, Body>;

/// Parses a text with all the templates it defines, which may call the functions of `vocabulary`.
pub(crate) fn parse(text: &str, vocabulary: Vocabulary) -> Result<Templates, TemplateError> {
    let mut parser = Parser::new(lex::tokens(text), vocabulary);
    let outermost = parser.outermost()?;
    parser.add(String::new(), outermost)?;
    Ok(parser.templates)
}

type Parsed<T> = Result<T, TemplateError>;

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    vocabulary: Vocabulary,
    next: usize,
    /// The last token that was read; errors are reported on its line.
    furthest: usize,
    /// Line on which the action being parsed started.
    action_line: Option<usize>,
    variables: Vec<String>,
    ranges: usize,
    nesting: usize,
    templates: Templates,
}

/// What ended a list of statements.
#[derive(Clone, Copy, PartialEq)]
enum Terminator {
    End,
    Else,
}

enum Parsing {
    Statement(Statement),
    Terminator(Terminator),
}

impl<'a> Parser<'a> {
    fn new(tokens: Vec<Token<'a>>, vocabulary: Vocabulary) -> Self {
        Self {
            tokens,
            vocabulary,
            next: 0,
            furthest: 0,
            action_line: None,
            variables: vec!["$".to_owned()],
            ranges: 0,
            nesting: 0,
            templates: Templates::new(),
        }
    }

    /// The statements outside all definitions.
    fn outermost(&mut self) -> Parsed<Body> {
        let mut body = Body::new();
        loop {
            if self.peek().kind == Kind::EndOfText {
                return Ok(body);
            }
            if self.skip_start_of_definition() {
                self.definition()?;
                continue;
            }
            match self.statement()? {
                Parsing::Statement(statement) => body.push(statement),
                Parsing::Terminator(terminator) => {
                    return self.fail(format!("unexpected {}", terminator.written()));
                }
            }
        }
    }

    fn skip_start_of_definition(&mut self) -> bool {
        let start = self.next;
        let opened = self.advance().kind == Kind::LeftDelimiter;
        if opened && self.advance_past_space().kind == Kind::Keyword(Keyword::Define) {
            return true;
        }
        self.next = start;
        false
    }

    fn definition(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        let token = self.advance_past_space();
        let name = self.template_name(&token, CONTEXT)?;
        self.expect_right_delimiter(CONTEXT)?;
        self.separate_body(name, CONTEXT)
    }

    /// The body of a separate template: outer variables and loops are not visible in it.
    fn separate_body(&mut self, name: String, context: &str) -> Parsed<()> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (body, terminator) = self.nested(Self::body)?;
        if terminator == Terminator::Else {
            return self.fail(format!("unexpected {} in {context}", terminator.written()));
        }
        self.variables = variables;
        self.ranges = ranges;
        self.add(name, body)
    }

    fn add(&mut self, name: String, body: Body) -> Parsed<()> {
        match self.templates.get(&name) {
            Some(known) if !is_blank(known) && !is_blank(&body) => {
                let name = quote(&name, false);
                self.fail(format!("template: multiple definition of template {name}"))
            }
            Some(known) if !is_blank(known) => Ok(()),
            _ => {
                self.templates.insert(name, body);
                Ok(())
            }
        }
    }

    /// Statements up to `{{end}}` or `{{else}}`.
    fn body(&mut self) -> Parsed<(Body, Terminator)> {
        let mut body = Body::new();
        while self.peek_past_space().kind != Kind::EndOfText {
            match self.statement()? {
                Parsing::Statement(statement) => body.push(statement),
                Parsing::Terminator(terminator) => return Ok((body, terminator)),
            }
        }
        self.fail("unexpected EOF")
    }

    fn statement(&mut self) -> Parsed<Parsing> {
        let token = self.advance_past_space();
        match token.kind {
            Kind::Text => {
                let text = Statement::Text(token.position, token.text.into_owned());
                Ok(Parsing::Statement(text))
            }
            Kind::LeftDelimiter => {
                self.action_line = Some(token.line);
                let parsed = self.action(token.position);
                self.action_line = None;
                parsed
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    /// Parses an action after its left delimiter, which is at `start`.
    fn action(&mut self, start: usize) -> Parsed<Parsing> {
        let token = self.advance_past_space();
        let statement = match token.kind {
            Kind::Keyword(Keyword::Block) => self.block()?,
            Kind::Keyword(Keyword::Break) => self.jump("{{break}}", Statement::Break)?,
            Kind::Keyword(Keyword::Continue) => self.jump("{{continue}}", Statement::Continue)?,
            Kind::Keyword(Keyword::Else) => return self.terminator_else(),
            Kind::Keyword(Keyword::End) => return self.terminator_end(),
            Kind::Keyword(Keyword::If) => Statement::If(self.nested(Self::choice)?),
            Kind::Keyword(Keyword::Range) => Statement::Range(self.nested(Self::range)?),
            Kind::Keyword(Keyword::With) => Statement::With(self.nested(Self::with)?),
            Kind::Keyword(Keyword::Template) => self.call()?,
            _ => {
                self.next -= 1;
                let pipeline = self.pipeline("command", Kind::RightDelimiter)?;
                let delimiter = &self.tokens[self.next - 1];
                Statement::Action(start..delimiter.position + delimiter.text.len(), pipeline)
            }
        };
        Ok(Parsing::Statement(statement))
    }

    fn terminator_end(&mut self) -> Parsed<Parsing> {
        self.expect_right_delimiter("end")?;
        Ok(Parsing::Terminator(Terminator::End))
    }

    /// Parses `else`. A following `if` is left for the caller, whose statement may continue with it.
    fn terminator_else(&mut self) -> Parsed<Parsing> {
        if self.peek_past_space().kind != Kind::Keyword(Keyword::If) {
            self.expect_right_delimiter("else")?;
        }
        Ok(Parsing::Terminator(Terminator::Else))
    }

    fn jump(&mut self, written: &str, statement: Statement) -> Parsed<Statement> {
        self.expect_right_delimiter(written)?;
        if self.ranges == 0 {
            return self.fail(format!("{written} outside {{{{range}}}}"));
        }
        Ok(statement)
    }

    /// An `if` with its branches. Variables of a condition are visible up to the end.
    fn choice(&mut self) -> Parsed<Choice> {
        let visible = self.variables.len();
        let mut cases = Vec::new();
        let otherwise = loop {
            let pipeline = self.pipeline("if", Kind::RightDelimiter)?;
            let (body, terminator) = self.body()?;
            cases.push(Case { pipeline, body });
            if terminator == Terminator::End {
                break Body::new();
            }
            if self.peek().kind != Kind::Keyword(Keyword::If) {
                break self.otherwise()?;
            }
            self.advance();
        };
        self.variables.truncate(visible);
        Ok(Choice { cases, otherwise })
    }

    fn with(&mut self) -> Parsed<Branch> {
        self.branch("with", Self::body)
    }

    fn range(&mut self) -> Parsed<Branch> {
        self.branch("range", |parser| {
            let around = parser.ranges;
            parser.ranges = around + 1;
            let body = parser.body();
            parser.ranges = around;
            body
        })
    }

    fn branch(
        &mut self,
        context: &str,
        body: impl FnOnce(&mut Self) -> Parsed<(Body, Terminator)>,
    ) -> Parsed<Branch> {
        let visible = self.variables.len();
        let pipeline = self.pipeline(context, Kind::RightDelimiter)?;
        let (body, terminator) = body(self)?;
        let otherwise = match terminator {
            Terminator::End => Body::new(),
            Terminator::Else => self.otherwise()?,
        };
        self.variables.truncate(visible);
        Ok(Branch {
            pipeline,
            body,
            otherwise,
        })
    }

    fn otherwise(&mut self) -> Parsed<Body> {
        match self.body()? {
            (body, Terminator::End) => Ok(body),
            (_, other) => self.fail(format!("expected end; found {}", other.written())),
        }
    }

    fn block(&mut self) -> Parsed<Statement> {
        const CONTEXT: &str = "block clause";
        let token = self.advance_past_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipeline = Some(self.pipeline(CONTEXT, Kind::RightDelimiter)?);
        self.separate_body(name.clone(), CONTEXT)?;
        Ok(Statement::Call(Call {
            position: token.position,
            name,
            pipeline,
        }))
    }

    fn call(&mut self) -> Parsed<Statement> {
        const CONTEXT: &str = "template clause";
        let token = self.advance_past_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipeline = match self.advance_past_space().kind {
            Kind::RightDelimiter => None,
            _ => {
                self.next -= 1;
                Some(self.pipeline(CONTEXT, Kind::RightDelimiter)?)
            }
        };
        Ok(Statement::Call(Call {
            position: token.position,
            name,
            pipeline,
        }))
    }

    fn template_name(&mut self, token: &Token<'a>, context: &str) -> Parsed<String> {
        let text = match token.kind {
            Kind::QuotedText => literal::quoted(&token.text),
            Kind::RawText => literal::raw(&token.text),
            _ => return self.unexpected(token, context),
        };
        match text {
            Ok(crate::value::Value::Text(name)) => Ok(name.to_string()),
            Ok(_) => self.unexpected(token, context),
            Err(message) => self.fail(message),
        }
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipeline> {
        let position = self.peek_past_space().position;
        let (variables, assigns) = self.declarations(context)?;
        let mut commands = Vec::new();
        loop {
            let token = self.advance_past_space();
            if token.kind == end {
                break;
            }
            if !starts_operand(token.kind) {
                return self.unexpected(&token, context);
            }
            self.next -= 1;
            commands.push(self.command()?);
        }
        self.check_commands(&commands, context)?;
        Ok(Pipeline {
            position,
            variables,
            assigns,
            commands,
        })
    }

    fn check_commands(&self, commands: &[Command], context: &str) -> Parsed<()> {
        if commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        let is_constant = |command: &Command| command.first.is_constant();
        match commands.iter().skip(1).position(is_constant) {
            Some(index) => {
                let stage = index + 2;
                self.fail(format!("non executable command in pipeline stage {stage}"))
            }
            None => Ok(()),
        }
    }

    /// The variables before `:=` or `=`, and whether it was the latter.
    fn declarations(&mut self, context: &str) -> Parsed<(Vec<String>, bool)> {
        let mut variables = Vec::new();
        while self.peek_past_space().kind == Kind::Variable {
            let start = self.next;
            let name = self.advance().text.into_owned();
            let mark = self.advance_past_space();
            match mark.kind {
                Kind::Assign | Kind::Declare => {
                    self.declare(name, &mut variables)?;
                    return Ok((variables, mark.kind == Kind::Assign));
                }
                Kind::Punctuation if mark.text == "," => {
                    self.declare(name, &mut variables)?;
                    self.check_second_variable(context, variables.len())?;
                }
                _ => {
                    self.next = start;
                    break;
                }
            }
        }
        Ok((variables, false))
    }

    fn declare(&mut self, name: String, variables: &mut Vec<String>) -> Parsed<()> {
        if self.variables.len() > VARIABLES {
            return self.fail(format!("more than {VARIABLES} variables in one place"));
        }
        self.variables.push(name.clone());
        variables.push(name);
        Ok(())
    }

    fn check_second_variable(&mut self, context: &str, count: usize) -> Parsed<()> {
        if context != "range" || count > 1 {
            return self.fail(format!("too many declarations in {context}"));
        }
        match self.peek_past_space().kind {
            Kind::Variable | Kind::RightDelimiter | Kind::RightParenthesis => Ok(()),
            _ => self.fail("range can only initialize variables"),
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        let position = self.peek_past_space().position;
        let mut operands = Vec::new();
        loop {
            self.peek_past_space();
            operands.extend(self.operand()?);
            let token = self.advance();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelimiter | Kind::RightParenthesis => {
                    self.next -= 1;
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        let mut operands = operands.into_iter();
        match operands.next() {
            None => self.fail("empty command"),
            Some(first) => Ok(Command {
                position,
                first,
                arguments: operands.collect(),
            }),
        }
    }

    /// A term and the fields taken from it.
    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        let position = self.peek().position;
        let mut names = Vec::new();
        while self.peek().kind == Kind::Field {
            names.push(field_name(&self.advance()));
        }
        match term.chained(names) {
            Ok(kind) => Ok(Some(Operand { position, kind })),
            Err(constant) => {
                let written = quote(&constant.to_string(), false);
                self.fail(format!("unexpected . after term {written}"))
            }
        }
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.advance_past_space();
        let written = || token.text.to_string();
        let kind = match token.kind {
            Kind::Identifier => self.function(written())?,
            Kind::Keyword(Keyword::Dot) => OperandKind::Dot,
            Kind::Keyword(Keyword::Nil) => OperandKind::Nil,
            Kind::Variable => self.variable(written())?,
            Kind::Field => OperandKind::Field(vec![field_name(&token)]),
            Kind::Bool => OperandKind::Bool(token.text == "true"),
            Kind::Character => {
                OperandKind::Number(self.constant(literal::character(&token.text))?, written())
            }
            Kind::Number | Kind::Imaginary => {
                OperandKind::Number(self.constant(literal::number(&token.text))?, written())
            }
            Kind::QuotedText => OperandKind::Text(self.constant(literal::quoted(&token.text))?, written()),
            Kind::RawText => OperandKind::Text(self.constant(literal::raw(&token.text))?, written()),
            Kind::LeftParenthesis => self.nested(Self::parenthesized)?,
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        let position = token.position;
        Ok(Some(Operand { position, kind }))
    }

    fn parenthesized(&mut self) -> Parsed<OperandKind> {
        let pipeline = self.pipeline("parenthesized pipeline", Kind::RightParenthesis)?;
        Ok(OperandKind::Parenthesized(Box::new(pipeline)))
    }

    fn function(&self, name: String) -> Parsed<OperandKind> {
        if self.vocabulary == Vocabulary::WithoutKeys && functions::needs_keys(&name) {
            let quoted = quote(&name, false);
            return self.fail(format!("function {quoted} needs Consul or etcd"));
        }
        if functions::find(&name, self.vocabulary).is_none() {
            let quoted = quote(&name, false);
            let error = self.fail(format!("function {quoted} not defined"));
            return error.map_err(|error| TemplateError {
                unknown_function: Some(name),
                ..error
            });
        }
        Ok(OperandKind::Function(name))
    }

    fn variable(&self, name: String) -> Parsed<OperandKind> {
        if !self.variables.contains(&name) {
            let name = quote(&name, false);
            return self.fail(format!("undefined variable {name}"));
        }
        Ok(OperandKind::Variable(name, Vec::new()))
    }

    fn constant<T>(&self, read: Result<T, String>) -> Parsed<T> {
        read.or_else(|message| self.fail(message))
    }

    /// Parses something that is nested one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting == NESTING {
            return self.fail(format!("more than {NESTING} nested blocks and parentheses"));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    fn expect_right_delimiter(&mut self, context: &str) -> Parsed<()> {
        let token = self.advance_past_space();
        match token.kind {
            Kind::RightDelimiter => Ok(()),
            _ => self.unexpected(&token, context),
        }
    }

    fn peek(&mut self) -> &Token<'a> {
        let index = self.next.min(self.tokens.len() - 1);
        self.furthest = self.furthest.max(index);
        &self.tokens[index]
    }

    fn advance(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn peek_past_space(&mut self) -> &Token<'a> {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn advance_past_space(&mut self) -> Token<'a> {
        self.peek_past_space();
        self.advance()
    }

    fn unexpected<T>(&self, token: &Token<'a>, context: &str) -> Parsed<T> {
        if token.kind != Kind::Error {
            return self.fail(format!("unexpected {token} in {context}"));
        }
        self.fail(format!("{token}{}", self.start_of_action(token)))
    }

    /// Names the line on which the action started, if its error is on another line.
    fn start_of_action(&self, error: &Token<'a>) -> String {
        match self.action_line {
            Some(line) if line != error.line && error.text.ends_with(" action") => {
                format!(" started at :{line}")
            }
            Some(line) if line != error.line => format!(" in action started at :{line}"),
            _ => String::new(),
        }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        let token = &self.tokens[self.furthest];
        Err(TemplateError::syntax(token.line, token.position, message))
    }
}

impl Terminator {
    fn written(self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

impl Operand {
    /// Whether the operand is always a value, never a call.
    fn is_constant(&self) -> bool {
        use OperandKind::{Bool, Dot, Nil, Number, Text};
        matches!(self.kind, Bool(_) | Dot | Nil | Number(..) | Text(..))
    }

    /// The fields of this operand; the operand itself if it cannot have fields.
    fn chained(self, names: Vec<String>) -> Result<OperandKind, Self> {
        if self.is_constant() {
            return Err(self);
        }
        Ok(match self.kind {
            OperandKind::Field(start) => OperandKind::Field([start, names].concat()),
            OperandKind::Variable(name, start) => OperandKind::Variable(name, [start, names].concat()),
            _ => OperandKind::Chain(Box::new(self), names),
        })
    }
}

fn field_name(token: &Token<'_>) -> String {
    token.text.trim_start_matches('.').to_owned()
}

fn starts_operand(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Bool
            | Kind::Character
            | Kind::Imaginary
            | Kind::Number
            | Kind::QuotedText
            | Kind::RawText
            | Kind::Identifier
            | Kind::Field
            | Kind::Variable
            | Kind::LeftParenthesis
            | Kind::Keyword(Keyword::Dot | Keyword::Nil)
    )
}

/// Whether a body contains only white space, so that a definition may replace it.
fn is_blank(body: &Body) -> bool {
    let blank = |statement: &Statement| match statement {
        Statement::Text(_, text) => text.trim().is_empty(),
        _ => false,
    };
    body.iter().all(blank)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let message = parse(text, Vocabulary::Common)
            .err()
            .map(|error| error.to_string());
        assert_eq!(message, Some(format!("template: :{expected}")), "{text}");
    }

    #[test]
    fn blocks_end_exactly_once() {
        check("a{{end}}b", "1: unexpected {{end}}");
        check("{{else}}", "1: unexpected {{else}}");
        check("{{if 1}}\n", "2: unexpected EOF");
        check(
            "{{if 1}}{{else}}{{else}}{{end}}",
            "1: expected end; found {{else}}",
        );
        check(
            "{{define \"T\"}}{{else}}{{end}}",
            "1: unexpected {{else}} in define clause",
        );
    }

    #[test]
    fn break_and_continue_are_errors_outside_loops() {
        check("{{if 1}}{{break}}{{end}}", "1: {{break}} outside {{range}}");
        check(
            "{{range .}}{{block \"B\" .}}{{continue}}{{end}}{{end}}",
            "1: {{continue}} outside {{range}}",
        );
        check(
            "{{range .}}{{else}}{{break}}{{end}}",
            "1: {{break}} outside {{range}}",
        );
    }

    #[test]
    fn syntax_of_newer_versions_of_go_is_refused() {
        check("{{with 1}}{{else with 2}}{{end}}", "1: unexpected <with> in else");
        check("{{with 1}}{{else if 2}}{{end}}", "1: unexpected <if> in input");
    }

    #[test]
    fn names_must_be_known() {
        check("{{nope}}", "1: function \"nope\" not defined");
        check("{{if 0}}\n{{$x}}{{end}}", "2: undefined variable \"$x\"");
    }

    #[test]
    fn pipelines_have_values_and_functions_in_later_stages() {
        check("{{}}", "1: missing value for command");
        check("{{if}}{{end}}", "1: missing value for if");
        check("{{print ()}}", "1: missing value for parenthesized pipeline");
        check("{{1 | 2}}", "1: non executable command in pipeline stage 2");
        check("{{1 2 ,}}", "1: unexpected \",\" in operand");
        check("{{true.x}}", "1: unexpected . after term \"true\"");
        check("{{| 1}}", "1: unexpected \"|\" in command");
    }

    #[test]
    fn only_loops_declare_two_variables() {
        check("{{$a, $b := 1}}", "1: too many declarations in command");
        check(
            "{{range $a, $b, $c := 1}}{{end}}",
            "1: too many declarations in range",
        );
        check("{{range $a, 1}}{{end}}", "1: range can only initialize variables");
    }

    #[test]
    fn templates_are_defined_once_unless_blank() {
        let twice = "{{define \"T\"}}a{{end}}{{define \"T\"}}b{{end}}";
        check(twice, "1: template: multiple definition of template \"T\"");
        let blank = parse(
            "{{define \"T\"}} {{end}}{{define \"T\"}}b{{end}}{{define \"T\"}}{{end}}",
            Vocabulary::Common,
        );
        assert_eq!(blank.map(|templates| templates.len()), Ok(2));
        check(
            "{{if 1}}{{define \"T\"}}{{end}}{{end}}",
            "1: unexpected <define> in command",
        );
        check("{{template T}}", "1: unexpected \"T\" in template clause");
    }

    #[test]
    fn errors_name_the_line_on_which_an_action_started() {
        check("a\n{{print\n\n1", "4: unclosed action started at :2");
        check(
            "{{print\n\"a",
            "2: unterminated quoted string in action started at :1",
        );
    }

    #[test]
    fn long_tokens_are_cut_in_messages() {
        check(
            "{{template abcdefghijkl}}",
            "1: unexpected \"abcdefghij\"... in template clause",
        );
    }
}
