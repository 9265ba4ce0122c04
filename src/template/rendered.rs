//! A rendered text, with the part of the template that produced each part of it.
//!
//! A caller that finds an error in the rendered text can report its position in the template.

use std::ops::Range;

/// The result of rendering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The origins, in the order of the text. The first piece begins at the start of the text, and each ends
    /// where the next one begins.
    pub pieces: Vec<Piece>,
}

/// A part of the rendered text that one part of the template produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the rendered text, in bytes. An action that prints nothing has an empty piece.
    pub start: usize,
    /// The part of the template, in bytes; for an action, including its delimiters.
    pub written: Range<usize>,
    /// Whether it is a copy of that part; otherwise it is the output of an action.
    pub is_copied: bool,
}

impl Rendered {
    /// The part of the template that produced the byte at `offset`: the byte itself if it is copied,
    /// otherwise the whole action. After the end of the text: the end of the last piece.
    pub fn written(&self, offset: usize) -> Range<usize> {
        let after = self.pieces.partition_point(|piece| piece.start <= offset);
        let Some(piece) = after.checked_sub(1).map(|index| &self.pieces[index]) else {
            return 0..0;
        };
        match piece.is_copied {
            true => {
                let at = piece.written.end.min(piece.written.start + offset - piece.start);
                at..at
            }
            false => piece.written.clone(),
        }
    }

    /// The actions whose output, which may be empty, is between these two offsets or touches them.
    pub fn actions(&self, range: Range<usize>) -> impl Iterator<Item = &Piece> {
        let first = self.pieces.partition_point(|piece| piece.start < range.start);
        let pieces = self.pieces[first.saturating_sub(1)..].iter();
        pieces
            .take_while(move |piece| piece.start <= range.end)
            .filter(|piece| !piece.is_copied)
    }
}

#[cfg(test)]
mod tests {
    use crate::render_with_places;
    use std::collections::BTreeMap;

    /// For each byte, its part of the template.
    fn parts(text: &str) -> (String, Vec<String>) {
        let environment: BTreeMap<String, String> = [("A".to_owned(), "xyz".to_owned())].into();
        let rendered = render_with_places(text, &environment).unwrap();
        let part = |offset: usize| {
            let part = rendered.written(offset);
            let end = part.end.max(part.start + 1);
            text.get(part.start..end).unwrap_or("<end>").to_owned()
        };
        let parts = (0..=rendered.text.len()).map(part).collect();
        (rendered.text, parts)
    }

    #[test]
    fn every_byte_of_the_result_has_its_part_of_the_template() {
        let (text, places) = parts("a{{.A}}b");
        assert_eq!(text, "axyzb");
        assert_eq!(places, ["a", "{{.A}}", "{{.A}}", "{{.A}}", "b", "<end>"]);
        let (text, places) = parts("a {{- .NONE -}} \n b{{/* c */}}d");
        assert_eq!(text, "abd");
        assert_eq!(places, ["a", "b", "d", "<end>"]);
        let (text, places) = parts("{{range loop 2}}-{{.}}{{end}}");
        assert_eq!(text, "-0-1");
        assert_eq!(places[..4], ["-", "{{.}}", "-", "{{.}}"]);
        let (text, places) = parts("{{define \"T\"}}t{{ \"}}\" }}{{end}}{{template \"T\"}}");
        assert_eq!(text, "t}}");
        assert_eq!(places[..3], ["t", "{{ \"}}\" }}", "{{ \"}}\" }}"]);
        assert_eq!(parts("").1, ["<end>"]);
    }

    #[test]
    fn actions_that_print_nothing_are_known_by_their_place() {
        let rendered = render_with_places("{{$x := 1}}[{{.NONE}}, {{.ALSO}}]", &BTreeMap::new()).unwrap();
        assert_eq!(rendered.text, "[, ]");
        let actions = |range| {
            rendered
                .actions(range)
                .map(|piece| piece.start)
                .collect::<Vec<_>>()
        };
        assert_eq!(actions(0..4), [1, 3]);
        assert_eq!(actions(1..1), [1]);
        assert_eq!(actions(2..2), [0; 0]);
        assert_eq!(actions(3..4), [3]);
    }
}
