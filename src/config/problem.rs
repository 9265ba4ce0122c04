//! The errors and warnings of a configuration, in one form.
//!
//! Each becomes a [`Report`]. Secrets are hidden and long lines cut. The size of a report is limited.

use super::listing::{Context, Listing};
use super::report::Report;
use super::secrets::{self, floor};
use super::tree::{Data, Document, Place, Span, Value};
use crate::cause::without_user_information;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// How many errors and how many warnings a report has. For the others it states their number
/// (docs/bounds.md).
pub const MOST_NAMED: usize = 100;

/// The limit on the sentence of an error or a warning, and on its hint, in bytes (docs/bounds.md).
const LONGEST_MESSAGE: usize = 4 * 1024;

/// How many characters of a value a sentence quotes (docs/bounds.md).
const LONGEST_VALUE: usize = 60;

/// The text of an error or a warning: the sentence and optional additions.
pub trait Message: Display {
    /// How it can be corrected.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Lines that follow the excerpt.
    fn details(&self) -> Option<String> {
        None
    }

    /// Another line that is relevant.
    fn elsewhere(&self) -> Option<Elsewhere> {
        None
    }
}

/// Another place that is relevant to a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The words before the line number.
    pub words: &'static str,
    /// Its offset in the rendered text.
    pub offset: usize,
}

/// An error or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its span in the rendered text, if it has one.
    span: Option<Span>,
    path: String,
    sentence: String,
    details: Option<String>,
    hint: Option<String>,
    elsewhere: Option<Elsewhere>,
    context: Context,
}

impl Problem {
    /// A problem of the text itself, without a key.
    pub fn of_text(span: Span, message: &impl Message) -> Self {
        Self {
            span: Some(span),
            context: Context::TwoLines,
            ..Self::without_place(message)
        }
    }

    fn without_place(message: &impl Message) -> Self {
        Self {
            span: None,
            path: String::new(),
            sentence: cut(on_one_line(&message.to_string())),
            details: message.details().map(cut),
            hint: message.hint().map(|hint| cut(on_one_line(&hint))),
            elsewhere: message.elsewhere(),
            context: Context::Line,
        }
    }

    /// The report of the problem. `hidden` lists the secret parts of the rendered text.
    pub fn report(&self, listing: &Listing, hidden: &[Span], variables: &BTreeMap<String, String>) -> Report {
        let report = Report {
            details: self.details.clone(),
            hints: self.hint.iter().cloned().collect(),
            ..Report::sentence(listing.name(), self.sentence.clone())
        };
        let Some(span) = &self.span else {
            return report;
        };
        let (line, column) = listing.position(span);
        let unset = listing.unset_variables(span, variables);
        let unset = unset
            .iter()
            .map(|(name, line)| format!("`{name}` is not set (line {line})"));
        let unset: Vec<String> = unset.collect();
        let unset = (!unset.is_empty()).then(|| unset.join(", "));
        let elsewhere = self.elsewhere.as_ref().map(|Elsewhere { words, offset }| {
            let (line, _) = listing.position(&(*offset..*offset));
            format!("{words} {line}")
        });
        Report {
            line: Some(line),
            column: Some(column),
            key: self.path.clone(),
            excerpt: Some(listing.excerpt(span, hidden, self.context)),
            hints: unset.into_iter().chain(elsewhere).chain(report.hints).collect(),
            ..report
        }
    }
}

/// The errors and warnings of a document found so far.
#[derive(Debug)]
pub struct Problems<'d> {
    document: &'d Document<'d>,
    /// The secret parts of the text.
    hidden: OnceCell<Vec<Span>>,
    errors: Named,
    warnings: Named,
}

/// The first of many problems, and the number of the others.
#[derive(Debug, Default)]
struct Named {
    problems: Vec<Problem>,
    more: usize,
}

impl Named {
    fn add(&mut self, problem: impl FnOnce() -> Problem) {
        match self.problems.len() {
            MOST_NAMED.. => self.more += 1,
            _ => self.problems.push(problem()),
        }
    }
}

impl<'d> Problems<'d> {
    /// A document without problems.
    pub fn of(document: &'d Document<'d>) -> Self {
        Self {
            document,
            hidden: OnceCell::new(),
            errors: Named::default(),
            warnings: Named::default(),
        }
    }

    /// The document.
    pub fn document(&self) -> &'d Document<'d> {
        self.document
    }

    /// Reports an error.
    pub fn error(&mut self, place: impl Into<Place>, message: impl Message) {
        let document = self.document;
        self.errors.add(|| at(document, place.into(), &message));
    }

    /// Reports a value that is not allowed, together with the allowed ones.
    pub fn wrong(&mut self, value: &Value<'_>, message: impl Message, allowed: impl Display) {
        let hidden = self.hidden.get_or_init(|| secrets::hidden(self.document.text));
        let document = self.document;
        self.errors.add(|| {
            let found = Found {
                document,
                value,
                hidden,
            };
            let whole = Whole {
                message,
                found,
                allowed,
            };
            at(document, value.into(), &whole)
        });
    }

    /// Reports a warning.
    pub fn warning(&mut self, place: impl Into<Place>, message: impl Message) {
        let document = self.document;
        self.warnings.add(|| at(document, place.into(), &message));
    }

    /// Reports a warning about something that is not in the text.
    pub fn warning_elsewhere(&mut self, message: impl Message) {
        self.warnings.add(|| Problem::without_place(&message));
    }

    /// Whether there are no errors.
    pub fn has_no_errors(&self) -> bool {
        self.errors.problems.is_empty()
    }

    /// The reports of all errors, in the order of the text.
    pub fn errors(&self, listing: &Listing, variables: &BTreeMap<String, String>) -> Vec<Report> {
        self.each(&self.errors, "problems", listing, variables)
    }

    /// The reports of all warnings, in the order of the text.
    pub fn warnings(&self, listing: &Listing, variables: &BTreeMap<String, String>) -> Vec<Report> {
        self.each(&self.warnings, "warnings", listing, variables)
    }

    fn each(
        &self,
        named: &Named,
        what: &str,
        listing: &Listing,
        variables: &BTreeMap<String, String>,
    ) -> Vec<Report> {
        let mut problems: Vec<&Problem> = named.problems.iter().collect();
        if problems.is_empty() {
            return Vec::new();
        }
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
        let hidden = self.hidden.get_or_init(|| secrets::hidden(self.document.text));
        let reports = problems
            .iter()
            .map(|problem| problem.report(listing, hidden, variables));
        let more = (named.more > 0).then(|| {
            let sentence = format!("{}: and {} more {what}", listing.name(), named.more);
            Report::sentence(listing.name(), sentence)
        });
        reports.chain(more).collect()
    }
}

fn at(document: &Document<'_>, place: Place, message: &impl Message) -> Problem {
    Problem {
        span: Some(place.span),
        path: on_one_line(&document.root.path_to(place.value)),
        ..Problem::without_place(message)
    }
}

/// A message about a value, which quotes the value and the allowed ones.
struct Whole<'a, M, A> {
    message: M,
    found: Found<'a>,
    allowed: A,
}

impl<M: Message, A: Display> Display for Whole<'_, M, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            message,
            found,
            allowed,
        } = self;
        write!(f, "{message}: found {found}, allowed is {allowed}")
    }
}

impl<M: Message, A: Display> Message for Whole<'_, M, A> {
    fn hint(&self) -> Option<String> {
        self.message.hint()
    }

    fn details(&self) -> Option<String> {
        self.message.details()
    }
}

/// A value as sentences quote it: as written, without secrets, and cut if it is long.
struct Found<'a> {
    document: &'a Document<'a>,
    value: &'a Value<'a>,
    hidden: &'a [Span],
}

impl Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.data {
            Data::List(_) => return f.write_str("an array"),
            Data::Object(_) => return f.write_str("an object"),
            _ => {}
        }
        let Span { start, end } = self.value.span;
        let next = self.hidden.partition_point(|hidden| hidden.end <= start);
        let is_secret = |hidden: &Span| hidden.start <= start + 1 && end <= hidden.end + 1;
        if self.hidden.get(next).is_some_and(is_secret) {
            return f.write_str("***");
        }
        let text = without_user_information(&self.document.text[start..end]);
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let shown: String = text.chars().take(LONGEST_VALUE).map(plain).collect();
        let dots = if shown.len() < text.len() { "..." } else { "" };
        write!(f, "{shown}{dots}")
    }
}

/// The text with its control characters escaped as in Rust, so that a key cannot look like a line of the
/// report.
fn on_one_line(text: &str) -> String {
    let mut line = String::new();
    // The text beyond the limit is cut later.
    for character in text.chars().take(LONGEST_MESSAGE + 1) {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

/// The text, cut where it is too long.
fn cut(mut text: String) -> String {
    if text.len() > LONGEST_MESSAGE {
        text.truncate(floor(&text, LONGEST_MESSAGE));
        text.push_str("...");
    }
    text
}
