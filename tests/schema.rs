//! docs/configuration.schema.json and the compiler of configurations agree: they have the same keys in every object, and
//! give the same verdict on every key with values of every type.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/machine.rs"]
mod machine;
#[path = "schema/reference.rs"]
mod reference;

use boon::{Compiler, SchemaIndex, Schemas};
use containerpilot::config::{self, Examination, Readable, Report, Source, Target};
use containerpilot::ports::{NotExecutable, Programs};
use domain::plan::Word;
use machine::Machine;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A machine that has every program, so that its absence is no difference.
struct EveryProgram;

impl Programs for EveryProgram {
    fn find(&self, _: &Word) -> Result<(), NotExecutable> {
        Ok(())
    }
}

/// The errors of the compiler.
fn errors(configuration: &Value) -> Vec<Report> {
    let target = Target {
        variables: ["CONSUL_TOKEN", "ETCD_PASSWORD"]
            .map(|name| (name.into(), "secret".into()))
            .into(),
        hostname: Some("host".into()),
        interfaces: &Machine,
        users: &Machine,
        application: &[],
        has_etcd: true,
        examination: Some(Examination {
            programs: &EveryProgram,
            has_other_interfaces: true,
        }),
    };
    let source = Source::Inline(configuration.to_string());
    config::check(&source, Readable::Files, &target)
        .err()
        .unwrap_or_default()
}

/// The schema, ready for use.
struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
    document: Value,
}

impl Schema {
    fn new() -> Self {
        let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.schema.json");
        let mut schemas = Schemas::new();
        let index = Compiler::new()
            .compile(path.to_str().unwrap(), &mut schemas)
            .unwrap();
        let document = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        Self {
            schemas,
            index,
            document,
        }
    }

    fn error(&self, configuration: &Value) -> Option<String> {
        let result = self.schemas.validate(configuration, self.index);
        result.err().map(|error| format!("{error:#}"))
    }

    /// The properties of the object at a place in a configuration.
    fn properties(&self, base: &Value, pointer: &str) -> &Map<String, Value> {
        self.place(base, pointer)["properties"].as_object().unwrap()
    }

    /// The schema of the object at a place in a configuration.
    fn place(&self, base: &Value, pointer: &str) -> &Value {
        let names = pointer.split('/').skip(1);
        let (mut at, mut instance) = (&self.document, base);
        for name in names {
            at = match name.parse::<usize>() {
                Ok(_) => self.items(at),
                Err(_) => &self.object(at, instance).unwrap()["properties"][name],
            };
            instance = instance.pointer(&format!("/{name}")).unwrap();
        }
        self.object(at, instance).unwrap_or_else(|| panic!("{pointer}"))
    }

    /// The schema that a reference leads to.
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.resolved(self.document.pointer(&reference[1..]).unwrap()),
            None => schema,
        }
    }

    /// The alternative for an object that has these members: all that it requires are there.
    fn object<'a>(&'a self, schema: &'a Value, instance: &Value) -> Option<&'a Value> {
        let schema = self.resolved(schema);
        if schema["properties"].is_object() {
            let mut required = schema["required"].as_array().into_iter().flatten();
            return required
                .all(|key| instance.get(key.as_str().unwrap()).is_some())
                .then_some(schema);
        }
        let mut parts = schema["anyOf"].as_array()?.iter();
        parts.find_map(|part| self.object(part, instance))
    }

    /// The schema of the elements of the alternative that is an array of objects.
    fn items<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let schema = self.resolved(schema);
        let parts = schema["anyOf"].as_array().unwrap();
        &parts.iter().find(|part| part["items"].is_object()).unwrap()["items"]
    }
}

/// A service with a check of each kind.
fn several_checks() -> (Value, Vec<&'static str>) {
    let checks = json!([
        {"name": "a", "command": "run"}, {"name": "b", "http": "https://localhost/"},
        {"name": "c", "tcp": "localhost:80"}, {"name": "d", "grpc": "localhost:80"}
    ]);
    let service = json!({"name": "web", "port": 80, "poll": 100_000, "ttl": 200_000, "checks": checks});
    let places = vec![
        "/services/0/checks/0",
        "/services/0/checks/1",
        "/services/0/checks/2",
        "/services/0/checks/3",
    ];
    (json!({"consul": "consul:8500", "services": [service]}), places)
}

/// Configurations that together have every object, and the places of those objects.
fn bases() -> Vec<(Value, Vec<&'static str>)> {
    let command = json!({"command": "run"});
    let whole = json!({
        "consul": {"address": "consul:8500", "tls": {}},
        "logging": { "checks": true, "format": "plain" },
        "preStart": command,
        "services": [{"name": "web", "port": 80, "poll": 100_000, "ttl": 200_000, "consul": {}, "health": command,
            "weights": {}, "taggedAddresses": {"lan": {"address": "192.0.2.7"}}}],
        "backends": [{"name": "db", "poll": 10, "onChange": command}],
        "templates": [{"source": "/etc/x", "destination": "/run/x"}],
        "tasks": [{"command": command, "frequency": 10}],
        "coprocesses": [{"command": command}],
        "control": {"socket": "/run/x"},
        "telemetry": {"sensors": [{"name": "a", "help": "b", "type": "gauge", "poll": 1, "check": command}]}
    });
    let places = vec![
        "",
        "/consul",
        "/consul/tls",
        "/logging",
        "/preStart",
        "/services/0",
        "/services/0/consul",
        "/services/0/weights",
        "/services/0/taggedAddresses",
        "/services/0/taggedAddresses/lan",
        "/services/0/health",
        "/backends/0",
        "/backends/0/onChange",
        "/templates/0",
        "/tasks/0",
        "/tasks/0/command",
        "/coprocesses/0",
        "/coprocesses/0/command",
        "/control",
        "/telemetry",
        "/telemetry/sensors/0",
        "/telemetry/sensors/0/check",
    ];
    let checked = |check: Value| {
        let service = json!({"name": "web", "port": 80, "poll": 100_000, "ttl": 200_000, "health": check});
        (
            json!({"consul": "consul:8500", "services": [service]}),
            vec!["/services/0/health"],
        )
    };
    vec![
        (whole, places),
        several_checks(),
        checked(json!({"http": "https://localhost/"})),
        checked(json!({"tcp": "localhost:80"})),
        checked(json!({"grpc": "localhost:80"})),
        (
            json!({"etcd": {"endpoints": ["http://e:1"], "tls": {}}}),
            vec!["/etcd", "/etcd/tls"],
        ),
        (json!({"directory": {"path": "/run/x"}}), vec!["/directory"]),
    ]
}

/// Values of every type, and texts of every form that some key has.
fn candidates() -> Vec<Value> {
    let texts = [
        "",
        "x",
        "1",
        "-1",
        "0",
        "70000",
        "1.5",
        "5s",
        "1h30m",
        "true",
        "never",
        "https",
        "text",
        "DEBUG",
        "stderr",
        "counter",
        "http://e:1",
        "root",
        "SIGQUIT",
        "lo",
        "static:192.0.2.1",
        " ",
    ];
    let mut values: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    values.extend([
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(2),
        json!(70_000),
        json!([]),
        json!(["lo"]),
        json!(["SIGQUIT"]),
        json!(["x", 1, true]),
        json!([[]]),
        json!([null]),
        json!({}),
        json!({"command": "run"}),
        json!({"command": ""}),
        json!({"no such key": 1}),
    ]);
    values
}

/// The keys that the compiler knows in an object.
fn known_keys(base: &Value, place: &str) -> BTreeSet<String> {
    let unknown = "aKeyThatDoesNotExist";
    let mut configuration = base.clone();
    configuration.pointer_mut(place).unwrap()[unknown] = json!(1);
    let errors = errors(&configuration);
    let error = errors.iter().find(|error| error.message.contains(unknown));
    let hint = &error.unwrap_or_else(|| panic!("{place}: {errors:?}")).hints[0];
    let keys = hint.strip_prefix("known keys are ").unwrap();
    let object = base.pointer(place).unwrap();
    let is_check = KINDS_OF_CHECKS.iter().any(|kind| object.get(*kind).is_some());
    let excluded = |key: &&str| is_check && KINDS_OF_CHECKS.contains(key) && object.get(*key).is_none();
    keys.split(", ")
        .filter(|key| !excluded(key))
        .map(str::to_owned)
        .collect()
}

/// The keys of which a health check has one; each excludes the others.
const KINDS_OF_CHECKS: [&str; 4] = ["command", "http", "tcp", "grpc"];

#[test]
fn the_schema_and_the_compiler_have_the_same_keys_in_every_object() {
    let schema = Schema::new();
    for (base, places) in bases() {
        assert!(errors(&base).is_empty(), "{:?}", errors(&base));
        for place in places {
            let keys: BTreeSet<String> = schema.properties(&base, place).keys().cloned().collect();
            assert_eq!(keys, known_keys(&base, place), "{place}");
        }
    }
}

/// What a schema cannot say, because it depends on other keys, on the machine, or on the meaning of a text.
fn is_beyond_the_schema(place: &str, key: &str, value: &Value) -> bool {
    let is_text = value.is_string() || value.is_array();
    match key {
        // Names of users and groups, of signals, of interfaces, and of metrics.
        "user" | "group" | "stopSignal" | "stopOn" | "interfaces" => is_text || value.is_number(),
        // A certificate and its key, and a user and a password, are given together.
        "clientcert" | "clientkey" | "username" | "password" => value.is_string(),
        // A name may not begin with a digit, which depends on the parts before it.
        "subsystem" | "name" if place == "/telemetry/sensors/0" => begins_with_digit(value),
        // An ID may not have the parts `.` and `..` and no empty ones.
        "id" => is_text,
        // Host names, whose last part is no number, and addresses.
        "address" => value.is_string(),
        // Either a file or a text.
        "source" | "contents" => true,
        // These need a health check, and the other way round.
        "health" => value.is_null() || value == "" || value == " " || *value == json!([]),
        // A duration with a unit, as Consul reads it.
        "deregisterCriticalServiceAfter" => value.is_string(),
        // Exactly one catalogue.
        "consul" | "etcd" | "directory" => place.is_empty(),
        _ => false,
    }
}

fn begins_with_digit(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.starts_with(|first: char| first.is_ascii_digit())
}

#[test]
fn the_schema_and_the_compiler_give_the_same_verdict_on_every_value() {
    let schema = Schema::new();
    let mut differences = Vec::new();
    let mut compared = 0;
    for (base, places) in bases() {
        for place in places {
            for key in schema.properties(&base, place).keys() {
                for value in candidates() {
                    if is_beyond_the_schema(place, key, &value) {
                        continue;
                    }
                    let mut configuration = base.clone();
                    configuration.pointer_mut(place).unwrap()[key] = value.clone();
                    if key == "onStart" {
                        // It counts only without its new name.
                        configuration["preStart"] = json!(null);
                    }
                    let by_schema = schema.error(&configuration);
                    let errors = errors(&configuration);
                    compared += 1;
                    if by_schema.is_none() != errors.is_empty() {
                        let error = errors.first().map(|error| &error.message);
                        let by_schema =
                            by_schema.map(|error| error.lines().nth(1).unwrap_or_default().to_owned());
                        differences.push(format!(
                            "{place}/{key}: {value}: {error:?}, schema: {by_schema:?}"
                        ));
                    }
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared > 3000, "{compared}");
}

#[test]
fn every_key_has_a_description_and_is_in_the_documentation() {
    let schema = Schema::new();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let pages = [
        "configuration",
        "health",
        "backends",
        "registration",
        "telemetry",
        "control",
        "templates",
        "lifecycle",
    ];
    let pages = pages.map(|page| std::fs::read_to_string(docs.join(page).with_extension("md")).unwrap());
    for (base, places) in bases() {
        for place in places {
            for (key, property) in schema.properties(&base, place) {
                assert!(property["description"].is_string(), "{place}/{key}");
                let named = [format!("`{key}`"), format!("`{key}[]`"), format!("\"{key}\":")];
                let is_documented = named
                    .iter()
                    .any(|name| pages.iter().any(|page| page.contains(name)));
                assert!(
                    is_documented || key == "$schema",
                    "{place}/{key} is not in the documentation"
                );
            }
        }
    }
}
