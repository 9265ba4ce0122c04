//! Cuts a template into tokens.
//!
//! Decides where text ends and an action begins, what trim markers remove, and what is a number, a string or
//! a name. A token borrows from the template and has its position in it, because every error names a
//! position. The lexer never fails: a character that it does not accept becomes an error token, which the
//! parser reports when it reaches it, so errors are reported in the order of the text.

use std::borrow::Cow;

use crate::limit::TOKENS;
use crate::quote::{is_printable, quote};

/// Cuts the template into tokens; the last one is always `EndOfText` or `Error`.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer::new(text);
    while lexer.step() {
        if lexer.tokens.len() >= TOKENS {
            lexer.fail(format!("more than {TOKENS} words and marks"));
            break;
        }
    }
    lexer.tokens
}

/// A piece of the template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub kind: Kind,
    pub text: Cow<'a, str>,
    /// Offset in bytes from the start of the template.
    pub position: usize,
    /// Line on which the token starts, from 1.
    pub line: usize,
}

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Error,
    EndOfText,
    Text,
    LeftDelimiter,
    RightDelimiter,
    LeftParenthesis,
    RightParenthesis,
    Space,
    Pipe,
    Declare,
    Assign,
    Punctuation,
    Bool,
    Character,
    Imaginary,
    Number,
    QuotedText,
    RawText,
    Identifier,
    Field,
    Variable,
    Keyword(Keyword),
}

/// A word (or a single dot) with a special meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Dot,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::EndOfText => formatter.write_str("EOF"),
            Kind::Error => formatter.write_str(&self.text),
            Kind::Keyword(_) => write!(formatter, "<{}>", self.text),
            _ => formatter.write_str(&shortened(&self.text)),
        }
    }
}

/// The token's text in quotes, cut after ten characters.
fn shortened(text: &str) -> String {
    if text.len() <= 10 {
        return quote(text, false);
    }
    let start: String = text.chars().take(10).collect();
    quote(&start, false) + "..."
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
/// Length of a trim marker: the minus and the space next to it.
const MARKER: usize = 2;
const COMMENT_START: &str = "/*";
const COMMENT_END: &str = "*/";

struct Lexer<'a> {
    input: &'a str,
    start: usize,
    position: usize,
    line: usize,
    inside_action: bool,
    open_parentheses: usize,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn new(input: &'a str) -> Self {
        Self {
            input,
            start: 0,
            position: 0,
            line: 1,
            inside_action: false,
            open_parentheses: 0,
            tokens: Vec::new(),
        }
    }

    /// Reads further. Returns false at the end.
    fn step(&mut self) -> bool {
        if self.inside_action {
            self.step_in_action()
        } else {
            self.step_in_text()
        }
    }

    fn step_in_text(&mut self) -> bool {
        let rest = self.rest();
        let Some(length) = rest.find(LEFT) else {
            self.position = self.input.len();
            self.emit_text(rest.len());
            self.emit(Kind::EndOfText);
            return false;
        };
        let trims = has_left_marker(&rest[length + LEFT.len()..]);
        let kept = if trims {
            trimmed_end(&rest[..length])
        } else {
            length
        };
        self.position += length;
        self.emit_text(kept);
        self.enter_action(trims)
    }

    /// Emits the first `kept` bytes of the text read so far and discards the rest.
    fn emit_text(&mut self, kept: usize) {
        let end = self.position;
        self.position = self.start + kept;
        if kept > 0 {
            self.emit(Kind::Text);
        }
        self.position = end;
        self.forget();
    }

    fn enter_action(&mut self, trims: bool) -> bool {
        let marker = if trims { MARKER } else { 0 };
        if self.rest()[LEFT.len() + marker..].starts_with(COMMENT_START) {
            return self.skip_comment(LEFT.len() + marker);
        }
        self.position += LEFT.len();
        self.emit(Kind::LeftDelimiter);
        self.position += marker;
        self.forget();
        self.inside_action = true;
        self.open_parentheses = 0;
        true
    }

    fn skip_comment(&mut self, start_of_comment: usize) -> bool {
        self.position += start_of_comment;
        let Some(length) = self.rest().find(COMMENT_END) else {
            return self.fail("unclosed comment");
        };
        self.position += length + COMMENT_END.len();
        match closing(self.rest()) {
            None => self.fail("comment ends before closing delimiter"),
            Some(trims) => {
                self.leave_action(trims);
                true
            }
        }
    }

    fn leave_action(&mut self, trims: bool) {
        self.position += RIGHT.len() + if trims { MARKER } else { 0 };
        self.skip_after_action(trims);
    }

    /// Returns to text after an action; skips white space if the marker trims it.
    fn skip_after_action(&mut self, trims: bool) {
        if trims {
            let rest = self.rest();
            self.position += rest.len() - rest.trim_start_matches(is_space).len();
        }
        self.forget();
        self.inside_action = false;
    }

    fn step_in_action(&mut self) -> bool {
        if let Some(trims) = closing(self.rest()) {
            return self.close_action(trims);
        }
        let Some(next) = self.peek() else {
            return self.fail("unclosed action");
        };
        match next {
            _ if is_space(next) => self.space(),
            '=' => self.single(Kind::Assign),
            ':' => self.declare(),
            '|' => self.single(Kind::Pipe),
            '"' => self.delimited('"', Kind::QuotedText, "unterminated quoted string"),
            '\'' => self.delimited('\'', Kind::Character, "unterminated character constant"),
            '`' => self.raw_text(),
            '$' => self.field_or_variable(Kind::Variable),
            '.' if !self.digit_follows_dot() => self.field_or_variable(Kind::Field),
            '.' | '+' | '-' | '0'..='9' => self.number(),
            '(' => self.open_parenthesis(),
            ')' => self.close_parenthesis(next),
            _ if is_alphanumeric(next) => self.identifier(),
            ' '..='~' => self.single(Kind::Punctuation),
            _ => self.fail(format!("unrecognized character in action: {}", code_point(next))),
        }
    }

    fn close_action(&mut self, trims: bool) -> bool {
        if self.open_parentheses > 0 {
            return self.fail("unclosed left paren");
        }
        self.position += if trims { MARKER } else { 0 };
        self.forget();
        self.position += RIGHT.len();
        self.emit(Kind::RightDelimiter);
        self.skip_after_action(trims);
        true
    }

    fn space(&mut self) -> bool {
        while self.peek().is_some_and(is_space) && closing(self.rest()).is_none() {
            self.advance();
        }
        self.emit(Kind::Space)
    }

    fn single(&mut self, kind: Kind) -> bool {
        self.advance();
        self.emit(kind)
    }

    fn declare(&mut self) -> bool {
        self.advance();
        if self.peek() != Some('=') {
            return self.fail("expected :=");
        }
        self.single(Kind::Declare)
    }

    fn open_parenthesis(&mut self) -> bool {
        self.open_parentheses += 1;
        self.single(Kind::LeftParenthesis)
    }

    fn close_parenthesis(&mut self, next: char) -> bool {
        let Some(remaining) = self.open_parentheses.checked_sub(1) else {
            return self.fail(format!("unexpected right paren {}", code_point(next)));
        };
        self.open_parentheses = remaining;
        self.single(Kind::RightParenthesis)
    }

    fn delimited(&mut self, delimiter: char, kind: Kind, unterminated: &'static str) -> bool {
        self.advance();
        loop {
            match self.advance() {
                None | Some('\n') => return self.fail(unterminated),
                Some('\\') if matches!(self.advance(), None | Some('\n')) => {
                    return self.fail(unterminated);
                }
                Some(character) if character == delimiter => return self.emit(kind),
                Some(_) => {}
            }
        }
    }

    fn raw_text(&mut self) -> bool {
        match self.rest()[1..].find('`') {
            None => self.fail("unterminated raw quoted string"),
            Some(length) => {
                self.position += length + 2;
                self.emit(Kind::RawText)
            }
        }
    }

    fn digit_follows_dot(&self) -> bool {
        self.rest()[1..].starts_with(|next: char| next.is_ascii_digit())
    }

    fn field_or_variable(&mut self, kind: Kind) -> bool {
        self.advance();
        if self.at_terminator() {
            return match kind {
                Kind::Field => self.emit(Kind::Keyword(Keyword::Dot)),
                _ => self.emit(kind),
            };
        }
        self.alphanumerics();
        self.word(kind)
    }

    fn identifier(&mut self) -> bool {
        self.alphanumerics();
        let kind = kind_of_word(&self.input[self.start..self.position]);
        self.word(kind)
    }

    fn word(&mut self, kind: Kind) -> bool {
        match self.peek() {
            Some(next) if !self.at_terminator() => self.fail(format!("bad character {}", code_point(next))),
            _ => self.emit(kind),
        }
    }

    fn alphanumerics(&mut self) {
        while self.peek().is_some_and(is_alphanumeric) {
            self.advance();
        }
    }

    /// Whether a name may end here.
    fn at_terminator(&self) -> bool {
        match self.peek() {
            None => true,
            Some(next) => is_space(next) || matches!(next, '.' | ',' | '|' | ':' | ')' | '(' | '}'),
        }
    }

    fn number(&mut self) -> bool {
        if !self.scan_number() {
            return self.bad_number();
        }
        if !matches!(self.peek(), Some('+' | '-')) {
            return self.emit(Kind::Number);
        }
        if !self.scan_number() || !self.input[..self.position].ends_with('i') {
            return self.bad_number();
        }
        self.emit(Kind::Imaginary)
    }

    fn bad_number(&mut self) -> bool {
        let text = &self.input[self.start..self.position];
        self.fail(format!("bad number syntax: {}", quote(text, false)))
    }

    /// Scans anything that looks like a number. Returns false if a letter or digit follows it directly.
    fn scan_number(&mut self) -> bool {
        self.accept("+-");
        let digits = self.number_base();
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        self.exponent(digits);
        self.accept("i");
        let clings = self.peek().is_some_and(is_alphanumeric);
        if clings {
            self.advance();
        }
        !clings
    }

    fn number_base(&mut self) -> &'static str {
        if !self.accept("0") {
            return DECIMAL;
        }
        if self.accept("xX") {
            HEXADECIMAL
        } else if self.accept("oO") {
            "01234567_"
        } else if self.accept("bB") {
            "01_"
        } else {
            DECIMAL
        }
    }

    fn exponent(&mut self, digits: &'static str) {
        let marks = match digits {
            DECIMAL => "eE",
            HEXADECIMAL => "pP",
            _ => return,
        };
        if self.accept(marks) {
            self.accept("+-");
            self.accept_run(DECIMAL);
        }
    }

    fn accept(&mut self, allowed: &str) -> bool {
        let accepted = self.peek().is_some_and(|next| allowed.contains(next));
        if accepted {
            self.advance();
        }
        accepted
    }

    fn accept_run(&mut self, allowed: &str) {
        while self.accept(allowed) {}
    }

    fn rest(&self) -> &'a str {
        &self.input[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.position += next.len_utf8();
        Some(next)
    }

    fn emit(&mut self, kind: Kind) -> bool {
        let text = Cow::Borrowed(&self.input[self.start..self.position]);
        self.push(kind, text);
        self.forget();
        true
    }

    fn fail(&mut self, message: impl Into<Cow<'a, str>>) -> bool {
        self.push(Kind::Error, message.into());
        false
    }

    fn push(&mut self, kind: Kind, text: Cow<'a, str>) {
        self.tokens.push(Token {
            kind,
            text,
            position: self.start,
            line: self.line,
        });
    }

    /// Starts the next token here.
    fn forget(&mut self) {
        let passed = &self.input.as_bytes()[self.start..self.position];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.start = self.position;
    }
}

const DECIMAL: &str = "0123456789_";
const HEXADECIMAL: &str = "0123456789abcdefABCDEF_";

fn kind_of_word(word: &str) -> Kind {
    Kind::Keyword(match word {
        "true" | "false" => return Kind::Bool,
        "block" => Keyword::Block,
        "break" => Keyword::Break,
        "continue" => Keyword::Continue,
        "define" => Keyword::Define,
        "else" => Keyword::Else,
        "end" => Keyword::End,
        "if" => Keyword::If,
        "nil" => Keyword::Nil,
        "range" => Keyword::Range,
        "template" => Keyword::Template,
        "with" => Keyword::With,
        _ => return Kind::Identifier,
    })
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// Whether what follows `{{` is a minus and a space.
fn has_left_marker(rest: &str) -> bool {
    rest.strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(is_space))
}

/// `}}` gives `Some(false)`, ` -}}` gives `Some(true)`.
fn closing(rest: &str) -> Option<bool> {
    if rest.starts_with(RIGHT) {
        return Some(false);
    }
    let after_space = rest.strip_prefix(is_space)?;
    let after_marker = after_space.strip_prefix('-')?;
    after_marker.starts_with(RIGHT).then_some(true)
}

fn trimmed_end(text: &str) -> usize {
    text.trim_end_matches(is_space).len()
}

/// The form in which error messages name a character.
fn code_point(character: char) -> String {
    let number = format!("U+{:04X}", u32::from(character));
    if is_printable(character) {
        format!("{number} '{character}'")
    } else {
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        tokens(text).iter().map(|token| token.kind).collect()
    }

    fn texts(text: &str) -> Vec<String> {
        tokens(text).iter().map(|token| token.text.to_string()).collect()
    }

    fn check_error(text: &str, expected: &str) {
        let last = tokens(text)
            .pop()
            .map(|token| (token.kind, token.text.into_owned()));
        assert_eq!(last, Some((Kind::Error, expected.to_owned())), "{text}");
    }

    #[test]
    fn trim_markers_take_the_space_around_them() {
        assert_eq!(texts("a \n{{- 3 -}}\r\n b"), ["a", "{{", "3", "}}", "b", ""]);
        assert_eq!(texts("a {{-3}} b"), ["a ", "{{", "-3", "}}", " b", ""]);
    }

    #[test]
    fn comments_leave_nothing() {
        assert_eq!(texts("a {{- /* {{ }} */ -}} b{{/* c */}}d"), ["a", "b", "d", ""]);
        check_error("{{/* x", "unclosed comment");
        check_error("{{/* x */ }}", "comment ends before closing delimiter");
    }

    #[test]
    fn a_dot_starts_a_field_or_a_number_or_stands_alone() {
        use Kind::{EndOfText, Field, LeftDelimiter, Number, RightDelimiter, Space};
        let dot = Kind::Keyword(Keyword::Dot);
        let expected = [
            LeftDelimiter,
            dot,
            Space,
            Field,
            Space,
            Number,
            RightDelimiter,
            EndOfText,
        ];
        assert_eq!(kinds("{{. .a .5}}"), expected);
    }

    #[test]
    fn quoted_text_may_hold_delimiters() {
        assert_eq!(
            texts("{{\"}}\"`{{`'}'}}"),
            ["{{", "\"}}\"", "`{{`", "'}'", "}}", ""]
        );
    }

    #[test]
    fn tokens_know_their_line_and_position() {
        let places: Vec<_> = tokens("a\n{{-\n.b}}")
            .iter()
            .map(|token| (token.line, token.position))
            .collect();
        assert_eq!(places, [(1, 0), (2, 2), (3, 6), (3, 8), (3, 10)]);
    }

    #[test]
    fn the_error_of_a_token_names_the_reason() {
        check_error("{{1", "unclosed action");
        check_error("{{(1}}", "unclosed left paren");
        check_error("{{)}}", "unexpected right paren U+0029 ')'");
        check_error("{{\"a\n\"}}", "unterminated quoted string");
        check_error("{{'a}}", "unterminated character constant");
        check_error("{{`a}}", "unterminated raw quoted string");
        check_error("{{$x=1}}", "bad character U+003D '='");
        check_error("{{:a}}", "expected :=");
        check_error("{{1x}}", "bad number syntax: \"1x\"");
        check_error("{{1+2}}", "bad number syntax: \"1+2\"");
        check_error("{{\u{1}}}", "unrecognized character in action: U+0001");
    }
}
