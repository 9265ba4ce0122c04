//! Renders the shared template cases and compares the results with Go's.
//!
//! `common/shared.rs` defines where the cases are. A case passes if the output equals Go's to the byte or, if
//! Go refuses the template, if the message equals Go's to the letter.
#![allow(
    clippy::disallowed_macros,
    clippy::expect_used,
    clippy::panic,
    reason = "it prints what it counted, and may fail by panicking"
)]

#[path = "../../../tests/common/shared.rs"]
mod shared;

use std::collections::BTreeMap;
use std::error::Error;

use serde_json::Value as Json;
use template::{self, Key, Type, Value};

/// Cases that may differ from Go's results, each with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// How many cases must pass with the environment as data, and how many with richer data.
const BAR: [usize; 2] = [49, 76];

type Outcome = Result<(), Box<dyn Error>>;

#[test]
fn templates_render_as_in_go() -> Outcome {
    let Some(cases) = shared::shared("templates/cases.json") else {
        println!("templates: skipped, as asked for");
        return Ok(());
    };
    let text = std::fs::read_to_string(cases)?;
    let cases: Json = serde_json::from_str(&text)?;
    let verdicts = verdicts(&cases);
    let counts = ["env", "rich"].map(|data| count(&verdicts, data));
    let [(environment, all_environment), (rich, all_rich)] = counts;
    println!(
        "templates: {environment} of {all_environment} over the environment, \
         {rich} of {all_rich} over richer data"
    );
    let complaints: Vec<String> = verdicts.iter().filter_map(complaint).collect();
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!((all_environment, all_rich), (49, 82), "cases were added or lost");
    assert!(environment >= BAR[0] && rich >= BAR[1], "below the bar");
    Ok(())
}

struct Verdict {
    name: String,
    data: String,
    /// The difference to Go's result, if there is one.
    difference: Option<String>,
}

fn verdicts(cases: &Json) -> Vec<Verdict> {
    let environment = strings(&cases["env"]);
    let rich = value("rich", &cases["rich"]);
    let all = cases["cases"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter()
        .map(|case| verdict(case, &environment, &rich))
        .collect()
}

fn verdict(case: &Json, environment: &BTreeMap<String, String>, rich: &Value) -> Verdict {
    let text = string(&case["template"]);
    let data = string(&case["data"]);
    // The case of the function `env` reads this variable, which was set in the process only.
    let mut process = environment.clone();
    process.insert("NAME_1".to_owned(), "Template".to_owned());
    let rendered = match data.as_str() {
        "env" => over_environment(&text, environment, &process),
        _ => template::render_value(&text, rich, &process),
    };
    let expected = match case["ok"] == true {
        true => Ok(string(&case["output"])),
        false => Err(string(&case["error"])),
    };
    let rendered = rendered.map_err(|error| error.to_string());
    let difference = (rendered != expected).then(|| format!("{rendered:?} instead of {expected:?}"));
    Verdict {
        name: string(&case["name"]),
        data,
        difference,
    }
}

/// Renders with `render`, unless the text uses a variable that is not among the data.
fn over_environment(
    text: &str,
    environment: &BTreeMap<String, String>,
    process: &BTreeMap<String, String>,
) -> Result<String, template::TemplateError> {
    if !text.contains("{{env ") {
        return template::render(text, environment);
    }
    let entries = environment.iter();
    let entries = entries.map(|(name, value)| (name.clone(), Value::text(value.as_str())));
    template::render_value(text, &Value::map(Type::Text, entries), process)
}

fn complaint(verdict: &Verdict) -> Option<String> {
    let name = &verdict.name;
    let excepted = EXCEPTIONS.iter().any(|(exception, _)| exception == name);
    match &verdict.difference {
        Some(difference) if !excepted => Some(format!("{name}: {difference}")),
        None if excepted => Some(format!("{name}: passes and is no exception any more")),
        _ => None,
    }
}

fn count(verdicts: &[Verdict], data: &str) -> (usize, usize) {
    let of_kind = || verdicts.iter().filter(|verdict| verdict.data == data);
    let passed = of_kind().filter(|verdict| verdict.difference.is_none());
    (passed.count(), of_kind().count())
}

/// The value that Go had for a member; remarks in the member's name describe its type further.
fn value(name: &str, json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(number) if !name.contains("(floats)") => Value::Int(number),
            _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::text(text.as_str()),
        Json::Array(items) => {
            let items: Vec<Value> = items.iter().map(|item| value(name, item)).collect();
            Value::list(common_type(&items), items)
        }
        Json::Object(members) => map(name, members),
    }
}

fn map(name: &str, members: &serde_json::Map<String, Json>) -> Value {
    let plain = |name: &str| name.split(" (").next().unwrap_or_default().to_owned();
    let members: Vec<(String, Value)> = members
        .iter()
        .map(|(name, member)| (plain(name), value(name, member)))
        .collect();
    let values: Vec<Value> = members.iter().map(|(_, value)| value.clone()).collect();
    let element = common_type(&values);
    if !name.contains("(integer keys)") {
        return Value::map(element, members);
    }
    let number = |name: String| Key::Int(name.parse().unwrap_or_default());
    let members = members.into_iter().map(|(name, value)| (number(name), value));
    Value::keyed_map(Type::Int, element, members)
}

/// The common type of all values; "any" if there is none.
fn common_type(values: &[Value]) -> Type {
    let mut types = values.iter().map(type_of);
    let first = types.next().unwrap_or(Type::Text);
    match types.all(|other| other == first) {
        true => first,
        false => Type::Any,
    }
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Float(_) => Type::Float,
        Value::Text(_) => Type::Text,
        _ => Type::Any,
    }
}

fn strings(json: &Json) -> BTreeMap<String, String> {
    let members = json.as_object().into_iter().flatten();
    members
        .map(|(name, value)| (name.clone(), string(value)))
        .collect()
}

fn string(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}
