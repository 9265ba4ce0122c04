//! docs/keys.md has every key of the schema, with its type, default, an example that is accepted, and what a mistake says.
//! The page is made from the schema and the compiler: `INSTA_UPDATE=always` writes it. The tables that are written by
//! hand on other pages have no other keys and no other defaults.

use super::{Schema, bases, errors};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Objects with the same keys: what they are called, their places in the configurations of `bases`, and which of the
/// keys are those of ContainerPilot 2. All other keys are new in 0.1.
struct Section {
    title: &'static str,
    text: &'static str,
    places: &'static [&'static str],
    of_version_2: &'static [&'static str],
}

const SECTIONS: [Section; 20] = [
    Section {
        title: "The root",
        text: "Exactly one of `consul`, `etcd` and `directory` is required.",
        places: &[""],
        of_version_2: &[
            "consul",
            "etcd",
            "logging",
            "preStart",
            "onStart",
            "preStop",
            "postStop",
            "stopTimeout",
            "services",
            "backends",
            "tasks",
            "coprocesses",
            "telemetry",
        ],
    },
    Section {
        title: "consul",
        text: "A string is the `address`: [registration.md](registration.md#consul).",
        places: &["/consul"],
        of_version_2: &["address", "scheme", "token"],
    },
    Section {
        title: "etcd",
        text: "[registration.md](registration.md#etcd).",
        places: &["/etcd"],
        of_version_2: &["endpoints", "prefix"],
    },
    Section {
        title: "directory",
        text: "A string is the `path`: [registration.md](registration.md#a-folder).",
        places: &["/directory"],
        of_version_2: &[],
    },
    Section {
        title: "tls",
        text: "Of `consul`, `etcd` and health checks.",
        places: &["/consul/tls", "/etcd/tls"],
        of_version_2: &[],
    },
    Section {
        title: "logging",
        text: "[log.md](log.md).",
        places: &["/logging"],
        of_version_2: &["level", "format", "output"],
    },
    Section {
        title: "A command as an object",
        text: "Wherever a command may stand; one that is required may not be empty: \
               [configuration.md](configuration.md#users-groups-and-time-limits-of-commands).",
        places: &[
            "/preStart",
            "/backends/0/onChange",
            "/tasks/0/command",
            "/coprocesses/0/command",
            "/telemetry/sensors/0/check",
        ],
        of_version_2: &[],
    },
    Section {
        title: "services[]",
        text: "[registration.md](registration.md), [health.md](health.md).",
        places: &["/services/0"],
        of_version_2: &[
            "name",
            "port",
            "poll",
            "ttl",
            "health",
            "interfaces",
            "tags",
            "timeout",
            "consul",
        ],
    },
    Section {
        title: "services[].health and services[].checks[]",
        text: "An object has one of `command`, `http`, `tcp` and `grpc`: [health.md](health.md).",
        places: &[
            "/services/0/health",
            "/services/0/checks/0",
            "/services/0/checks/1",
            "/services/0/checks/2",
            "/services/0/checks/3",
        ],
        of_version_2: &[],
    },
    Section {
        title: "services[].consul",
        text: "With Consul only.",
        places: &["/services/0/consul"],
        of_version_2: &["enableTagOverride", "deregisterCriticalServiceAfter"],
    },
    Section {
        title: "services[].weights",
        text: "With Consul only.",
        places: &["/services/0/weights"],
        of_version_2: &[],
    },
    Section {
        title: "services[].taggedAddresses",
        text: "With Consul only.",
        places: &["/services/0/taggedAddresses"],
        of_version_2: &[],
    },
    Section {
        title: "services[].taggedAddresses.lan and .wan",
        text: "With Consul only.",
        places: &["/services/0/taggedAddresses/lan"],
        of_version_2: &[],
    },
    Section {
        title: "backends[]",
        text: "[backends.md](backends.md).",
        places: &["/backends/0"],
        of_version_2: &["name", "poll", "onChange", "tag", "timeout"],
    },
    Section {
        title: "templates[]",
        text: "[templates.md](templates.md).",
        places: &["/templates/0"],
        of_version_2: &[],
    },
    Section {
        title: "tasks[]",
        text: "[configuration.md](configuration.md).",
        places: &["/tasks/0"],
        of_version_2: &["command", "frequency", "timeout", "name"],
    },
    Section {
        title: "coprocesses[]",
        text: "[configuration.md](configuration.md).",
        places: &["/coprocesses/0"],
        of_version_2: &["command", "name", "restarts"],
    },
    Section {
        title: "telemetry",
        text: "[telemetry.md](telemetry.md).",
        places: &["/telemetry"],
        of_version_2: &["port", "interfaces", "tags", "sensors"],
    },
    Section {
        title: "telemetry.sensors[]",
        text: "[telemetry.md](telemetry.md).",
        places: &["/telemetry/sensors/0"],
        of_version_2: &[
            "namespace",
            "subsystem",
            "name",
            "help",
            "type",
            "poll",
            "check",
            "timeout",
        ],
    },
    Section {
        title: "control",
        text: "[control.md](control.md).",
        places: &["/control"],
        of_version_2: &[],
    },
];

/// The definitions of the schema that have a name for people.
const TYPES: [(&str, &str); 18] = [
    ("words", "command"),
    ("requiredWords", "command"),
    ("optionalCommand", "command"),
    ("requiredCommand", "command"),
    ("account", "string or number"),
    ("limit", "duration"),
    ("duration", "duration"),
    ("wait", "duration, or two with a colon"),
    ("seconds", "seconds, at least 1"),
    ("port", "whole number, 1 to 65535"),
    ("boolean", "true or false"),
    ("strings", "string, or array of strings"),
    ("interfaces", "string, or array of strings"),
    ("status", "status, or array of two"),
    ("health", "command or object"),
    ("checks", "array of 1 to 16 objects"),
    ("consul", "string or object"),
    ("directory", "string or object"),
];

/// What one row says of a key.
struct Row {
    meaning: String,
    kind: String,
    default: String,
    example: String,
    since: &'static str,
    mistake: String,
}

/// A value as code in a cell of a table.
fn code(value: &str) -> String {
    let value = value.replace('|', "\\|");
    match value.contains('`') {
        true => format!("`` {value} ``"),
        false => format!("`{value}`"),
    }
}

/// The type of a value in words.
fn kind(schema: &Value) -> String {
    let named = schema["$ref"]
        .as_str()
        .and_then(|name| name.strip_prefix("#/$defs/"));
    if let Some((_, words)) = TYPES.iter().find(|(name, _)| Some(*name) == named) {
        return (*words).into();
    }
    if let Some(values) = schema["enum"].as_array() {
        let values = values.iter().filter(|value| !value.is_null() && *value != "");
        let values: Vec<String> = values.map(|value| code(&value.to_string())).collect();
        return values.join(", ");
    }
    let of_type = |name: &str| match name {
        "integer" => range(schema),
        "array" if schema["items"]["type"] == "string" => "array of strings".into(),
        "array" if schema["items"]["pattern"].is_string() => "array of strings".into(),
        "array" if schema["items"]["type"].is_array() => "array of strings or numbers".into(),
        "array" => "array of objects".into(),
        other => other.to_owned(),
    };
    let mut parts: Vec<String> = match &schema["type"] {
        Value::String(name) => vec![of_type(name)],
        Value::Array(names) => names.iter().map(|name| of_type(name.as_str().unwrap())).collect(),
        _ => Vec::new(),
    };
    let alternatives = schema["anyOf"].as_array().into_iter().flatten();
    // A whole number may always be written as a string of digits.
    let digits = |part: &&Value| {
        let pattern = part["pattern"].as_str().unwrap_or_default();
        has_a_number(schema) && part["type"] == "string" && !pattern.contains("never")
    };
    let alternatives = alternatives.filter(|part| !digits(part) && part["type"] != "null");
    parts.extend(alternatives.map(kind));
    parts.retain(|part| part != "null");
    match named {
        Some(_) if parts.is_empty() => "object".into(),
        None if parts.is_empty() => "anything".into(),
        _ => parts.join(" or "),
    }
}

/// Whether one of the alternatives is a whole number.
fn has_a_number(schema: &Value) -> bool {
    let mut parts = schema["anyOf"].as_array().into_iter().flatten();
    parts.any(|part| part["type"] == "integer")
}

/// A whole number with its bounds.
fn range(schema: &Value) -> String {
    match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        (Some(least), Some(most)) if most < 4_000_000 => format!("whole number, {least} to {most}"),
        (Some(least), _) => format!("whole number, at least {least}"),
        _ => "whole number".into(),
    }
}

/// A configuration in which the key is known to have this value; what it needs beside it is there.
fn with(base: &Value, place: &str, key: &str, value: Value) -> Value {
    let mut configuration = base.clone();
    let object = configuration.pointer_mut(place).unwrap();
    let companions = [
        ("clientcert", "clientkey"),
        ("clientkey", "clientcert"),
        ("username", "password"),
        ("password", "username"),
    ];
    for (_, other) in companions.iter().filter(|(one, _)| *one == key) {
        object[*other] = json!("x");
    }
    let excluded: &[&str] = match key {
        "contents" => &["source"],
        "checks" => &["health"],
        "etcd" | "directory" => &["consul", "services"],
        "onStart" => &["preStart"],
        _ => &[],
    };
    for other in excluded {
        object.as_object_mut().unwrap().remove(*other);
    }
    object[key] = value;
    configuration
}

/// What the compiler says of a wrong value of this key; empty if that is no more than the type.
fn mistake(base: &Value, place: &str, key: &str) -> String {
    let wrong = [
        json!("x"),
        json!(""),
        json!(70_000_000),
        json!(-1),
        json!([[]]),
        json!({}),
    ];
    let of_this = |path: &str| path == key || path.ends_with(&format!(".{key}"));
    let only_the_type = [
        "not a string:",
        "not a boolean:",
        "not a list:",
        "Could not parse configuration:",
    ];
    let is_useful = |message: &str| !only_the_type.iter().any(|words| message.starts_with(words));
    let found = wrong.into_iter().find_map(|value| {
        let mut errors = errors(&with(base, place, key, value)).into_iter();
        errors.find(|error| of_this(&error.key) && is_useful(&error.message))
    });
    found.map(|error| code(&error.message)).unwrap_or_default()
}

/// The row of a key in an object of a base.
fn row(base: &Value, place: &str, section: &Section, required: &[Value], key: &str, schema: &Value) -> Row {
    let meaning = schema["description"].as_str().unwrap();
    let example = schema["examples"].get(0);
    if let Some(example) = example {
        let errors = errors(&with(base, place, key, example.clone()));
        assert!(errors.is_empty(), "{place}/{key}: {example}: {errors:?}");
    }
    let default = match &schema["default"] {
        _ if required.iter().any(|name| name == key) => "required".into(),
        Value::Null if meaning.contains("by default") => String::new(),
        Value::Null => "none".into(),
        value => code(&value.to_string()),
    };
    let is_old = section.of_version_2.contains(&key);
    Row {
        meaning: meaning.trim_end_matches('.').into(),
        kind: kind(schema),
        default,
        since: if is_old { "2" } else { "0.1" },
        example: example.map_or_else(|| link(section, key), |example| code(&example.to_string())),
        mistake: mistake(base, place, key),
    }
}

/// A link to the section of the objects that a key has.
fn link(section: &Section, key: &str) -> String {
    let whole = [
        key.to_owned(),
        format!("{key}[]"),
        format!("{}.{key}[]", section.title),
    ];
    let mut others = SECTIONS
        .iter()
        .filter(|other| whole.iter().any(|name| name == other.title));
    let other = others
        .next()
        .unwrap_or_else(|| panic!("{key} has no example and no section"));
    format!("[below](#{})", other.title.replace(['[', ']', '.'], ""))
}

/// The rows of a section: those of required keys first. A key has several if its meaning differs between the objects.
fn rows(schema: &Schema, section: &Section) -> Vec<(String, Row)> {
    let mut found: Vec<(String, Row, BTreeSet<&str>)> = Vec::new();
    let mut kinds = BTreeSet::new();
    for (base, places) in bases() {
        for place in places.into_iter().filter(|place| section.places.contains(place)) {
            let object = schema.place(&base, place);
            let required = object["required"].as_array().cloned().unwrap_or_default();
            let properties = object["properties"].as_object().unwrap();
            let kind = kind_of_check(properties);
            kinds.insert(kind);
            for (key, property) in properties {
                let row = row(&base, place, section, &required, key, property);
                let is_same = |present: &Row| kind.is_empty() || present.meaning == row.meaning;
                let mut present = found.iter_mut().filter(|(other, ..)| other == key);
                match present.find(|(_, present, _)| is_same(present)) {
                    Some((_, _, kinds)) => _ = kinds.insert(kind),
                    None => found.push((key.clone(), row, BTreeSet::from([kind]))),
                }
            }
        }
    }
    let name = |(key, row, of): (String, Row, BTreeSet<&str>)| {
        let others: Vec<String> = of.iter().map(|kind| code(kind)).collect();
        let is_limited = of != kinds && !of.contains(key.as_str());
        let limit = if is_limited {
            format!(" with {}", others.join(", "))
        } else {
            String::new()
        };
        (format!("{}{limit}", code(&key)), row)
    };
    found.sort_by_key(|(_, row, _)| row.default != "required");
    found.into_iter().map(name).collect()
}

/// Which of the keys that exclude each other an object has; empty if it is no health check.
fn kind_of_check(properties: &Map<String, Value>) -> &'static str {
    let is_check = properties.contains_key("startPeriod");
    let mut kinds = super::KINDS_OF_CHECKS.into_iter();
    kinds
        .find(|kind| is_check && properties.contains_key(*kind))
        .unwrap_or_default()
}

const HEAD: &str = "# All keys

Every key of the configuration: what it is, its type and default, an example, and what the program says of a mistake. The
page is made from [the schema](configuration.schema.json) and the program by a test (`tests/schema/reference.rs`). What it all
means is explained in [configuration.md](configuration.md).

*since*: 2 is ContainerPilot 2, whose files keep working; 0.1 is the first version of this program. A *command* is a string or an
array of strings, or [an object](#a-command-as-an-object). A *duration* is a number of seconds or a text such as `\"1m30s\"`. A whole
number may also be a string of digits, and `null` is the same as no key.
";

fn page() -> String {
    let schema = Schema::new();
    let mut page = String::from(HEAD);
    for section in &SECTIONS {
        let Section { title, text, .. } = section;
        write!(page, "\n## {title}\n\n{text}\n\n").unwrap();
        page.push_str("| key | what it is | type | default | example | since |\n");
        page.push_str("| --- | --- | --- | --- | --- | --- |\n");
        let mut mistakes = String::new();
        for (key, row) in rows(&schema, section) {
            let Row {
                meaning,
                kind,
                default,
                example,
                since,
                mistake,
            } = row;
            writeln!(
                page,
                "| {key} | {meaning} | {kind} | {default} | {example} | {since} |"
            )
            .unwrap();
            if !mistake.is_empty() {
                writeln!(mistakes, "- {key}: {mistake}").unwrap();
            }
        }
        if !mistakes.is_empty() {
            write!(page, "\nMistakes:\n\n{mistakes}").unwrap();
        }
    }
    page
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

#[test]
fn the_list_of_all_keys_is_that_of_the_schema_and_its_examples_are_accepted() {
    let page = page();
    if std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
        std::fs::write(path("keys.md"), &page).unwrap();
    }
    let present = std::fs::read_to_string(path("keys.md")).unwrap_or_default();
    let differs = page.lines().zip(present.lines()).find(|(new, old)| new != old);
    assert_eq!(
        differs, None,
        "INSTA_UPDATE=always cargo test --test schema writes docs/keys.md"
    );
    assert_eq!(page.len(), present.len());
}

#[test]
fn every_object_of_the_schema_has_a_section() {
    let listed: BTreeSet<&str> = SECTIONS
        .iter()
        .flat_map(|section| section.places)
        .copied()
        .collect();
    let known: BTreeSet<&str> = bases().into_iter().flat_map(|(_, places)| places).collect();
    assert_eq!(listed, known);
    let schema = Schema::new();
    for section in &SECTIONS {
        let keys = rows(&schema, section).into_iter().map(|(key, _)| key);
        let keys: String = keys.collect::<Vec<_>>().join(" ");
        for key in section.of_version_2 {
            assert!(
                keys.contains(&format!("`{key}`")),
                "{}: there is no {key}",
                section.title
            );
        }
    }
}

/// The tables of other pages, in their order, and the section of each.
const TABLES: [(&str, &[&str]); 5] = [
    (
        "configuration.md",
        &["The root", "services[]", "backends[]", "A command as an object"],
    ),
    ("health.md", &[CHECKS, CHECKS, CHECKS, "services[]"]),
    ("backends.md", &["backends[]", "backends[]"]),
    ("templates.md", &["templates[]"]),
    ("control.md", &["control"]),
];
const CHECKS: &str = "services[].health and services[].checks[]";

/// The tables of keys in a page that is written by hand: of each row the keys, and the default of each if it has as many.
fn tables(page: &str) -> Vec<Vec<(String, Option<String>)>> {
    let mut tables: Vec<Vec<(String, Option<String>)>> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if cells.len() > 4 && cells[1].starts_with("key") && cells[3] == "default" {
            tables.push(Vec::new());
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && cells[1].starts_with('`') {
            let keys: Vec<&str> = cells[1].split('`').skip(1).step_by(2).collect();
            let one_each: Vec<&str> = match keys.len() {
                1 => vec![cells[3]],
                _ => cells[3].split(", ").collect(),
            };
            let default = |number: usize| match one_each.len() == keys.len() {
                true => Some(one_each[number].to_owned()),
                false => None,
            };
            let rows = keys
                .iter()
                .enumerate()
                .map(|(number, key)| ((*key).to_owned(), default(number)));
            tables.last_mut().unwrap().extend(rows);
        }
    }
    tables
}

/// Whether what a page gives as the default of a key is that of the schema.
fn agrees(written: &str, default: &str) -> bool {
    let plain = |text: &str| text.replace(['`', '"', ' '], "");
    let (written, default) = (plain(written), plain(default));
    let is_literal = written.parse::<f64>().is_ok() || ["true", "false"].contains(&written.as_str());
    match default.as_str() {
        "required" => written.starts_with("required") || written == "-",
        "none" | "" => !is_literal && (!written.starts_with("required") || written.starts_with("requiredin")),
        "0" if written == "none" => true,
        value => written.contains(value),
    }
}

#[test]
fn the_tables_of_other_pages_have_the_keys_and_the_defaults_of_the_schema() {
    let schema = Schema::new();
    let mut compared = 0;
    for (name, sections) in TABLES {
        let page = std::fs::read_to_string(path(name)).unwrap();
        let tables = tables(&page);
        assert_eq!(tables.len(), sections.len(), "{name}");
        for (table, title) in tables.into_iter().zip(sections) {
            let section = SECTIONS.iter().find(|section| section.title == *title).unwrap();
            let rows = rows(&schema, section);
            for (key, written) in table {
                let of_key = |(name, _): &&(String, Row)| name.split(' ').next() == Some(&code(&key));
                let defaults: Vec<&str> = rows
                    .iter()
                    .filter(of_key)
                    .map(|(_, row)| row.default.as_str())
                    .collect();
                assert!(!defaults.is_empty(), "{name}: {title} has no `{key}`");
                let Some(written) = written else { continue };
                let is_right = defaults.iter().any(|default| agrees(&written, default));
                assert!(
                    is_right,
                    "{name}: {title}: `{key}`: {written}, and not {defaults:?}"
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 70, "{compared}");
}
