//! The status as tables for people, made from the document of `/v3/status`.
//!
//! Names and outputs come from configurations and processes, so characters that a terminal obeys are replaced.

use crate::adapters::telemetry::for_people;
use serde_json::Value;

/// How many characters of a cell are shown.
const LONGEST_CELL: usize = 60;
/// The space between two columns.
const GAP: &str = "  ";

/// The tables; `None` if the text is not a status.
pub fn of(text: &str) -> Option<String> {
    let status: Value = serde_json::from_str(text).ok()?;
    let phase = status["phase"].as_str()?.replace('_', " ");
    let version = cell(&status["version"]);
    let uptime = for_people(status["uptime_seconds"].as_f64().unwrap_or_default());
    let mut page = format!("containerpilot {version}, {phase}, for {uptime}\n");
    if status["maintenance"] == true {
        page.push_str("in maintenance: no service is registered, nothing is checked\n");
    }
    page += &troubles(&status);
    page += &table(
        &["SERVICE", "HEALTH", "REGISTERED", "ADDRESS", "LAST CHECK"],
        &status["services"],
        service,
    );
    page += &table(
        &[
            "BACKEND",
            "INSTANCES",
            "FAILED REQUESTS",
            "LAST CHANGE",
            "LAST HANDLER",
        ],
        &status["backends"],
        backend,
    );
    page += &table(
        &["TEMPLATE", "STATE", "LAST WRITTEN", "REASON", "LAST COMMAND"],
        &status["templates"],
        template,
    );
    page += &table(
        &["PROCESS", "PID", "RESTARTS", "LAST RUN"],
        &status["jobs"],
        process,
    );
    Some(page)
}

/// The text without characters that a terminal obeys, and with so many characters at the most. Lines stay lines.
pub fn printable(text: &str, most: usize) -> String {
    let printable = |character: char| match character {
        '\n' => '\n',
        character if character.is_control() => char::REPLACEMENT_CHARACTER,
        character => character,
    };
    text.chars().take(most).map(printable).collect()
}

/// What is wrong with the catalogue and the configuration, a line each.
fn troubles(status: &Value) -> String {
    let mut lines = String::new();
    let (catalogue, reload) = (&status["catalogue"], &status["last_reload"]);
    if catalogue["available"] == false {
        let (since, error) = (cell(&catalogue["since"]), cell(&catalogue["last_error"]));
        lines += &format!("the catalogue does not answer since {since}: {error}\n");
    }
    if reload["successful"] == false {
        let (at, errors) = (cell(&reload["at"]), cell(&reload["errors"]));
        lines += &format!("a new configuration was refused at {at}: {errors}\n");
    }
    lines
}

fn service(service: &Value) -> Vec<String> {
    let registered = match service["registered"] == true {
        true => "yes",
        false => "no",
    };
    let address = format!("{}:{}", cell(&service["address"]), cell(&service["port"]));
    vec![
        cell(&service["name"]),
        cell(&service["health"]),
        registered.into(),
        address,
        check(service),
    ]
}

/// The last run of its check. Of several checks it is that of the first one by which the service is not healthy.
fn check(service: &Value) -> String {
    let checks = service["checks"].as_array().map(Vec::as_slice);
    let Some([first, ..]) = checks else {
        return last(&service["check"]);
    };
    let failing = checks
        .into_iter()
        .flatten()
        .find(|check| check["health"] != "healthy");
    let shown = failing.unwrap_or(first);
    self::shown(&format!("{}: {}", cell(&shown["name"]), last(shown)))
}

fn backend(backend: &Value) -> Vec<String> {
    let name = match backend["tag"].as_str() {
        Some(_) => format!("{} with tag {}", cell(&backend["name"]), cell(&backend["tag"])),
        None => cell(&backend["name"]),
    };
    let instances = backend["instances"].as_array().map_or(0, Vec::len);
    vec![
        name,
        instances.to_string(),
        cell(&backend["failures"]),
        cell(&backend["changed_at"]),
        last(&backend["handler"]),
    ]
}

fn template(template: &Value) -> Vec<String> {
    let names = template["waits_for"].as_array().map(Vec::as_slice);
    let reason = match (template["state"].as_str(), names) {
        (Some("failed"), _) => cell(&template["last_error"]),
        (_, Some([first])) => shown(&format!("waits for {}", cell(first))),
        (_, Some([first, others @ ..])) => {
            shown(&format!("waits for {} and {} more", cell(first), others.len()))
        }
        _ => "-".into(),
    };
    vec![
        cell(&template["destination"]),
        cell(&template["state"]),
        cell(&template["written_at"]),
        reason,
        last(&template["command"]),
    ]
}

fn process(job: &Value) -> Vec<String> {
    let kind = cell(&job["kind"]).replace('_', " ");
    let name = match job["name"].as_str() {
        Some(_) => format!("{kind} {}", cell(&job["name"])),
        None => kind,
    };
    vec![name, cell(&job["pid"]), cell(&job["restarts"]), last(job)]
}

/// How the last run of a job ended, and the first line of what it printed.
fn last(job: &Value) -> String {
    let last = &job["last"];
    let Some(result) = last["result"].as_str() else {
        return "-".into();
    };
    let result = result.replace('_', " ");
    let output = last["output"].as_str().unwrap_or_default().trim();
    let words = match (result.as_str(), output.lines().next()) {
        ("passed", _) => result,
        (_, Some(line)) => format!("{result}: {}: {line}", cell(&last["detail"])),
        (_, None) => format!("{result}: {}", cell(&last["detail"])),
    };
    shown(&words)
}

/// A value as one cell; `-` if there is none.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

fn shown(text: &str) -> String {
    match text.chars().count() {
        0 => "-".into(),
        1..=LONGEST_CELL => printable(text, LONGEST_CELL).replace('\n', " "),
        _ => printable(text, LONGEST_CELL - 1).replace('\n', " ") + "…",
    }
}

/// A table with a line for each entry; empty without entries.
fn table(titles: &[&str], entries: &Value, row: impl Fn(&Value) -> Vec<String>) -> String {
    let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return String::new();
    }
    let titles = titles.iter().map(|title| (*title).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(titles).chain(entries.iter().map(row)).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join(GAP).trim_end())
    };
    format!("\n{}", rows.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_status_is_a_table_of_services_backends_templates_and_processes() {
        let last = |result: &str, output: &str| json!({"result": result, "detail": "exit status 3", "output": output});
        let status = json!({
            "version": "0.1.0", "phase": "pre_stopping", "maintenance": true, "uptime_seconds": 300.0,
            "services": [
                {"name": "web", "health": "unhealthy", "registered": false, "address": "10.0.0.7", "port": 80,
                 "check": {"last": last("failed", "refused\nmore")}},
                {"name": "containerpilot", "health": "healthy", "registered": true, "address": "10.0.0.7",
                 "port": 9090, "check": null, "checks": [
                    {"name": "a", "health": "healthy", "last": last("passed", "")},
                    {"name": "b", "health": "unhealthy", "last": last("failed", "no")}]},
            ],
            "catalogue": {"available": false, "since": "2026-11-26T19:00:00.000Z", "last_error": "refused"},
            "last_reload": {"successful": false, "at": "2026-11-26T19:00:01.000Z", "errors": "line 1\nline 2"},
            "backends": [{"name": "db", "tag": "ro", "instances": [{}, {}], "failures": 0, "changed_at": null,
                "handler": {"last": last("passed", "done")}}],
            "templates": [
                {"destination": "/etc/a", "state": "failed", "written_at": null, "last_error": "line 1: no\n",
                 "waits_for": [], "command": {"last": last("failed", "")}},
                {"destination": "/etc/b", "state": "waiting", "written_at": null, "last_error": null,
                 "waits_for": ["service db", "key k", "key l"], "command": null},
                {"destination": "/etc/c", "state": "waiting", "written_at": null, "last_error": null,
                 "waits_for": ["service db"], "command": null},
                {"destination": "/etc/d", "state": "written", "written_at": "2026-11-26T19:00:01.000Z",
                 "last_error": "old", "waits_for": [], "command": null}],
            "jobs": [{"kind": "on_unhealthy", "name": "web", "pid": null, "restarts": 0, "last": null}],
        });
        let expected = "\
containerpilot 0.1.0, pre stopping, for 5 min
in maintenance: no service is registered, nothing is checked
the catalogue does not answer since 2026-11-26T19:00:00.000Z: refused
a new configuration was refused at 2026-11-26T19:00:01.000Z: line 1 line 2

SERVICE         HEALTH     REGISTERED  ADDRESS        LAST CHECK
web             unhealthy  no          10.0.0.7:80    failed: exit status 3: refused
containerpilot  healthy    yes         10.0.0.7:9090  b: failed: exit status 3: no

BACKEND         INSTANCES  FAILED REQUESTS  LAST CHANGE  LAST HANDLER
db with tag ro  2          0                -            passed

TEMPLATE  STATE    LAST WRITTEN              REASON                           LAST COMMAND
/etc/a    failed   -                         line 1: no                       failed: exit status 3
/etc/b    waiting  -                         waits for service db and 2 more  -
/etc/c    waiting  -                         waits for service db             -
/etc/d    written  2026-11-26T19:00:01.000Z  -                                -

PROCESS           PID  RESTARTS  LAST RUN
on unhealthy web  -    0         -
";
        assert_eq!(of(&status.to_string()).unwrap(), expected);
    }

    #[test]
    fn a_cell_is_one_line_of_limited_length_without_control_characters() {
        assert_eq!(cell(&json!("a\u{1b}[31m\nb")), "a\u{fffd}[31m b");
        assert_eq!(cell(&json!("x".repeat(1000))).chars().count(), LONGEST_CELL);
        assert_eq!(of("{}"), None);
        assert_eq!(of("nonsense"), None);
        let bare = of(r#"{"phase": "running"}"#).unwrap();
        assert_eq!(bare, "containerpilot -, running, for 0 ms\n");
    }
}
