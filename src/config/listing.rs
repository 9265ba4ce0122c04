//! A configuration's text as it was written and as its template renders it.
//!
//! The positions of values refer to the rendered text; operators edit the written text. This module maps
//! positions from one to the other, and shows both lines if the template changed the line.

use super::excerpt::{Lines, column, line_around, with_caret, without_caret};
use super::secrets;
use super::source::Source;
use super::tree::Span;
use std::collections::BTreeMap;
use template::{Rendered, TemplateError};

/// Both forms of a text, and the name of its source.
#[derive(Debug)]
pub struct Listing {
    name: String,
    written: Form,
    /// The rendered form; `None` if it equals the written one.
    rendered: Option<(Form, Rendered)>,
}

/// A text and the positions of its lines.
#[derive(Debug)]
struct Form {
    text: String,
    lines: Lines,
}

impl Form {
    fn of(text: String) -> Self {
        let lines = Lines::of(&text);
        Self { text, lines }
    }

    fn line(&self, offset: usize) -> usize {
        self.lines.at(&self.text, offset)
    }
}

/// How much of the text is shown for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// The line.
    Line,
    /// The line and the one before it.
    TwoLines,
}

impl Listing {
    /// A text whose template has not been rendered.
    pub fn written(source: &Source, text: String) -> Self {
        Self {
            name: source.to_string(),
            written: Form::of(text),
            rendered: None,
        }
    }

    /// Renders the template of the text.
    ///
    /// # Errors
    /// The template is invalid.
    pub fn render(&mut self, variables: &BTreeMap<String, String>) -> Result<(), TemplateError> {
        let mut rendered = template::render_with_places(&self.written.text, variables)?;
        if rendered.text != self.written.text {
            let text = std::mem::take(&mut rendered.text);
            self.rendered = Some((Form::of(text), rendered));
        }
        Ok(())
    }

    /// The rendered text.
    pub fn text(&self) -> &str {
        &self.rendered_form().text
    }

    /// The rendered text, if the written one is no longer needed.
    pub fn into_text(self) -> String {
        self.rendered.map_or(self.written.text, |(form, _)| form.text)
    }

    /// The name of the source in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn rendered_form(&self) -> &Form {
        self.rendered.as_ref().map_or(&self.written, |(form, _)| form)
    }

    /// The part of the written text that produced a part of the rendered text.
    fn written_span(&self, span: &Span) -> Span {
        let Some((form, rendered)) = &self.rendered else {
            return span.clone();
        };
        let first = rendered.written(span.start);
        let last_byte = form.text[..span.end].char_indices().next_back();
        let last = match last_byte.filter(|(at, _)| *at > span.start) {
            Some((at, character)) => {
                let last = rendered.written(at);
                let is_copied = last.is_empty();
                last.start..last.end + if is_copied { character.len_utf8() } else { 0 }
            }
            None => first.clone(),
        };
        // In a loop, the end of the span may come from an earlier part of the template than its start.
        let end = if last.end < first.start {
            first.end
        } else {
            last.end
        };
        let is_copied = first.is_empty() && end == first.start && !span.is_empty();
        let end = match is_copied {
            true => {
                first.start
                    + self.written.text[first.start..]
                        .chars()
                        .next()
                        .map_or(0, char::len_utf8)
            }
            false => end,
        };
        first.start..end
    }

    /// Line and column in the written text of a place in the rendered text.
    pub fn position(&self, span: &Span) -> (usize, usize) {
        self.position_as_written(self.written_span(span).start)
    }

    /// Line and column of an offset in the written text.
    pub fn position_as_written(&self, offset: usize) -> (usize, usize) {
        (self.written.line(offset), column(&self.written.text, offset))
    }

    /// Shows a place in the rendered text: the written line and, if the template changed it, the rendered
    /// line. `hidden` lists the secret parts of the rendered text.
    pub fn excerpt(&self, span: &Span, hidden: &[Span], context: Context) -> String {
        let form = self.rendered_form();
        let number = form.line(span.start);
        let rendered = with_caret(&form.text, number, span, hidden);
        let line = line_around(&form.text, span.start);
        let before = match line.start.checked_sub(1).filter(|_| context == Context::TwoLines) {
            Some(newline) => without_caret(&form.text, number - 1, newline, hidden) + "\n",
            None => String::new(),
        };
        if self.rendered.is_none() {
            return before + &rendered;
        }
        let written_span = self.written_span(span);
        let written_line = line_around(&self.written.text, written_span.start);
        let number = self.written.line(written_span.start);
        if self.written.text[written_line.clone()] == form.text[line.clone()] {
            // The same line with its number in the file.
            let shift = |offset: usize| (offset + written_line.start).saturating_sub(line.start);
            let part = |part: &Span| part.start.max(line.start)..part.end.min(line.end);
            let of_line = hidden.iter().map(part).filter(|part| part.start < part.end);
            let hidden: Vec<Span> = of_line.map(|part| shift(part.start)..shift(part.end)).collect();
            let span = shift(span.start)..shift(span.end);
            return with_caret(&self.written.text, number, &span, &hidden);
        }
        let hidden_as_written = self.hidden_as_written(&line, &written_line, hidden);
        let written = with_caret(&self.written.text, number, &written_span, &hidden_as_written);
        format!("{written}\nrendered:\n{before}{rendered}")
    }

    /// The parts of a line with a template that may be secret: everything after the name of a secret, and
    /// everything from the first action or part whose rendering is secret.
    fn hidden_as_written(&self, rendered_line: &Span, line: &Span, hidden: &[Span]) -> Vec<Span> {
        let text = &self.written.text[line.clone()];
        let first = hidden.partition_point(|hidden| hidden.end <= rendered_line.start);
        let of_line = hidden[first..]
            .iter()
            .take_while(|hidden| hidden.start < rendered_line.end);
        let secrets = of_line.map(|hidden| self.written_span(hidden));
        let secret = secrets
            .filter(|secret| secret.start < line.end && line.start <= secret.end)
            .map(|secret| secret.start.max(line.start) - line.start)
            .min();
        let secret = secret.map(|secret| text.find("{{").map_or(secret, |action| action.min(secret)));
        let harmless = secrets::end_of_harmless(text).into_iter().chain(secret).min();
        harmless
            .map(|harmless| line.start + harmless..line.end)
            .filter(|hidden| !hidden.is_empty())
            .into_iter()
            .collect()
    }

    /// Shows a place in the written text, whose template may be invalid.
    pub fn excerpt_as_written(&self, offset: usize) -> String {
        let text = &self.written.text;
        let line = line_around(text, offset);
        let of_line = secrets::end_of_harmless(&text[line.clone()]);
        let above = text[..line.start].trim_end();
        let above = &text[line_around(text, above.len()).start..above.len()];
        let is_value = above.ends_with(':') && secrets::end_of_harmless(above).is_some();
        let from = if is_value { Some(0) } else { of_line };
        let hidden: Vec<Span> = from.map(|from| line.start + from..line.end).into_iter().collect();
        let end = text[offset..].chars().next().map_or(0, char::len_utf8);
        with_caret(text, self.written.line(offset), &(offset..offset + end), &hidden)
    }

    /// The environment variables that are not set and that are named by actions in or directly before a part
    /// of the rendered text, each with the line of the action.
    pub fn unset_variables(&self, span: &Span, variables: &BTreeMap<String, String>) -> Vec<(String, usize)> {
        let Some((form, rendered)) = &self.rendered else {
            return Vec::new();
        };
        let before = form.text[..span.start].trim_end().len();
        let mut unset = Vec::new();
        for action in rendered.actions(before..span.end) {
            let written = &self.written.text[action.written.clone()];
            let line = self.written.line(action.written.start);
            for name in fields(written).filter(|name| !variables.contains_key(*name)) {
                if unset.len() < MOST_UNSET && !unset.iter().any(|(known, _)| known == name) {
                    unset.push((name.to_owned(), line));
                }
            }
        }
        unset
    }
}

/// How many variables a hint names.
const MOST_UNSET: usize = 3;

/// The environment variables that an action names, such as `PORT` in `{{ .PORT | default 80 }}`.
fn fields(action: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    action.match_indices('.').filter_map(move |(dot, _)| {
        let begins = action[..dot].ends_with([' ', '{', '(', '|', '-', '\t', '\n']);
        let rest = &action[dot + 1..];
        let name = &rest[..rest.find(|letter| !is_of_name(letter)).unwrap_or(rest.len())];
        (begins && !name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit()))
            .then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(text: &str, variables: &[(&str, &str)]) -> (Listing, BTreeMap<String, String>) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables: BTreeMap<String, String> = variables.iter().map(owned).collect();
        let mut listing = Listing::written(&Source::Inline(String::new()), text.into());
        listing.render(&variables).unwrap();
        (listing, variables)
    }

    /// The position of a part of the rendered text in the written text, and the excerpt.
    fn shown(text: &str, variables: &[(&str, &str)], part: &str) -> ((usize, usize), String) {
        let (listing, _) = listing(text, variables);
        let start = listing.text().find(part).unwrap();
        let span = start..start + part.len();
        let hidden = secrets::hidden(listing.text());
        (
            listing.position(&span),
            listing.excerpt(&span, &hidden, Context::Line),
        )
    }

    #[test]
    fn a_position_refers_to_the_file_and_the_rendered_line_is_shown_too() {
        let text = "{{ if .A }}\n{\n\"a\": {{ .A }},\n\"b\": 0\n}{{ end }}";
        let (place, excerpt) = shown(text, &[("A", "12")], "0");
        assert_eq!(place, (4, 6));
        assert_eq!(excerpt, "    4 | \"b\": 0\n      |      ^");
        let (place, excerpt) = shown(text, &[("A", "12")], "12");
        assert_eq!(place, (3, 6));
        assert_eq!(
            excerpt,
            "    3 | \"a\": {{ .A }},\n      |      ^^^^^^^^\nrendered:\n    3 | \"a\": 12,\n      |      ^^"
        );
    }

    #[test]
    fn lines_that_the_template_adds_or_removes_do_not_change_positions() {
        let text = "{{ range $i := loop 3 }}\n\"{{ $i }}\": 1,{{ end }}\n{{- /*\n\n*/ -}}\n \"é\": 7";
        let (place, excerpt) = shown(text, &[], "7");
        assert_eq!(place, (6, 7));
        assert!(
            excerpt.starts_with("    6 |  \"é\": 7\n      |       ^"),
            "{excerpt}"
        );
        let (place, _) = shown(text, &[], "\"2\"");
        assert_eq!(place, (2, 1), "in each round of a loop");
    }

    #[test]
    fn secrets_are_hidden_in_both_forms() {
        let branch = "{\"token\":\n{{if .A}}\"s3cr3t\"{{else}}\"s3cr3t\"{{end}}, \"b\": 0}";
        for (text, part) in [
            ("{\"token\": \"{{ .A }}s3cr3t\", \"b\": 0}", "0"),
            (
                "{\"token\": {{if .B}}\"s3cr3t\"{{else}}\"s3cr3t\"{{end}}, \"b\": 0}",
                "0",
            ),
            (branch, "0"),
            ("{\"a\": \"http://u:s3cr3t@{{ .A }}\", \"b\": 0}", "0"),
            ("{\"a\": \"{{ .A }}\",\n\"token\": \"s3cr3t\", \"b\": 0}", "0"),
        ] {
            let (_, excerpt) = shown(text, &[("A", "x")], part);
            assert!(!excerpt.contains("s3cr3t") && excerpt.contains('^'), "{excerpt}");
        }
        let mut listing = Listing::written(
            &Source::Inline(String::new()),
            "{\"token\":\n\"s3cr3t {{ nosuch }}\"".into(),
        );
        let error = listing.render(&BTreeMap::new()).unwrap_err();
        let excerpt = listing.excerpt_as_written(error.offset);
        assert!(!excerpt.contains("s3cr3t") && excerpt.contains('^'), "{excerpt}");
    }

    #[test]
    fn variables_that_are_not_set_are_named() {
        let text = "{\"a\": {{ .NONE }},\n\"b\": \"{{ .ALSO | default .X }}\", \"c\": {{ .X }}}";
        let (listing, variables) = listing(text, &[("X", "1")]);
        let unset = |part: &str| {
            let start = listing.text().find(part).unwrap();
            listing.unset_variables(&(start..start + part.len()), &variables)
        };
        assert_eq!(unset(",\n"), [("NONE".to_owned(), 1)]);
        assert_eq!(unset("\"1\""), [("ALSO".to_owned(), 2)]);
        assert_eq!(unset("1}"), []);
    }
}
