//! Splits a child's output into lines, which become one log entry each.
//!
//! No encoding is assumed. A line without an end uses at most [`LONGEST`] bytes of memory and is emitted in
//! pieces of that size. Only line ends are dropped (EX-10, EX-11), and the result does not depend on how the
//! output was divided into reads.

use memchr::{memchr, memchr_iter};

/// The longest piece of a line, in bytes (docs/bounds.md)
pub const LONGEST: usize = 64 * 1024;

/// How many bytes of memory are kept for the next line.
const SHORT: usize = 4096;

/// The beginning of a line whose end has not been read.
#[derive(Debug, Default)]
pub struct Lines {
    held: Vec<u8>,
    /// Whether earlier pieces of this line were emitted.
    cut: bool,
}

impl Lines {
    /// Takes bytes and emits each complete line without its `\n` or `\r\n`.
    pub fn feed(&mut self, bytes: &[u8], emit: impl FnMut(&[u8])) {
        self.feed_at_most(bytes, usize::MAX, emit);
    }

    /// As [`Self::feed`], but stops after this many lines. Returns how many bytes were used.
    pub fn feed_at_most(&mut self, bytes: &[u8], most: usize, mut emit: impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        for end in memchr_iter(b'\n', bytes).take(most) {
            self.complete(&bytes[taken..end], &mut emit);
            taken = end + 1;
        }
        // The loop ended at the limit of lines or at the end of the bytes.
        if memchr(b'\n', &bytes[taken..]).is_none() {
            self.hold(&bytes[taken..], &mut emit);
            taken = bytes.len();
        }
        taken
    }

    /// The end of the output: emits a last line that has no line end.
    pub fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        if !self.held.is_empty() {
            self.complete(b"", &mut emit);
        }
        *self = Self::default();
    }

    /// Stores bytes, and emits a piece whenever it is full.
    fn hold(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(&[u8])) {
        while self.held.len() + bytes.len() > LONGEST {
            let (fitting, rest) = bytes.split_at(LONGEST - self.held.len());
            self.held.extend_from_slice(fitting);
            emit(&self.held);
            self.held.clear();
            self.cut = true;
            bytes = rest;
        }
        self.held.extend_from_slice(bytes);
    }

    /// Emits the line that ends with these bytes. A line that was emitted in pieces gets no empty last piece.
    fn complete(&mut self, bytes: &[u8], emit: &mut impl FnMut(&[u8])) {
        if self.held.is_empty() && !self.cut && bytes.len() <= LONGEST {
            return emit(bytes.strip_suffix(b"\r").unwrap_or(bytes));
        }
        self.hold(bytes, emit);
        let line = self.held.strip_suffix(b"\r").unwrap_or(&self.held);
        if !line.is_empty() || !self.cut {
            emit(line);
        }
        self.held.clear();
        self.held.shrink_to(SHORT);
        self.cut = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, proptest};
    use proptest::{collection, sample};

    fn lines(reads: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut lines = Lines::default();
        for read in reads {
            lines.feed(read, |line| out.push(line.to_vec()));
        }
        lines.finish(|line| out.push(line.to_vec()));
        out
    }

    #[test]
    fn each_line_is_emitted_without_its_line_end() {
        let none: [&[u8]; 0] = [];
        assert_eq!(lines(&[]), none);
        assert_eq!(lines(&[b"a\nb\n"]), [b"a", b"b"]);
        assert_eq!(lines(&[b"a\r\nb\rc\r\r\n"]), [&b"a"[..], b"b\rc\r"]);
        assert_eq!(lines(&[b"a", b"b", b"\nc"]), [&b"ab"[..], b"c"]);
        assert_eq!(lines(&[b"\n\n"]), [b"", b""]);
        assert_eq!(lines(&[b"a\r", b"\n"]), [b"a"]);
        assert_eq!(lines(&[b"\xff\x00\n"]), [b"\xff\x00"]);
        assert_eq!(lines(&[b"a\r"]), [b"a"]);
    }

    #[test]
    fn a_long_line_is_emitted_in_pieces() {
        let lengths = |line: &[u8]| lines(&[line]).iter().map(Vec::len).collect::<Vec<_>>();
        let long = |length: usize, end: &str| [vec![b'x'; length], end.into()].concat();
        assert_eq!(lengths(&long(LONGEST, "\n")), [LONGEST]);
        assert_eq!(lengths(&long(LONGEST, "\r\n")), [LONGEST]);
        assert_eq!(lengths(&long(LONGEST, "")), [LONGEST]);
        assert_eq!(lengths(&long(LONGEST + 1, "\n\n")), [LONGEST, 1, 0]);
        assert_eq!(lengths(&long(2 * LONGEST, "\na")), [LONGEST, LONGEST, 1]);
    }

    #[test]
    fn a_hundred_megabytes_without_a_newline_are_held_in_two_pieces_of_memory() {
        let read = vec![b'x'; 100_000];
        let mut lines = Lines::default();
        let mut out = 0;
        for _ in 0..1000 {
            lines.feed(&read, |piece| out += piece.len());
            assert!(lines.held.capacity() <= 2 * LONGEST);
        }
        lines.finish(|piece| out += piece.len());
        assert_eq!(out, 100_000_000);
    }

    #[test]
    fn at_most_the_limit_of_lines_is_used_and_the_rest_is_left() {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let mut taken = |bytes: &[u8]| lines.feed_at_most(bytes, 2, |line| out.push(line.to_vec()));
        assert_eq!(taken(b"a\nb\nc\nd"), 4);
        assert_eq!(taken(b"c\nd"), 3);
        assert_eq!(taken(b""), 0);
        assert_eq!(taken(b"e\nf\n"), 4);
        assert_eq!(out, [&b"a"[..], b"b", b"c", b"de", b"f"]);
    }

    proptest! {
        #[test]
        fn the_lines_do_not_depend_on_the_division_into_reads(
            output in collection::vec(sample::select(b"ab\r\n".to_vec()), 0..200),
            cuts in collection::vec(any::<sample::Index>(), 0..20),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(output.len() + 1)).collect();
            cuts.sort_unstable();
            let starts = std::iter::once(0).chain(cuts.iter().copied());
            let ends = cuts.iter().copied().chain(std::iter::once(output.len()));
            let reads: Vec<_> = starts.zip(ends).map(|(start, end)| &output[start..end]).collect();
            assert_eq!(lines(&reads), lines(&[&output]));
        }

        #[test]
        fn no_byte_but_the_line_ends_is_lost(
            output in collection::vec((0..3 * LONGEST).prop_map(|length| vec![b'x'; length]), 0..4),
        ) {
            let joined = output.join(&b'\n');
            assert_eq!(lines(&[&joined]).concat(), output.concat());
        }
    }
}
