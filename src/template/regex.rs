//! Go's regular expressions, compiled by `regex-automata`.
//!
//! Both descend from RE2, but differ in some patterns: in Go `\w`, `\d`, `\s` and `\b` apply to ASCII only,
//! `\Q..\E` quotes, `{,2}` is plain text, and classes have neither nested classes nor set operations. So a
//! pattern is parsed by Go's rules and rewritten; every plain character is written in a form with the same
//! meaning in both. Patterns that Go refuses are refused here, with Go's reason and the whole pattern. Only
//! an unknown property and a pattern that grows too large are left to the crate. `search` finds the matches
//! and counts the steps.

use std::error::Error;

use regex_automata::nfa::thompson::{Compiler, Config, NFA};

use crate::limit::{BoundedText, exceeded};
use crate::search::{Match, Search, Steps};

/// The text with every match replaced; `$1`, `$name` and `${name}` in the replacement are expanded.
/// Matches follow one another as in Go's `ReplaceAll`.
pub(crate) fn replace_all(
    pattern: &str,
    replacement: &str,
    text: &str,
    steps: &mut Steps,
) -> Result<String, String> {
    let nfa = compile(pattern, steps)?;
    let mut search = Search::new(&nfa, text)?;
    let mut out = BoundedText::default();
    let (mut from, mut end) = (0, 0);
    while from <= text.len() && !out.overflowed() {
        let Some(found) = search.find(from, steps) else {
            break;
        };
        out.push(&text[end..found.start()]);
        if found.end() > end || found.start() == 0 {
            expand(&mut out, replacement, &found);
        }
        end = found.end();
        let next = text[from..].chars().next().map_or(1, char::len_utf8);
        from = end.max(from + next);
    }
    if steps.left() == 0 {
        return Err(exceeded());
    }
    out.push(&text[end..]);
    out.finish()
}

/// The limit on the memory of a compiled pattern, in bytes (docs/bounds.md).
const COMPILED_SIZE: usize = 1024 * 1024;

/// How many bytes of a compiled pattern count as a step, and the smallest number of steps for compiling.
const COMPILED_PER_STEP: usize = 64;
const LEAST_STEPS: usize = 50;

/// How many repetitions a pattern may have.
const REPETITIONS: u32 = 1000;

pub(crate) fn compile(pattern: &str, steps: &mut Steps) -> Result<NFA, String> {
    let refused = |reason: &str| format!("error parsing regexp: {reason}: `{pattern}`");
    let adapted = adapt(pattern).map_err(refused)?;
    let config = Config::new().nfa_size_limit(Some(COMPILED_SIZE));
    let nfa = Compiler::new()
        .configure(config)
        .build(&adapted)
        .map_err(|error| {
            // The reason is in the last line of the error, below the pattern.
            let reason = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            let reason = reason.lines().last().unwrap_or_default();
            refused(reason.trim_start_matches("error: "))
        })?;
    let cost = LEAST_STEPS + nfa.memory_usage() / COMPILED_PER_STEP;
    steps.take(cost).then_some(nfa).ok_or_else(exceeded)
}

/// Appends the replacement with the names in it expanded.
fn expand(out: &mut BoundedText, replacement: &str, found: &Match<'_>) {
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('$') {
        out.push(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push("$");
            rest = after;
        } else if let Some((name, after)) = group_name(after) {
            out.push(group(found, name));
            rest = after;
        } else {
            out.push("$");
            rest = after;
        }
    }
    out.push(rest);
}

/// The name after a dollar sign, in braces or not, and what follows it.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let braced = text.strip_prefix('{');
    let start = braced.unwrap_or(text);
    let is_end = |character: char| character != '_' && !character.is_alphanumeric();
    let (name, after) = start.split_at(start.find(is_end).unwrap_or(start.len()));
    let after = match braced {
        Some(_) => after.strip_prefix('}')?,
        None => after,
    };
    (!name.is_empty()).then_some((name, after))
}

fn group<'a>(found: &Match<'a>, name: &str) -> &'a str {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let padded = name.len() > 1 && name.starts_with('0');
    match name.parse() {
        Ok(number) if is_number && !padded => found.group(number),
        _ => found.named(name),
    }
}

/// The pattern in the syntax of the crate.
fn adapt(pattern: &str) -> Adapted<String> {
    let mut adapter = Adapter {
        rest: pattern,
        out: String::new(),
        before: Before::Nothing,
        groups: 0,
    };
    while !adapter.rest.is_empty() {
        adapter.step()?;
    }
    if adapter.groups > 0 {
        return Err(UNCLOSED_GROUP);
    }
    Ok(adapter.out)
}

struct Adapter<'a> {
    rest: &'a str,
    out: String,
    before: Before,
    groups: usize,
}

/// The item before a repetition.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    Something,
    Repetition,
}

/// A part of the pattern in the syntax of the crate, or why Go refuses the pattern.
type Adapted<T> = Result<T, &'static str>;

const UNCLOSED_CLASS: &str = "missing closing ]";
const UNCLOSED_GROUP: &str = "missing closing )";
const WRONG_RANGE: &str = "invalid character class range";

impl<'a> Adapter<'a> {
    fn step(&mut self) -> Adapted<()> {
        let start = self.rest;
        match self.advance() {
            Some('\\') => self.escape(start),
            Some('[') => self.class(),
            Some('(') => self.open_group(start),
            Some(')') => self.close_group(),
            Some('|') => {
                self.out.push('|');
                self.before = Before::Nothing;
                Ok(())
            }
            Some('*' | '+' | '?') => self.repetition(start, 1),
            Some('{') => self.brace(start),
            Some(anchor @ ('.' | '^' | '$')) => self.verbatim(anchor.encode_utf8(&mut [0; 4])),
            Some(plain) => self.plain(plain),
            None => Ok(()),
        }
    }

    fn advance(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    fn skip(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn verbatim(&mut self, text: &str) -> Adapted<()> {
        self.out.push_str(text);
        self.before = Before::Something;
        Ok(())
    }

    fn plain(&mut self, character: char) -> Adapted<()> {
        let mut text = String::new();
        if character.is_ascii_punctuation() && !matches!(character, '<' | '>') {
            text.push('\\');
        }
        text.push(character);
        self.verbatim(&text)
    }

    fn open_group(&mut self, start: &'a str) -> Adapted<()> {
        self.groups += 1;
        self.before = Before::Nothing;
        self.out.push('(');
        if !self.rest.starts_with('?') {
            return Ok(());
        }
        let length = match start.starts_with("(?P<") {
            true => "(?P<".len(),
            false => Self::flags(start)?,
        };
        self.out.push_str(&start[1..length]);
        self.rest = &start[length..];
        if self.rest.starts_with(')') {
            self.before = Before::Something;
        }
        Ok(())
    }

    /// The length of a group's opening with flags, up to the colon or the closing parenthesis.
    fn flags(start: &str) -> Adapted<usize> {
        let flags = &start[2..];
        let is_other = |character: char| !matches!(character, 'i' | 'm' | 's' | 'U' | '-');
        let Some(end) = flags.find(is_other) else {
            return Err(UNCLOSED_GROUP);
        };
        match flags[end..].chars().next() {
            Some(':') => Ok(2 + end + 1),
            Some(')') if end > 0 => Ok(2 + end),
            _ => Err("invalid or unsupported Perl syntax"),
        }
    }

    fn close_group(&mut self) -> Adapted<()> {
        let Some(groups) = self.groups.checked_sub(1) else {
            return Err("unexpected )");
        };
        self.groups = groups;
        self.verbatim(")")
    }

    /// A repetition in braces, or a literal brace.
    fn brace(&mut self, start: &'a str) -> Adapted<()> {
        let Some((least, most, length)) = repetition_in_braces(start) else {
            return self.plain('{');
        };
        let exceeds = |count: u32| count > REPETITIONS;
        if exceeds(least) || most.is_some_and(|most| exceeds(most) || most < least) {
            return Err("invalid repeat count");
        }
        self.repetition(start, length)
    }

    fn repetition(&mut self, start: &'a str, length: usize) -> Adapted<()> {
        self.rest = &start[length..];
        self.skip("?");
        let operator = &start[..start.len() - self.rest.len()];
        match self.before {
            Before::Something => {}
            Before::Nothing => return Err("missing argument to repetition operator"),
            Before::Repetition => return Err("invalid nested repetition operator"),
        }
        self.out.push_str(operator);
        self.before = Before::Repetition;
        Ok(())
    }

    fn escape(&mut self, start: &'a str) -> Adapted<()> {
        if let Some(class) = self.perl_class() {
            return self.verbatim(&format!("[{class}]"));
        }
        if self.rest.starts_with(['p', 'P']) {
            let property = self.property(start)?;
            return self.verbatim(&property);
        }
        match self.rest.chars().next() {
            Some('A' | 'z') => {
                self.advance();
                self.verbatim(&start[..2])
            }
            Some('b' | 'B') => {
                self.advance();
                self.verbatim(&format!("(?-u:{})", &start[..2]))
            }
            Some('Q') => self.quotation(),
            _ => {
                let character = self.escaped_character()?;
                self.plain(character)
            }
        }
    }

    fn quotation(&mut self) -> Adapted<()> {
        self.advance();
        let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
        self.rest = rest;
        quoted.chars().try_for_each(|character| self.plain(character))
    }

    /// The meaning of `\d` and similar escapes inside a class.
    fn perl_class(&mut self) -> Option<&'static str> {
        let class = match self.rest.chars().next()? {
            'd' => "0-9",
            'D' => "[^0-9]",
            's' => r"\t\n\f\r\x20",
            'S' => r"[^\t\n\f\r\x20]",
            'w' => "0-9A-Za-z_",
            'W' => "[^0-9A-Za-z_]",
            _ => return None,
        };
        self.advance();
        Some(class)
    }

    /// `\pL`, `\p{Greek}` and, negated, `\PL` and `\p{^Greek}`.
    fn property(&mut self, start: &'a str) -> Adapted<String> {
        let mut negated = self.advance() == Some('P');
        let name = match self.skip("{") {
            true => self.rest.split_once('}').map(|(name, _)| name),
            false => self.rest.chars().next().map(|name| &self.rest[..name.len_utf8()]),
        };
        let braced = start[2..].starts_with('{');
        let length = name.map_or(0, str::len) + usize::from(braced);
        self.rest = self.rest.get(length..).unwrap_or_default();
        let plain = name.map(|name| name.trim_start_matches('^')).unwrap_or_default();
        negated ^= name.is_some_and(|name| name.starts_with('^'));
        let is_word = plain
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
        if plain.is_empty() || !is_word {
            return Err(WRONG_RANGE);
        }
        Ok(format!("\\{}{{{plain}}}", if negated { 'P' } else { 'p' }))
    }

    /// The character that an escape denotes.
    fn escaped_character(&mut self) -> Adapted<char> {
        let Some(character) = self.advance() else {
            return Err("trailing backslash at end of expression");
        };
        let value = match character {
            'a' => Some('\u{7}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            'x' => self.hexadecimal(),
            '0' => self.octal(0),
            '1'..='7' if self.rest.starts_with(|next| ('0'..='7').contains(&next)) => {
                self.octal(character.to_digit(8).unwrap_or_default())
            }
            _ if character.is_ascii() && !character.is_ascii_alphanumeric() => Some(character),
            _ => None,
        };
        value.ok_or("invalid escape sequence")
    }

    fn hexadecimal(&mut self) -> Option<char> {
        let (digits, rest) = match self.rest.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?,
            None => self.rest.split_at_checked(2)?,
        };
        let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| are_digits)?;
        self.rest = rest;
        char::from_u32(number)
    }

    fn octal(&mut self, start: u32) -> Option<char> {
        let mut number = start;
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|digit| digit.to_digit(8)) else {
                break;
            };
            number = number * 8 + digit;
            self.advance();
        }
        char::from_u32(number)
    }

    fn class(&mut self) -> Adapted<()> {
        let mut class = String::from("[");
        if self.skip("^") {
            class.push('^');
        }
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            if self.rest.is_empty() {
                return Err(UNCLOSED_CLASS);
            }
            class.push_str(&self.class_item()?);
            is_first = false;
        }
        self.skip("]");
        class.push(']');
        self.verbatim(&class)
    }

    fn class_item(&mut self) -> Adapted<String> {
        let start = self.rest;
        if let Some(name) = self.posix_class()? {
            return Ok(name.to_owned());
        }
        if self.skip("\\") {
            if let Some(class) = self.perl_class() {
                return Ok(class.to_owned());
            }
            if self.rest.starts_with(['p', 'P']) {
                return self.property(start);
            }
            self.rest = start;
        }
        self.class_range()
    }

    fn posix_class(&mut self) -> Adapted<Option<&'a str>> {
        let Some((name, rest)) = self
            .rest
            .strip_prefix("[:")
            .and_then(|rest| rest.split_once(":]"))
        else {
            return Ok(None);
        };
        let (class, _) = self.rest.split_at(self.rest.len() - rest.len());
        if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(WRONG_RANGE);
        }
        self.rest = rest;
        Ok(Some(class))
    }

    fn class_range(&mut self) -> Adapted<String> {
        let low = self.class_character()?;
        let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1;
        if !is_range {
            return Ok(code_point(low));
        }
        self.skip("-");
        let high = self.class_character()?;
        if high < low {
            return Err(WRONG_RANGE);
        }
        Ok(format!("{}-{}", code_point(low), code_point(high)))
    }

    fn class_character(&mut self) -> Adapted<char> {
        match self.advance() {
            Some('\\') => self.escaped_character(),
            Some(character) => Ok(character),
            None => Err(UNCLOSED_CLASS),
        }
    }
}

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

fn code_point(character: char) -> String {
    format!("\\x{{{:X}}}", u32::from(character))
}

/// The smallest and largest number of repetitions in `{2}`, `{2,}` or `{2,3}`, and the length of the text.
fn repetition_in_braces(start: &str) -> Option<(u32, Option<u32>, usize)> {
    let (inside, _) = start.strip_prefix('{')?.split_once('}')?;
    let (least, most) = match inside.split_once(',') {
        None => (inside, Some(inside)),
        Some((least, "")) => (least, None),
        Some((least, most)) => (least, Some(most)),
    };
    let most = match most {
        Some(most) => Some(repetitions(most)?),
        None => None,
    };
    Some((repetitions(least)?, most, inside.len() + 2))
}

/// The number that digits denote; one beyond the limit is reduced to it.
fn repetitions(digits: &str) -> Option<u32> {
    let are_digits = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let padded = digits.len() > 1 && digits.starts_with('0');
    (are_digits && !padded).then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::STEPS;

    fn replace_all(pattern: &str, replacement: &str, text: &str) -> Result<String, String> {
        super::replace_all(pattern, replacement, text, &mut Steps::new(STEPS))
    }

    fn check(pattern: &str, replacement: &str, text: &str, expected: &str) {
        let replaced = replace_all(pattern, replacement, text);
        assert_eq!(replaced.as_deref(), Ok(expected), "{pattern}");
    }

    fn check_error(pattern: &str, reason: &str) {
        let message = format!("error parsing regexp: {reason}: `{pattern}`");
        assert_eq!(replace_all(pattern, "", ""), Err(message), "{pattern}");
    }

    #[test]
    fn perl_classes_are_about_ascii() {
        check(r"\w", "-", "aé1_", "-é--");
        check(r"\W", "_", "aé1", "a_1");
        check(r"\d", "_", "1٣", "_٣");
        check(r"\s", "_", "a b\u{a0}c", "a_b\u{a0}c");
        check(r"[\w-]+", "_", "é-a", "é_");
        check(r"[^\D]", "_", "a1", "a_");
        check(r"[\S]", "_", "a b", "_ _");
    }

    #[test]
    fn word_boundaries_are_about_ascii() {
        check(r"\b", "|", "aé b", "|a|é |b|");
        check(r"\B", "|", "ab é", "a|b |é|");
    }

    #[test]
    fn quotations_are_literal() {
        check(r"\Qa.b\E.", "_", "a.bc axbc", "_ axbc");
        check(r"\Qa.b*", "_", "a.b*", "_");
        check(r"\Qab\E+", "_", "abb", "_");
    }

    #[test]
    fn braces_that_repeat_nothing_are_literal() {
        check("a{,2}", "_", "a{,2} aa", "_ aa");
        check("a{", "_", "a{", "_");
        check("{a}", "_", "{a}", "_");
        check("a{2}", "_", "aaa", "_a");
        check("^a{1,}?", "_", "aa", "_a");
    }

    #[test]
    fn classes_have_no_set_operations_and_no_nesting() {
        check("[a&&b]", "_", "a&b", "___");
        check("[[a]", "_", "[a", "__");
        check("[+--z]", "_", "+,-.z", "___._");
        check("[]a]", "_", "]a", "__");
        check("[^]a]", "_", "]ab", "]a_");
        check("[~~x#]", "_", "~#x", "___");
        check("[[:alpha:]é]", "_", "aé1", "__1");
        check("[[:^alpha:]]", "_", "a1", "a_");
        check(r"[\]\x41-\x{43}]", "_", "]ABD", "___D");
    }

    #[test]
    fn groups_expand_by_number_and_name() {
        check(r"(\w):(\w)", "${2}", "a:b:c", "b:c");
        check("(?P<x>a)(b)", "$x-$2-$0", "ab", "a-b-ab");
        check("(a)", "$1x", "a", "");
        check("(a)", "${1}x", "a", "ax");
        check("(a)", "$$1 $ ${ $01", "a", "$1 $ ${ ");
        check("a", "$9$nope", "a", "");
    }

    #[test]
    fn empty_matches_do_not_touch_another_match() {
        check("a*", "-", "baac", "-b-c-");
        check("", "-", "hé", "-h-é-");
    }

    #[test]
    fn only_flags_of_go_are_accepted() {
        check("(?i)É", "_", "é", "_");
        check("(?s:a.)b", "_", "a\nb", "_");
        check("(?U)a+", "_", "aa", "__");
        check_error("(?x)a", "invalid or unsupported Perl syntax");
        check_error("(?<n>a)", "invalid or unsupported Perl syntax");
        check_error("(?=a)", "invalid or unsupported Perl syntax");
        check_error("(?i", "missing closing )");
    }

    #[test]
    fn properties_have_names() {
        check(r"\pL\p{Nd}", "_", "é٣", "_");
        check(r"\p{^Greek}", "_", "aα", "_α");
        check(r"[\PL]", "_", "a1", "a_");
        check_error(r"\p{a=b}", r"invalid character class range");
        assert!(replace_all(r"\p{Nope}", "", "").is_err());
        assert!(replace_all(r"\p", "", "").is_err());
        assert!(replace_all(r"\p{", "", "").is_err());
    }

    #[test]
    fn patterns_that_go_refuses_are_refused_with_its_reason() {
        check_error("[", "missing closing ]");
        check_error("x[a-", "missing closing ]");
        check_error("(a", "missing closing )");
        check_error("a)", "unexpected )");
        check_error("a**", "invalid nested repetition operator");
        check_error("a*?{2}", "invalid nested repetition operator");
        check_error("*a", "missing argument to repetition operator");
        check_error("a|+?", "missing argument to repetition operator");
        check_error("a{1001}", "invalid repeat count");
        check_error("a{2,1}", "invalid repeat count");
        check_error("[z-a]", "invalid character class range");
        check_error("[[:nope:]]", "invalid character class range");
        check_error(r"\y", r"invalid escape sequence");
        check_error(r"\1", r"invalid escape sequence");
        check_error("a\\", "trailing backslash at end of expression");
    }

    #[test]
    fn escapes_name_characters() {
        check(r"\x41\x{42}\103\_\.\-\<\a", "_", "ABC_.-<\u{7}", "_");
        check(r"\A\t\z", "_", "\t", "_");
    }

    #[test]
    fn patterns_that_grow_too_large_are_refused() {
        assert!(replace_all("((a{1000}){1000}){1000}", "", "").is_err());
        assert!(replace_all(&"(".repeat(100_000), "", "").is_err());
        let nested = "(".repeat(100_000) + &")".repeat(100_000);
        assert!(replace_all(&nested, "", "").is_err());
    }

    #[test]
    fn a_search_that_takes_too_long_ends_at_the_limit_of_steps() {
        let text = "a".repeat(1_000_000);
        for pattern in [
            "a.*b|a",
            "(a|aa)*b",
            "(((a*)*)*)*b",
            "a{0,1000}b",
            r"(\pL{1,20})*!",
        ] {
            assert_eq!(replace_all(pattern, "", &text), Err(exceeded()), "{pattern}");
        }
        let many = "(a)".repeat(1_000) + "{500}";
        assert!(replace_all(&many, "", &text).is_err());
    }

    #[test]
    fn the_steps_of_a_search_are_in_proportion_to_its_work() {
        let mut steps = Steps::new(STEPS);
        let list = "one,".repeat(10_000);
        let replaced = super::replace_all(",", "\n", &list, &mut steps).unwrap();
        assert_eq!(replaced, list.replace(',', "\n"));
        assert!(steps.left() > STEPS * 9 / 10, "{}", steps.left());
    }

    proptest::proptest! {
        /// Compares the replacement with that of the `regex` crate, for small patterns over few letters.
        #[test]
        fn matches_are_those_of_the_library(pattern in "[abé.]([abé()|*+?.^$]|[*+?][?]){0,8}", text in "[abé]{0,8}") {
            let expected = ::regex::Regex::new(&pattern);
            if let (Ok(ours), Ok(regex)) = (replace_all(&pattern, "<$1>", &text), expected) {
                let theirs = regex.replace_all(&text, "<$1>");
                proptest::prop_assert_eq!(ours, theirs, "{} {}", pattern, text);
            }
        }
    }
}
