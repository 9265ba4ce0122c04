//! The functions that a template may call, with their parameters.
//!
//! The table has all functions: Go's own and those that ContainerPilot adds. It defines the number and kinds
//! of the arguments, so the functions rely on them. The functions are implemented in other files.

use super::{access, additions, compare, escape, format, json, lookup};
use crate::lookup::Lookup;
use crate::search::Steps;
use crate::value::{Environment, Outcome, Value};

/// The function with this name: of all templates, or also of those with a [`Lookup`].
pub(crate) fn find(name: &str, vocabulary: Vocabulary) -> Option<&'static Function> {
    let more = match vocabulary {
        Vocabulary::Common => &[],
        Vocabulary::WithLookup | Vocabulary::WithoutKeys => LOOKUPS,
    };
    let mut functions = FUNCTIONS.iter().chain(more);
    functions.find(|function| function.name == name)
}

/// Which functions a template may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    /// Those of Go and of ContainerPilot.
    Common,
    /// Also those of consul-template, which need a [`Lookup`].
    WithLookup,
    /// The same, but a template that looks up keys is wrong.
    WithoutKeys,
}

/// Whether a function looks up keys.
pub(crate) fn needs_keys(name: &str) -> bool {
    matches!(name, "key" | "keyExists" | "keyOrDefault" | "ls")
}

/// The names of all functions.
pub fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name)
}

/// A function of templates.
pub(crate) struct Function {
    pub name: &'static str,
    /// The kinds of the fixed arguments.
    pub parameters: &'static [Parameter],
    /// Whether any number of further arguments of any kind is allowed.
    pub takes_more: bool,
    pub behaviour: Behaviour,
}

/// The kind of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    Any,
    Text,
    ListOfTexts,
}

/// How a function computes its result.
pub(crate) enum Behaviour {
    /// The first argument whose truth is this, or the last one; the others are not evaluated.
    FirstThatIs(bool),
    /// From its arguments.
    Of(fn(&[Value]) -> Outcome),
    /// From its arguments, and it counts the steps.
    Counted(fn(&[Value], &mut Steps) -> Outcome),
    /// From its arguments and the environment.
    OfEnvironment(fn(&[Value], &Environment) -> Outcome),
    /// From its arguments and what the caller looks up.
    OfLookup(fn(&[Value], &dyn Lookup) -> Outcome),
}

impl Parameter {
    /// The name Go gives the type of such an argument.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::ListOfTexts => "[]string",
        }
    }
}

const ANY: Parameter = Parameter::Any;
const TEXT: Parameter = Parameter::Text;
const LIST: Parameter = Parameter::ListOfTexts;

static FUNCTIONS: &[Function] = &[
    open("and", &[ANY], Behaviour::FirstThatIs(false)),
    open("call", &[ANY], Behaviour::Of(call)),
    closed("default", &[ANY, ANY], Behaviour::Of(additions::default)),
    closed("env", &[TEXT], Behaviour::OfEnvironment(additions::env)),
    open("eq", &[ANY], Behaviour::Of(compare::equal_to_any)),
    closed("ge", &[ANY, ANY], Behaviour::Of(compare::greater_or_equal)),
    closed("gt", &[ANY, ANY], Behaviour::Of(compare::greater)),
    open("html", &[], Behaviour::Of(escape::html)),
    open("index", &[ANY], Behaviour::Of(access::index)),
    closed("join", &[TEXT, LIST], Behaviour::Of(additions::join)),
    open("js", &[], Behaviour::Of(escape::javascript)),
    closed("le", &[ANY, ANY], Behaviour::Of(compare::less_or_equal)),
    closed("len", &[ANY], Behaviour::Of(access::length)),
    open("loop", &[], Behaviour::Of(additions::count)),
    closed("lt", &[ANY, ANY], Behaviour::Of(compare::less)),
    closed("ne", &[ANY, ANY], Behaviour::Of(compare::not_equal)),
    closed("not", &[ANY], Behaviour::Of(not)),
    open("or", &[ANY], Behaviour::FirstThatIs(true)),
    open("print", &[], Behaviour::Of(print)),
    open("printf", &[TEXT], Behaviour::Of(print_formatted)),
    open("println", &[], Behaviour::Of(print_line)),
    closed(
        "regexReplaceAll",
        &[TEXT, TEXT, TEXT],
        Behaviour::Counted(additions::regex_replace_all),
    ),
    closed(
        "replaceAll",
        &[TEXT, TEXT, TEXT],
        Behaviour::Of(additions::replace_all),
    ),
    open("slice", &[ANY], Behaviour::Of(access::slice)),
    closed("split", &[TEXT, TEXT], Behaviour::Of(additions::split)),
    open("urlquery", &[], Behaviour::Of(escape::url_query)),
];

/// The functions of consul-template.
static LOOKUPS: &[Function] = &[
    closed("contains", &[ANY, ANY], Behaviour::Of(lookup::contains)),
    closed("file", &[TEXT], Behaviour::OfLookup(lookup::file)),
    closed("in", &[ANY, ANY], Behaviour::Of(lookup::is_in)),
    closed("key", &[TEXT], Behaviour::OfLookup(lookup::key)),
    closed("keyExists", &[TEXT], Behaviour::OfLookup(lookup::key_exists)),
    closed(
        "keyOrDefault",
        &[TEXT, TEXT],
        Behaviour::OfLookup(lookup::key_or_default),
    ),
    closed("ls", &[TEXT], Behaviour::OfLookup(lookup::keys)),
    closed("parseJSON", &[TEXT], Behaviour::Of(json::parse)),
    closed("service", &[TEXT], Behaviour::OfLookup(lookup::service)),
    closed("services", &[], Behaviour::OfLookup(lookup::services)),
    open("timestamp", &[], Behaviour::OfLookup(lookup::timestamp)),
    closed("toJSON", &[ANY], Behaviour::Of(json::write)),
    closed("toLower", &[TEXT], Behaviour::Of(lookup::to_lower)),
    closed("toUpper", &[TEXT], Behaviour::Of(lookup::to_upper)),
    closed("trimSpace", &[TEXT], Behaviour::Of(lookup::trim_space)),
];

const fn open(name: &'static str, parameters: &'static [Parameter], behaviour: Behaviour) -> Function {
    Function {
        name,
        parameters,
        takes_more: true,
        behaviour,
    }
}

const fn closed(name: &'static str, parameters: &'static [Parameter], behaviour: Behaviour) -> Function {
    Function {
        name,
        parameters,
        takes_more: false,
        behaviour,
    }
}

/// `call` always fails, because no value is a function.
fn call(arguments: &[Value]) -> Outcome {
    match arguments {
        [] | [Value::Nil, ..] => Err("call of nil".to_owned()),
        [value, ..] => Err(format!("non-function of type {}", value.type_name())),
    }
}

fn not(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(!arguments.iter().all(Value::is_true)))
}

fn print(arguments: &[Value]) -> Outcome {
    format::print(arguments).map(Value::text)
}

fn print_line(arguments: &[Value]) -> Outcome {
    format::print_line(arguments).map(Value::text)
}

fn print_formatted(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Text(format), values @ ..] => format::print_formatted(format, values).map(Value::text),
        _ => Err("printf needs a format".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name() {
        for function in FUNCTIONS.iter().chain(LOOKUPS) {
            let found = find(function.name, Vocabulary::WithLookup).map(|found| found.name);
            assert_eq!(found, Some(function.name));
        }
        assert!(find("nope", Vocabulary::WithLookup).is_none());
    }

    #[test]
    fn the_functions_of_consul_template_need_a_lookup() {
        for function in LOOKUPS {
            assert!(find(function.name, Vocabulary::Common).is_none());
        }
    }

    #[test]
    fn call_always_fails() {
        assert_eq!(call(&[Value::Nil]), Err("call of nil".to_owned()));
        assert_eq!(call(&[Value::Int(1)]), Err("non-function of type int".to_owned()));
    }
}
