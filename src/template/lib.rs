//! Go's `text/template` for Rust: renders a text to the same bytes as Go does.
//!
//! The language is that of Go 1.19 with the option `missingkey=zero` and the functions that ContainerPilot
//! adds, including the wording of errors: ContainerPilot's configurations are templates over the environment,
//! and existing ones must render to the same bytes. The nearest maintained crate, `gotmpl`, was tried behind
//! an adapter: it does not distinguish a missing variable from no value, formats floating-point numbers
//! differently, and does not report where rendering failed.
//!
//! `lex` splits a text into tokens, `parse` builds statements (`syntax`, `literal`), `exec` executes them
//! over values (`value`) with the functions of `functions`. `limit` bounds all of it. The crate does not read
//! the process environment or files, does not panic for any text, and does not depend on the rest of the
//! program.

mod access;
mod additions;
mod compare;
mod error;
mod escape;
mod exec;
mod floats;
mod format;
mod functions;
mod json;
mod lex;
mod limit;
mod literal;
mod lookup;
mod parse;
pub mod pattern;
pub mod quote;
mod regex;
mod rendered;
mod search;
mod syntax;
mod value;
mod verbs;

use functions::Vocabulary;
use std::collections::BTreeMap;

pub use error::{Place, TemplateError};
pub use functions::names as function_names;
pub use limit::TEXT as LONGEST_TEXT;
pub use lookup::Lookup;
pub use rendered::{Piece, Rendered};
pub use value::{Key, List, Map, Type, Value};

/// Renders a Go text template over the environment.
pub fn render(text: &str, environment: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    render_value(text, &self::environment(environment), environment)
}

/// The environment as a value that templates are rendered over.
pub fn environment(environment: &BTreeMap<String, String>) -> Value {
    let entries = environment
        .iter()
        .map(|(name, value)| (name.clone(), Value::text(value.as_str())));
    Value::map(Type::Text, entries)
}

/// Renders a Go text template over any value; the function `env` reads the environment.
pub fn render_value(
    text: &str,
    data: &Value,
    environment: &BTreeMap<String, String>,
) -> Result<String, TemplateError> {
    let templates = parse::parse(text, Vocabulary::Common)?;
    exec::execute(text, &templates, data, environment, None).map(|rendered| rendered.text)
}

/// Renders a template over the environment with the functions of consul-template, whose data come from `lookup`.
pub fn render_with_lookup(
    text: &str,
    environment: &BTreeMap<String, String>,
    lookup: &dyn Lookup,
) -> Result<String, TemplateError> {
    let templates = parse::parse(text, Vocabulary::WithLookup)?;
    let data = self::environment(environment);
    exec::execute(text, &templates, &data, environment, Some(lookup)).map(|rendered| rendered.text)
}

/// Whether the text is a template for [`render_with_lookup`]; it is not executed. If `has_keys` is false, the lookup has no
/// keys, and a template that uses their functions is refused.
pub fn check_with_lookup(text: &str, has_keys: bool) -> Result<(), TemplateError> {
    let vocabulary = match has_keys {
        true => Vocabulary::WithLookup,
        false => Vocabulary::WithoutKeys,
    };
    parse::parse(text, vocabulary).map(drop)
}

/// Renders a Go text template over the environment. The result records which part of the template produced
/// each part of the text.
pub fn render_with_places(
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Result<Rendered, TemplateError> {
    let templates = parse::parse(text, Vocabulary::Common)?;
    let data = self::environment(environment);
    exec::execute(text, &templates, &data, environment, None)
}

/// The example of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> BTreeMap<String, String> {
        let variables = [
            ("NAME", "Template"),
            ("USER", "pilot"),
            ("PARTS", "a:b:c"),
            ("COUNT", "3"),
            ("NAME_1", "Template"),
            ("MY-VAR", "dashed"),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        variables.map(owned).into()
    }

    fn check(facts: &[(&str, &str)]) {
        for (text, expected) in facts {
            let rendered = render(text, &environment());
            assert_eq!(rendered.as_deref(), Ok(*expected), "{text}");
        }
    }

    #[test]
    fn variables_render_as_their_value_or_nothing() {
        check(&[
            ("Hello, {{.NAME}}!", "Hello, Template!"),
            ("Hello, {{.NONAME}}!", "Hello, !"),
            ("{{index . \"MY-VAR\"}}{{index . \"NO-VAR\"}}", "dashed"),
            ("{{env (printf \"NA%s\" \"ME_1\")}}", "Template"),
        ]);
    }

    #[test]
    fn defaults_replace_missing_variables() {
        check(&[
            ("Hello, {{.NONAME | default \"World\" }}!", "Hello, World!"),
            ("Hello, {{.NONAME | default 100 }}!", "Hello, 100!"),
            ("Hello, {{.NONAME | default 10.1 }}!", "Hello, 10.1!"),
            (
                "{{.NONAME | default 10.0}} {{.NONAME | default 1e6}} {{.NONAME | default true}}",
                "10 1e+06 true",
            ),
            ("{{5 | default 7}}", "7"),
            ("{{.NONE | default .NOTHING | default .NAME}}", "Template"),
        ]);
    }

    #[test]
    fn text_is_split_joined_and_replaced() {
        check(&[
            ("Hello, {{.PARTS | split \":\" | join \".\" }}!", "Hello, a.b.c!"),
            ("Hello, {{.NAME | replaceAll \"e\" \"_\" }}!", "Hello, T_mplat_!"),
            (
                "Hello, {{.NAME | regexReplaceAll \"[epa]+\" \"_\" }}!",
                "Hello, T_m_l_t_!",
            ),
            ("{{range .PARTS | split \":\"}}[{{.}}]{{end}}", "[a][b][c]"),
        ]);
    }

    #[test]
    fn loops_count_to_numbers_and_variables() {
        check(&[
            (
                "{{ loop 2 5 }} {{ loop 10 1 }} {{ loop 5 }}",
                "[2 3 4] [10 9 8 7 6 5 4 3 2] [0 1 2 3 4]",
            ),
            ("{{ loop .COUNT }} {{ loop 1 .COUNT }}", "[0 1 2] [1 2]"),
            ("{{ range $i := loop 2 5 -}}i={{$i}},{{ end }}", "i=2,i=3,i=4,"),
        ]);
    }

    #[test]
    fn the_whole_environment_prints_sorted() {
        let environment = [("B".to_owned(), "y".to_owned()), ("A".to_owned(), "x".to_owned())];
        assert_eq!(
            render("{{.}}", &environment.into()).as_deref(),
            Ok("map[A:x B:y]")
        );
    }

    #[test]
    fn the_deepest_templates_fit_a_small_stack() {
        let levels = limit::NESTING - 1;
        let nested = |open: &str, close: &str| open.repeat(levels) + "x" + &close.repeat(levels);
        let texts = [
            format!("{{{{{}}}}}", nested("(", ")").replace('x', "1")),
            nested("{{range loop 1}}", "{{end}}"),
            nested("{{if 0}}{{else}}", "{{end}}"),
            format!(
                "{{{{define \"T\"}}}}{}{{{{end}}}}{{{{template \"T\"}}}}",
                nested("{{if 1}}", "{{end}}").replace('x', "{{template \"T\"}}")
            ),
        ];
        let render_all = move || texts.map(|text| render(&text, &environment()).is_ok());
        let thread = std::thread::Builder::new()
            .stack_size(1536 * 1024)
            .spawn(render_all);
        let outcome = thread.map(|thread| thread.join().unwrap_or_default());
        assert!(matches!(outcome, Ok([true, true, true, false])));
    }

    /// Tested with a large number of them, on a stack that is too small for one level of recursion for each.
    #[test]
    fn else_if_does_not_nest() {
        let chain = |number: usize| {
            let conditions = "{{else if 0}}0".repeat(number);
            format!("{{{{if 0}}}}0{conditions}{{{{else if $x := 1}}}}{{{{$x}}}}{{{{else}}}}2{{{{end}}}}")
        };
        let render_all = move || [101, 50_000].map(|number| render(&chain(number), &environment()));
        let thread = std::thread::Builder::new()
            .stack_size(1536 * 1024)
            .spawn(render_all);
        let outcome = thread.unwrap().join().unwrap();
        assert_eq!(outcome, [Ok("1".to_owned()), Ok("1".to_owned())]);
        let inner = "{{if 0}}{{else if 1}}".repeat(limit::NESTING) + &"{{end}}".repeat(limit::NESTING);
        assert_eq!(render(&inner, &environment()).as_deref(), Ok(""));
        assert!(refused(&format!("{{{{if 1}}}}{inner}{{{{end}}}}")).starts_with("more than 100 nested"));
        let round = "{{if 0}}".to_owned() + &"{{else if 0}}".repeat(10_000) + "{{end}}";
        let endless = format!("{{{{range loop 1000}}}}{round}{{{{end}}}}");
        assert_eq!(refused(&endless), limit::exceeded());
    }

    #[test]
    fn a_variable_of_a_condition_is_visible_to_those_after_it_and_no_longer() {
        let text = "{{if $x := 0}}a{{else if $y := 2}}{{$x}}{{$y}}{{else}}{{$x}}{{$y}}{{end}}";
        assert_eq!(render(text, &environment()).as_deref(), Ok("02"));
        assert_eq!(refused(&format!("{text}{{{{$x}}}}")), "undefined variable \"$x\"");
        assert_eq!(refused(&format!("{text}{{{{$y}}}}")), "undefined variable \"$y\"");
    }

    fn refused(text: &str) -> String {
        render(text, &environment())
            .map(|text| text.len())
            .unwrap_err()
            .message
    }

    #[test]
    fn the_number_of_tokens_and_of_visible_variables_is_limited() {
        let words = |number: usize| format!("{{{{print{}}}}}", " 1".repeat(number));
        assert_eq!(refused(&words(250_000)), "more than 500000 words and marks");
        let variables = |number| {
            (0..number)
                .map(|index| format!("{{{{$v{index} := 1}}}}"))
                .collect::<String>()
        };
        assert_eq!(render(&variables(500), &environment()).as_deref(), Ok(""));
        assert_eq!(refused(&variables(501)), "more than 500 variables in one place");
        let apart = "{{if 1}}{{$v := 1}}{{end}}".repeat(1_000);
        assert_eq!(render(&apart, &environment()).as_deref(), Ok(""));
    }

    #[test]
    fn a_rendered_text_is_at_most_as_long_as_a_configuration() {
        let text = "{{$x := printf \"%100000d\" 1}}{{range loop 50}}{{$x}}{{end}}";
        assert_eq!(refused(text), limit::too_long());
    }

    #[test]
    fn deeper_templates_are_refused() {
        let text = "{{if 1}}".repeat(100_000);
        let message = format!("more than {} nested blocks and parentheses", limit::NESTING);
        assert_eq!(
            render(&text, &environment()).map_err(|error| error.message),
            Err(message)
        );
    }
}
