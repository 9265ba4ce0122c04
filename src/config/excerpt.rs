//! Shows the line of a place in a text, with a caret under the place, as compilers do.
//!
//! This is our own code because the form is fixed: `file:line:column: ...` comes first, as in the original
//! and in compilers, tabs are kept, secrets hidden and long lines cut. annotate-snippets and
//! codespan-reporting have headers of their own, and the former replaces tabs.

use super::tree::Span;

/// Characters of a line that are shown before the place (docs/bounds.md).
const BEFORE: usize = 60;
/// Characters of a line that are shown from the place on (docs/bounds.md).
const AFTER: usize = 60;

/// The byte order mark, which editors do not show.
const MARK: char = '\u{feff}';

/// The text that replaces a secret.
const HIDDEN: &str = "***";

/// How many newlines precede each block of a text, so that the line of an offset is found without counting
/// from the start.
#[derive(Debug)]
pub struct Lines(Vec<usize>);

impl Lines {
    const BLOCK: usize = 256;

    /// Counts the lines of a text.
    pub fn of(text: &str) -> Self {
        let mut before = 0;
        let blocks = text.as_bytes().chunks(Self::BLOCK);
        let counts = blocks.map(|block| {
            let here = before;
            before += newlines(block);
            here
        });
        Self(counts.collect())
    }

    /// The line number of an offset in the text, from 1.
    pub fn at(&self, text: &str, offset: usize) -> usize {
        let block = offset / Self::BLOCK;
        let before = self
            .0
            .get(block)
            .copied()
            .unwrap_or_else(|| newlines(text.as_bytes()));
        let rest = text.as_bytes().get(block * Self::BLOCK..offset);
        before + newlines(rest.unwrap_or_default()) + 1
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// The beginning and the end of the line of an offset.
pub fn line_around(text: &str, offset: usize) -> Span {
    let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[offset..]
        .find('\n')
        .map_or(text.len(), |length| offset + length);
    let carriage_return = text[start..end].ends_with('\r');
    start..(end - usize::from(carriage_return)).max(start)
}

/// The column of an offset in its line, in characters, from 1. A byte order mark does not count.
pub fn column(text: &str, offset: usize) -> usize {
    let line = line_around(text, offset);
    let before = text[line.start..offset].chars();
    before.filter(|character| *character != MARK).count() + 1
}

/// The line in which `span` begins, with its number, and carets under the part of it that belongs to the
/// span. `hidden` lists the parts that are not shown, in the order of the text.
pub fn with_caret(text: &str, number: usize, span: &Span, hidden: &[Span]) -> String {
    let line = line_around(text, span.start);
    let window = window(text, &line, span);
    let mut shown = Shown::default();
    if window.start > line.start {
        shown.push("...", ' ');
    }
    let mut at = window.start;
    while at < window.end {
        let next = hidden.partition_point(|hidden| hidden.end <= at);
        at = match hidden.get(next).filter(|hidden| hidden.start <= at) {
            Some(hidden) => {
                let end = hidden.end.min(window.end);
                shown.push(HIDDEN, mark(&(at..end), span));
                end
            }
            None => {
                let character = text[at..].chars().next().unwrap_or_default();
                let end = at + character.len_utf8();
                shown.push_character(character, mark(&(at..end), span));
                end
            }
        };
    }
    if span.start >= window.end {
        shown.marks.push('^');
    }
    if window.end < line.end {
        shown.push("...", ' ');
    }
    let Shown { text, marks } = shown;
    format!("{number:5} | {text}\n      | {}", marks.trim_end())
}

/// The line of `offset`, with its number; a long line is cut.
pub fn without_caret(text: &str, number: usize, offset: usize, hidden: &[Span]) -> String {
    let line = line_around(text, offset);
    let both = with_caret(text, number, &(line.start..line.start), hidden);
    both.lines().next().unwrap_or_default().to_owned()
}

/// The part of a line that is shown.
fn window(text: &str, line: &Span, span: &Span) -> Span {
    let place = span.start.min(line.end);
    let before = text[line.start..place].char_indices().rev();
    let start = before
        .take(BEFORE)
        .last()
        .map_or(place, |(at, _)| line.start + at);
    let after = text[place..line.end].char_indices().nth(AFTER);
    start..after.map_or(line.end, |(at, _)| place + at)
}

fn mark(part: &Span, span: &Span) -> char {
    match part.start < span.end && span.start < part.end {
        true => '^',
        false => ' ',
    }
}

/// The shown part of a line, and the carets under it.
#[derive(Default)]
struct Shown {
    text: String,
    marks: String,
}

impl Shown {
    fn push(&mut self, text: &str, mark: char) {
        self.text.push_str(text);
        self.marks.extend(std::iter::repeat_n(mark, text.len()));
    }

    /// A tab is a tab in both lines, so that the carets are in the right column.
    fn push_character(&mut self, character: char, mark: char) {
        if character == MARK {
            return;
        }
        let is_tab = character == '\t';
        let shown = match character.is_control() && !is_tab {
            true => ' ',
            false => character,
        };
        self.text.push(shown);
        self.marks.push(if is_tab && mark == ' ' { '\t' } else { mark });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_are_under_the_place() {
        let text = "{\n\t\"é\":\t\"abc\"\r\n}";
        let start = text.find("\"abc\"").unwrap();
        assert_eq!(
            with_caret(text, 2, &(start..start + 5), &[]),
            "    2 | \t\"é\":\t\"abc\"\n      | \t    \t^^^^^"
        );
        assert_eq!(column(text, start), 7);
        let marked = "\u{feff}[x]";
        assert_eq!(with_caret(marked, 1, &(4..5), &[]), "    1 | [x]\n      |  ^");
        assert_eq!(column(marked, 4), 2);
        let empty = with_caret("", 1, &(0..0), &[]);
        assert_eq!(empty, "    1 | \n      | ^");
        let several_lines = with_caret("[1,\n2]", 1, &(0..6), &[]);
        assert_eq!(several_lines, "    1 | [1,\n      | ^^^");
    }

    #[test]
    fn hidden_parts_are_shown_as_asterisks_with_the_caret_under_them() {
        let text = r#"{"token": "s3cr3t", "port": 0}"#;
        let secret = text.find("s3").unwrap();
        let hidden = [Span {
            start: secret,
            end: secret + 6,
        }];
        let port = text.find('0').unwrap();
        assert_eq!(
            with_caret(text, 1, &(port..port + 1), &hidden),
            "    1 | {\"token\": \"***\", \"port\": 0}\n      |                          ^"
        );
        assert_eq!(
            with_caret(text, 1, &(secret + 2..secret + 3), &hidden),
            "    1 | {\"token\": \"***\", \"port\": 0}\n      |            ^^^"
        );
    }

    #[test]
    fn an_excerpt_shows_a_limited_part_of_the_line_around_the_place() {
        let long = "é".repeat(1_000_000);
        let text = format!("{long}x{long}");
        let excerpt = with_caret(&text, 1, &(long.len()..long.len() + 1), &[]);
        let mut lines = excerpt.lines();
        let (line, marks) = (lines.next().unwrap(), lines.next().unwrap());
        assert!(line.chars().count() < 140, "{line}");
        let caret = marks.chars().position(|mark| mark == '^').unwrap();
        assert_eq!(line.chars().nth(caret), Some('x'));
    }

    #[test]
    fn lines_are_counted() {
        let text = "a\n".repeat(1_000);
        let lines = Lines::of(&text);
        for offset in [0, 1, 2, 3, 511, 512, 513, 1_999, 2_000] {
            let expected = text[..offset].matches('\n').count() + 1;
            assert_eq!(lines.at(&text, offset), expected, "{offset}");
        }
    }
}
