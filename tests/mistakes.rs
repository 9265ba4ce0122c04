//! The reports of common mistakes in configurations, each in full, as one snapshot.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/machine.rs"]
mod machine;

use containerpilot::config::{self, Readable, Source, Target};
use machine::Machine;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// The name of a mistake, and a file with it.
const MISTAKES: &[(&str, &[u8])] = &[
    ("a missing comma", b"{\n\t\"consul\": \"consul:8500\"\n\t\"services\": []\n}"),
    ("one comma too many", b"{\n  \"consul\": \"consul:8500\",\n  \"tasks\": [],\n}"),
    ("a string that is not closed", b"{\n  \"consul\": \"consul:8500,\n  \"services\": []\n}"),
    ("the end is missing", b"{\n  \"consul\": \"consul:8500\",\n  \"services\": [\n"),
    ("a comment", b"{\n  // where Consul is\n  \"consul\": \"consul:8500\"\n}"),
    ("single quotes", b"{'consul': 'consul:8500'}"),
    ("a key without quotes", b"{consul: \"consul:8500\"}"),
    ("YAML", b"consul: consul:8500\nservices:\n  - name: web\n"),
    ("an empty file", b""),
    ("a file of ContainerPilot 3", b"{\n  \"consul\": \"consul:8500\",\n  \"jobs\": [{\"name\": \"web\"}]\n}"),
    ("JSON5 of ContainerPilot 3", b"{\n  consul: \"consul:8500\",\n  jobs: [{ name: \"web\", }],\n}"),
    ("a misspelt key", b"{\n  \"consul\": \"consul:8500\",\n  \"stoptimeout\": 5\n}"),
    (
        "a key given twice",
        b"{\n  \"consul\": \"consul:8500\",\n  \"stopTimeout\": 5,\n  \"stopTimeout\": 10, \"x\": 1\n}",
    ),
    (
        "a port that is too large",
        b"{\"consul\": \"consul:8500\", \"services\": [\n  {\"name\": \"web\", \"poll\": 5, \"ttl\": 10,\n   \"port\": 80001}]}",
    ),
    (
        "a number that is too large",
        b"{\"consul\": \"consul:8500\", \"services\": [\n  {\"name\": \"web\", \"poll\": 5, \"ttl\": 1e999, \"port\": 80}]}",
    ),
    (
        "a number with a unit",
        b"{\"consul\": \"consul:8500\", \"services\": [\n  {\"name\": \"web\", \"poll\": \"5s\", \"ttl\": 10, \"port\": 80}]}",
    ),
    (
        "an interface that there is not",
        b"{\"consul\": \"consul:8500\", \"services\": [\n  {\"name\": \"web\", \"poll\": 5, \"ttl\": 10, \"port\": 80,\n   \
          \"interfaces\": [\"eth1\"]}]}",
    ),
    (
        "missing keys",
        b"{\"consul\": \"consul:8500\",\n \"services\": [{\"name\": \"web\"}], \"backends\": [{\"name\": \"db\", \"poll\": 5}]}",
    ),
    (
        "a bad duration",
        b"{\"consul\": \"consul:8500\", \"tasks\": [\n  {\"command\": \"backup\",\n   \"frequency\": \"1 hour\"}]}",
    ),
    (
        "wrong templates",
        b"{\"consul\": \"consul:8500\", \"startTimeout\": \"1 minute\", \"templates\": [\n  {\"source\": \"/a\", \"mode\": 644},\n  \
          {\"contents\": \"}}\", \"destination\": \"/b\", \"wait\": \"2s:1s\", \"backup\": true}]}",
    ),
    ("a list that is none", b"{\"consul\": \"consul:8500\", \"services\": {\"name\": \"web\"}}"),
    (
        "a health check that never fails",
        b"{\"consul\": \"c:1\", \"services\": [\n  {\"name\": \"web\", \"poll\": 5, \"ttl\": 10, \"port\": 80,\n   \
          \"health\": {\"command\": \"check\", \"failures\": 0, \"timeout\": \"8s\", \"retries\": 3}}]}",
    ),
    (
        "a quiet time that never ends",
        b"{\"consul\": \"c:1\", \"backends\": [\n  {\"name\": \"db\", \"poll\": 5, \"onChange\": \"reload\",\n   \
          \"wait\": \"10s:2s\", \"minimum\": \"all\"}]}",
    ),
    (
        "a health check that cannot be requested",
        b"{\"consul\": \"c:1\", \"services\": [\n  {\"name\": \"web\", \"poll\": 5, \"ttl\": 10, \"port\": 80,\n   \
          \"health\": {\"http\": \"localhost/health\", \"status\": [300, 200], \"tls\": {}, \"body\": \"(ok\"}}]}",
    ),
    (
        "several health checks with mistakes",
        b"{\"consul\": \"consul:8500\", \"services\": [\n  {\"name\": \"web\", \"poll\": 5, \"ttl\": 10, \"port\": 80, \"health\": \"check\",\n   \
          \"checks\": [\n    {\"name\": \"a\", \"tcp\": \"web:80\", \"interval\": \"2s\", \"timeout\": \"3s\"},\n    \
          {\"name\": \"a\", \"command\": \"check\", \"failures\": 0},\n    {\"http\": \"http://web/\"}]}]}",
    ),
    (
        "a reaction to a health that is never checked",
        b"{\"consul\": \"c:1\", \"services\": [\n  {\"name\": \"web\", \"poll\": 5, \"ttl\": 10, \"port\": 80,\n   \
          \"onUnhealthy\": \"notify\", \"exitAfter\": 0}]}",
    ),
    ("no catalogue", b"{\"services\": []}"),
    ("Consul without a port", b"{\n  \"consul\": \"consul\", \"x\": 1\n}"),
    ("a command for a shell", b"{\"consul\": \"c:1\",\n \"preStart\": \"sleep 1 && echo ready\", \"x\": 1}"),
    ("an unknown log level", b"{\"consul\": \"c:1\", \"logging\": {\"level\": \"verbose\"}}"),
    (
        "a variable that is not set",
        b"{\"consul\": \"c:1\", \"services\": [\n  {\"name\": \"web\", \"poll\": 5, \"ttl\": 10,\n   \"port\": {{ .PORT }}}]}",
    ),
    (
        "a variable that is not set, in quotes",
        b"{\"consul\": \"c:1\", \"services\": [\n  {\"name\": \"web\", \"poll\": 5, \"ttl\": 10,\n   \"port\": \"{{ .PORT }}\"}]}",
    ),
    (
        "a variable with another value than was thought",
        b"{{ if .ZONE }}\n{\"consul\": \"c:1\",\n \"stopTimeout\": {{ .ZONE }} }{{ end }}",
    ),
    (
        "a mistake behind a loop",
        b"{\"consul\": \"c:1\", \"coprocesses\": [{{ range $i := loop 3 }}\n  {\"command\": \"worker {{ $i }}\"},{{ end }}\n  \
          {\"command\": \"last\", \"restart\": 5}]}",
    ),
    ("an unknown user", b"{\"consul\": \"c:1\",\n \"preStart\": {\"command\": \"/bin/migrate\", \"user\": \"www-date\"}}"),
    (
        "a user without an entry and without a group",
        b"{\"consul\": \"c:1\",\n \"user\": 4711,\n \"tasks\": [{\"command\": \"a\", \"frequency\": 1}]}",
    ),
    (
        "a misspelt key of a command",
        b"{\"consul\": \"c:1\",\n \"preStop\": {\"command\": [\"/bin/drain\", \"all\"], \"timeuot\": \"5s\"}}",
    ),
    (
        "two time limits",
        b"{\"consul\": \"c:1\", \"tasks\": [\n  {\"command\": {\"command\": \"backup\", \"timeout\": \"1m\"},\n   \
          \"frequency\": \"1h\", \"timeout\": \"2m\"}]}",
    ),
    ("an unknown function", b"{\n  \"consul\": \"{{ .CONSUL | defualt \"consul\" }}:8500\"\n}"),
    ("an action that is not closed", b"{\n  \"consul\": \"{{ .CONSUL }:8500\"\n}"),
    (
        "a secret beside a mistake",
        b"{\"consul\": {\"address\": \"c:1\", \"token\": \"s3cr3t\", \"schema\": \"https\"}}",
    ),
    ("UTF-16", b"\xff\xfe{\0}\0"),
    ("a byte that is not UTF-8", b"{\n  \"consul\": \"c\xf3nsul:8500\"\n}"),
];

/// The report for a file in `folder`.
fn answer(folder: &Path, text: &[u8]) -> String {
    let path = folder.join("cp.json");
    std::fs::write(&path, text).unwrap();
    load(&Source::File(path)).replace(&format!("{}/", folder.display()), "")
}

fn load(source: &Source) -> String {
    let target = Target {
        variables: BTreeMap::from([("ZONE".into(), "eu".into())]),
        hostname: Some("host".into()),
        interfaces: &Machine,
        users: &Machine,
        application: &[],
        has_etcd: true,
        examination: None,
    };
    match config::load(source, Readable::Files, &target) {
        Err(report) => report,
        Ok(compiled) => format!("warnings:\n{}", compiled.warnings.join("\n")),
    }
}

#[test]
fn the_report_of_every_mistake_matches_its_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let mut answers = String::new();
    for (what, text) in MISTAKES {
        writeln!(answers, "# {what}\n{}\n", answer(folder.path(), text)).unwrap();
    }
    let without_mistakes = |text: &[u8]| {
        String::from_utf8_lossy(text)
            .replace(", \"x\": 1", "")
            .into_bytes()
    };
    for (what, text) in MISTAKES
        .iter()
        .filter(|(_, text)| text.ends_with(b"\"x\": 1\n}") || text.ends_with(b"\"x\": 1}"))
    {
        let answer = answer(folder.path(), &without_mistakes(text));
        writeln!(answers, "# {what}, otherwise good\n{answer}\n").unwrap();
    }
    let marked = answer(folder.path(), b"\xef\xbb\xbf{\"directory\": \"/run/x\"}");
    writeln!(answers, "# a byte order mark\n{marked}\n").unwrap();
    for (what, source) in [
        ("a path without file://", "/etc/cp.json"),
        ("a file that is not there", "file:///nonexistent/cp.json"),
        ("a directory", "file:///"),
    ] {
        writeln!(answers, "# {what}\n{}\n", load(&Source::new(source))).unwrap();
    }
    assert!(!answers.contains("s3cr3t"));
    insta::assert_snapshot!(answers);
}
