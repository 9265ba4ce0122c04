//! The functions of consul-template: what they look up comes from the caller, through [`Lookup`].
//!
//! A function returns the empty value for what the caller does not know yet; the caller records that it was
//! wanted. So one rendering finds all names that can be reached without it.

use crate::limit::BoundedText;
use crate::value::{Outcome, Type, Value};

/// Where a template's data come from.
pub trait Lookup {
    /// The passing instances of a service, as a list of structures. `wanted` is its name, or a tag, a dot and its
    /// name.
    ///
    /// # Errors
    /// A sentence: `wanted` cannot be looked up.
    fn service(&self, wanted: &str) -> Result<Value, String>;

    /// All services, as a list of structures.
    ///
    /// # Errors
    /// A sentence: they cannot be looked up.
    fn services(&self) -> Result<Value, String>;

    /// The value of a key, as text; `None` if there is no such key, or it is not known yet. A template that `needs` the
    /// value is not complete without it.
    ///
    /// # Errors
    /// A sentence: the key cannot be looked up.
    fn key(&self, path: &str, needs: bool) -> Result<Option<Value>, String>;

    /// The keys directly below a path, as a list of structures.
    ///
    /// # Errors
    /// A sentence: the path cannot be looked up.
    fn keys(&self, path: &str) -> Result<Value, String>;

    /// The content of a file, as text.
    ///
    /// # Errors
    /// A sentence: it cannot be read.
    fn file(&self, path: &str) -> Result<Value, String>;

    /// The present time, in this format.
    ///
    /// # Errors
    /// A sentence: the format is not supported.
    fn timestamp(&self, format: Option<&str>) -> Result<Value, String>;
}

pub(crate) fn service(arguments: &[Value], lookup: &dyn Lookup) -> Outcome {
    match text(arguments, 0)? {
        "" => Ok(Value::list(Type::Any, [])),
        wanted => lookup.service(wanted),
    }
}

pub(crate) fn services(_: &[Value], lookup: &dyn Lookup) -> Outcome {
    lookup.services()
}

/// The value of the key; the template waits until there is one.
pub(crate) fn key(arguments: &[Value], lookup: &dyn Lookup) -> Outcome {
    let path = text(arguments, 0)?;
    if path.is_empty() {
        return Ok(Value::text(""));
    }
    let value = lookup.key(path, true)?;
    Ok(value.unwrap_or_else(|| Value::text("")))
}

pub(crate) fn key_exists(arguments: &[Value], lookup: &dyn Lookup) -> Outcome {
    let path = text(arguments, 0)?;
    let exists = !path.is_empty() && lookup.key(path, false)?.is_some();
    Ok(Value::Bool(exists))
}

/// The value of the key, or the default if there is no such key, or its value is empty.
pub(crate) fn key_or_default(arguments: &[Value], lookup: &dyn Lookup) -> Outcome {
    let (path, default) = (text(arguments, 0)?, text(arguments, 1)?);
    let value = match path {
        "" => None,
        path => lookup.key(path, false)?,
    };
    Ok(value
        .filter(Value::is_true)
        .unwrap_or_else(|| Value::text(default)))
}

pub(crate) fn keys(arguments: &[Value], lookup: &dyn Lookup) -> Outcome {
    match text(arguments, 0)? {
        "" => Ok(Value::list(Type::Any, [])),
        path => lookup.keys(path),
    }
}

pub(crate) fn file(arguments: &[Value], lookup: &dyn Lookup) -> Outcome {
    match text(arguments, 0)? {
        "" => Ok(Value::text("")),
        path => lookup.file(path),
    }
}

pub(crate) fn timestamp(arguments: &[Value], lookup: &dyn Lookup) -> Outcome {
    match arguments {
        [] => lookup.timestamp(None),
        [Value::Text(format)] => lookup.timestamp(Some(format)),
        [_] => Err("the format is not a string".to_owned()),
        more => {
            let got = more.len();
            Err(format!(
                "wrong number of arguments, expected 0 or 1, but got {got}"
            ))
        }
    }
}

/// Whether the first argument is in the second: an item of a list, or a part of a text.
pub(crate) fn contains(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(match arguments {
        [wanted, Value::List(list)] => list.items.contains(wanted),
        [Value::Text(wanted), Value::Text(text)] => text.contains(&**wanted),
        _ => false,
    }))
}

/// Whether the second argument is in the first.
pub(crate) fn is_in(arguments: &[Value]) -> Outcome {
    match arguments {
        [within, wanted] => contains(&[wanted.clone(), within.clone()]),
        _ => Ok(Value::Bool(false)),
    }
}

pub(crate) fn to_lower(arguments: &[Value]) -> Outcome {
    bounded(&text(arguments, 0)?.to_lowercase())
}

pub(crate) fn to_upper(arguments: &[Value]) -> Outcome {
    bounded(&text(arguments, 0)?.to_uppercase())
}

pub(crate) fn trim_space(arguments: &[Value]) -> Outcome {
    text(arguments, 0).map(|text| Value::text(text.trim()))
}

fn bounded(text: &str) -> Outcome {
    let mut out = BoundedText::default();
    out.push(text);
    out.finish().map(Value::text)
}

/// An argument as text. The table of functions ensures that it is one.
fn text(arguments: &[Value], number: usize) -> Result<&str, String> {
    match arguments.get(number) {
        Some(Value::Text(text)) => Ok(text),
        _ => Err("wrong arguments".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check_with_lookup, render_with_lookup};
    use std::cell::RefCell;

    /// Two instances of `web`, one key, one file; records what was looked up.
    #[derive(Default)]
    struct Fake(RefCell<Vec<String>>);

    impl Fake {
        fn note(&self, what: &str) {
            self.0.borrow_mut().push(what.to_owned());
        }
    }

    fn instance(name: &'static str, port: i64, tag: &'static str) -> Value {
        Value::structure([
            ("Name", Value::text(name)),
            ("Port", Value::Int(port)),
            ("Tags", Value::list(Type::Text, [Value::text(tag)])),
        ])
    }

    impl Lookup for Fake {
        fn service(&self, wanted: &str) -> Result<Value, String> {
            self.note(wanted);
            let known = [instance("web", 80, "blue"), instance("web", 81, "green")];
            Ok(match wanted {
                "web" => Value::list(Type::Any, known),
                _ => Value::list(Type::Any, []),
            })
        }

        fn services(&self) -> Result<Value, String> {
            Err("no list here".to_owned())
        }

        fn key(&self, path: &str, needs: bool) -> Result<Option<Value>, String> {
            self.note(&format!("{path} {needs}"));
            Ok(match path {
                "color" => Some(Value::text("red")),
                "empty" => Some(Value::text("")),
                _ => None,
            })
        }

        fn keys(&self, path: &str) -> Result<Value, String> {
            let pair = [("Key", Value::text(path)), ("Value", Value::text("1"))];
            Ok(Value::list(Type::Any, [Value::structure(pair)]))
        }

        fn file(&self, path: &str) -> Result<Value, String> {
            Err(format!("{path} cannot be read"))
        }

        fn timestamp(&self, format: Option<&str>) -> Result<Value, String> {
            Ok(Value::text(format.unwrap_or("now")))
        }
    }

    fn render(text: &str) -> Result<String, String> {
        let environment = [("NAME".to_owned(), "pilot".to_owned())].into();
        render_with_lookup(text, &environment, &Fake::default()).map_err(|error| error.to_string())
    }

    fn check(facts: &[(&str, &str)]) {
        for (text, expected) in facts {
            assert_eq!(render(text).as_deref(), Ok(*expected), "{text}");
        }
    }

    #[test]
    fn instances_are_structures() {
        check(&[
            (
                "{{range service \"web\"}}{{.Name}}:{{.Port}} {{end}}",
                "web:80 web:81 ",
            ),
            ("{{range service \"\"}}x{{else}}none{{end}}", "none"),
            ("{{with service \"web\"}}{{(index . 1).Port}}{{end}}", "81"),
            ("{{service \"web\" | len}}", "2"),
            ("{{.NAME}} {{env \"NAME\"}}", "pilot pilot"),
        ]);
        let wrong = render("{{range service \"web\"}}{{.Adress}}{{end}}").unwrap_err();
        assert!(
            wrong.ends_with("can't evaluate field Adress in type struct, which has Name, Port, Tags"),
            "{wrong}"
        );
    }

    #[test]
    fn tags_can_be_searched_as_in_consul_template() {
        check(&[
            (
                "{{range service \"web\"}}{{if .Tags.Contains \"blue\"}}{{.Port}}{{end}}{{end}}",
                "80",
            ),
            (
                "{{range $s := service \"web\"}}{{if $s.Tags.Contains \"green\"}}{{$s.Port}}{{end}}{{end}}",
                "81",
            ),
            (
                "{{range service \"web\"}}{{if .Tags | contains \"blue\"}}{{.Port}}{{end}}{{end}}",
                "80",
            ),
            (
                "{{range service \"web\"}}{{if in .Tags \"green\"}}{{.Port}}{{end}}{{end}}",
                "81",
            ),
            ("{{contains \"b\" \"abc\"}}{{contains 1 \"abc\"}}", "truefalse"),
        ]);
        assert!(render("{{range service \"web\"}}{{.Tags.Contains}}{{end}}").is_err());
        assert!(render("{{range service \"web\"}}{{.Name.Contains \"x\"}}{{end}}").is_err());
    }

    #[test]
    fn a_key_has_a_default_only_where_one_is_given() {
        check(&[
            ("{{key \"color\"}}{{key \"nope\"}}{{key \"\"}}", "red"),
            (
                "{{keyOrDefault \"color\" \"x\"}} {{keyOrDefault \"empty\" \"y\"}} {{keyOrDefault \"nope\" \"z\"}}",
                "red y z",
            ),
            ("{{keyExists \"color\"}} {{keyExists \"nope\"}}", "true false"),
            (
                "{{range ls \"a/b\"}}{{.Key}}={{.Value}}{{end}}{{range ls \"\"}}x{{end}}",
                "a/b=1",
            ),
        ]);
        let fake = Fake::default();
        let text = "{{key \"a\"}}{{keyOrDefault \"b\" \"\"}}{{if keyExists \"c\"}}{{key \"d\"}}{{end}}";
        render_with_lookup(text, &[].into(), &fake).unwrap();
        assert_eq!(*fake.0.borrow(), ["a true", "b false", "c false"]);
    }

    #[test]
    fn text_has_another_case_and_no_space_around_it() {
        check(&[
            (
                "{{toLower \"ÄB\"}}{{\"äb\" | toUpper}}[{{trimSpace \" x\\n\"}}]",
                "äbÄB[x]",
            ),
            ("{{timestamp}} {{timestamp \"unix\"}}", "now unix"),
        ]);
    }

    #[test]
    fn what_cannot_be_looked_up_is_an_error_with_its_place() {
        assert_eq!(
            render("a\n {{file \"/x\"}}"),
            Err(
                "template: :2:3: executing \"\" at <file \"/x\">: error calling file: /x cannot be read"
                    .to_owned()
            )
        );
        assert!(render("{{services}}").unwrap_err().ends_with("no list here"));
        assert!(render("{{timestamp 1}}").is_err());
    }

    #[test]
    fn a_template_for_a_lookup_without_keys_may_not_use_them() {
        for text in [
            "{{key \"a\"}}",
            "{{keyOrDefault \"a\" \"b\"}}",
            "{{ls \"a\"}}",
            "{{if keyExists \"a\"}}{{end}}",
        ] {
            assert!(check_with_lookup(text, true).is_ok(), "{text}");
            let error = check_with_lookup(text, false).unwrap_err();
            assert!(error.message.ends_with(" needs Consul or etcd"), "{error}");
            assert_eq!(error.unknown_function, None);
        }
        assert!(check_with_lookup("{{services}}{{service \"a\"}}{{file \"a\"}}", false).is_ok());
    }

    #[test]
    fn a_template_is_checked_without_being_executed() {
        assert!(check_with_lookup("{{range service \"x\"}}{{.Port}}{{end}}", true).is_ok());
        let error = check_with_lookup("{{range secret \"x\"}}{{end}}", true).unwrap_err();
        assert_eq!(error.unknown_function.as_deref(), Some("secret"));
        assert!(crate::render("{{service \"x\"}}", &[].into()).is_err());
    }
}
