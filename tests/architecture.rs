//! Checks the architecture: the directions of dependencies, what the core may name, where unsafe code may be, and that
//! ARCHITECTURE.md names files that exist. The compiler checks the rest: the core is `no_std`, and clippy refuses the
//! banned calls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

#[path = "common/sources.rs"]
mod sources;

use regex::Regex;
use sources::sources;
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Text without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// No line of code below `folder` contains any of `banned`.
fn never(folder: &str, banned: &[&str]) {
    for (path, text) in sources(folder) {
        for line in code(&text) {
            for word in banned {
                assert!(
                    !line.contains(word),
                    "{}: `{word}` in `{}`",
                    path.display(),
                    line.trim()
                );
            }
        }
    }
}

fn manifest(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// The names in one section of a manifest.
fn dependencies(manifest: &str, section: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| *line != section).skip(1);
    let entries = lines.take_while(|line| !line.starts_with('['));
    entries
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

#[test]
fn the_core_depends_on_ipnet_without_std_at_most() {
    let manifest = manifest("src/domain/Cargo.toml");
    assert_eq!(dependencies(&manifest, "[dependencies]"), ["ipnet"]);
    assert!(manifest.contains("ipnet = { version = \"2.12\", default-features = false }"));
    let root = manifest_text_of_the_core();
    assert!(root.contains("#![cfg_attr(not(test), no_std)]"));
}

fn manifest_text_of_the_core() -> String {
    manifest("src/domain/lib.rs")
}

#[test]
fn the_state_of_the_core_has_no_handles_and_no_hash_maps() {
    let banned = [
        "HashMap", "HashSet", "Arc<", "Rc<", "RefCell", "Mutex", "dyn ", "async ", "unsafe ",
    ];
    for (path, text) in sources("src/domain") {
        let tested = path.ends_with("tests.rs");
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for line in code(shipped).filter(|_| !tested) {
            let word = banned
                .iter()
                .find(|word| line.contains(**word) && !line.contains("&dyn Fn"));
            assert_eq!(word, None, "{}: {}", path.display(), line.trim());
        }
    }
}

#[test]
fn the_template_language_depends_on_nothing_else() {
    let manifest = manifest("src/template/Cargo.toml");
    let names = dependencies(&manifest, "[dependencies]");
    assert_eq!(names, ["percent-encoding", "regex-automata", "serde_json"]);
    never(
        "src/template",
        &[
            "std::env::var",
            "std::process",
            "std::net",
            "domain::",
            "containerpilot::",
        ],
    );
}

#[test]
fn ports_depend_on_the_domain_only() {
    never(
        "src/ports",
        &[
            "crate::adapters",
            "crate::config",
            "crate::driver",
            "tokio::",
            "nix::",
            "hyper",
        ],
    );
}

#[test]
fn the_driver_depends_on_ports_and_domain_only_and_uses_no_runtime() {
    let text = manifest("src/driver.rs");
    for word in [
        "crate::adapters",
        "crate::config",
        "tokio",
        "nix::",
        "hyper",
        "std::fs",
        "std::process",
    ] {
        assert!(code(&text).all(|line| !line.contains(word)), "{word}");
    }
}

#[test]
fn the_configuration_depends_on_no_adapter_and_no_driver() {
    never(
        "src/config",
        &[
            "crate::adapters",
            "crate::driver",
            "tokio::",
            "hyper",
            "std::process",
            "std::env",
        ],
    );
}

#[test]
fn adapters_do_not_use_the_driver_and_only_processes_sends_signals_and_reaps() {
    never("src/adapters", &["crate::driver", "crate::command_line"]);
    for (path, text) in sources("src") {
        if path.starts_with(Path::new(ROOT).join("src/adapters/processes")) {
            continue;
        }
        for line in code(&text) {
            for word in ["waitpid", "libc::kill", ".spawn()", "tokio::process"] {
                assert!(
                    !line.contains(word),
                    "{}: `{word}` in `{}`",
                    path.display(),
                    line.trim()
                );
            }
        }
    }
}

#[test]
fn the_simulation_depends_on_driver_ports_and_domain_and_on_no_adapter() {
    never("sim", &["adapters", "tokio::", "hyper"]);
    let names = dependencies(&manifest("sim/Cargo.toml"), "[dependencies]");
    assert!(
        names
            .iter()
            .all(|name| ["async-trait", "containerpilot", "domain"].contains(&name.as_str())),
        "{names:?}"
    );
}

#[test]
fn unsafe_code_is_in_the_processes_adapter_only_with_its_reason() {
    for folder in ["src", "sim", "fuzz/src", "fuzz/fuzz_targets"] {
        for (path, text) in sources(folder) {
            for (number, line) in text
                .lines()
                .enumerate()
                .filter(|(_, line)| line.contains("unsafe {"))
            {
                assert!(
                    path.parent()
                        .is_some_and(|folder| folder.ends_with("src/adapters/processes")),
                    "{}: {line}",
                    path.display()
                );
                let above: Vec<&str> = text.lines().take(number).collect();
                let has_reason = above.iter().rev().take(4).any(|line| line.contains("SAFETY:"));
                assert!(has_reason, "{}:{}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn every_module_begins_with_a_description() {
    for (path, text) in sources("src")
        .into_iter()
        .chain(sources("sim"))
        .chain(sources("tests"))
        .chain(sources("fuzz/src"))
        .chain(sources("fuzz/fuzz_targets"))
    {
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

/// A reader of the repository cannot open the reference that the original's behaviour was taken from.
#[test]
fn no_source_cites_a_document_that_is_not_here() {
    let documents = ["behaviour-v2", "behaviour-v3", "design-v3", "mission-readme"];
    // Two files may name them: this test, and the one that compares with the reference if it is available.
    let exempt = ["tests/architecture.rs", "tests/behaviour_table.rs"];
    for (path, text) in ["src", "sim", "tests", "benches", "fuzz/src"]
        .into_iter()
        .flat_map(sources)
    {
        if !exempt.iter().any(|file| path.ends_with(file)) {
            let cited = documents.iter().find(|document| text.contains(**document));
            assert_eq!(cited, None, "{}", path.display());
        }
    }
}

/// The words of a comment line, in lower case; none for other lines. Text in backticks is code.
fn words_of_comment(line: &str) -> Vec<String> {
    let Some(comment) = line.trim_start().strip_prefix("//") else {
        return Vec::new();
    };
    let prose: String = comment.split('`').step_by(2).collect();
    let words = prose.split(|letter: char| !letter.is_alphabetic());
    words.map(str::to_lowercase).collect()
}

/// Programs send, receive, log and return. A word for what people do leaves open which of these a comment means.
#[test]
fn comments_do_not_speak_of_programs_as_of_people() {
    let banned = ["hear", "hears", "nobody", "told", "whoever"];
    let words = words_of_comment("    /// Nobody `hears`.");
    assert!(words.contains(&"nobody".to_owned()) && !words.contains(&"hears".to_owned()));
    for (path, text) in ["src", "sim", "tests", "benches", "examples", "fuzz/src"]
        .into_iter()
        .flat_map(sources)
    {
        for (number, line) in text.lines().enumerate() {
            let word = words_of_comment(line)
                .into_iter()
                .find(|word| banned.contains(&word.as_str()));
            let place = format!("{}:{}", path.display(), number + 1);
            assert_eq!(word, None, "{place}");
        }
    }
}

#[test]
fn every_banned_call_has_a_reason() {
    let clippy = manifest("clippy.toml");
    let bans: Vec<&str> = clippy.lines().filter(|line| line.contains("path = ")).collect();
    assert!(bans.len() > 10);
    for ban in bans {
        assert!(ban.contains("reason = \""), "{ban}");
    }
}

#[test]
fn no_module_is_named_utils_or_helpers() {
    for (path, _) in sources("src") {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(
            !["utils", "util", "helpers", "common", "types", "prelude"].contains(&name.as_str()),
            "{name}"
        );
    }
}

/// Whether a text asks the kernel for a free port and releases it before the number is used: another process
/// may have the port by then. A listener that is kept is permitted.
fn searches_for_a_free_port(text: &str) -> bool {
    let dense: String = code(text)
        .flat_map(str::chars)
        .filter(|letter| !letter.is_whitespace())
        .collect();
    let zero = r#"bind\([^;]*?(?::0"|,0\))"#;
    let in_passing = format!(r"{zero}[^;{{}}]*\.local_addr\(\)");
    let in_a_function = format!(r"fn\w+\([^)]*\)->(?:u16|SocketAddr)\{{[^{{}}]*{zero}[^{{}}]*\}}");
    let by_name = r"\b(?:free|unused|ephemeral|available)_(?:port|addr|address)\b";
    let kept = Regex::new(&format!(r"let(?:mut)?(\w+)=[^;]*{zero}")).unwrap();
    let is_dropped = |name: &str| dense.contains(&format!("drop({name})"));
    [in_passing.as_str(), &in_a_function, by_name]
        .iter()
        .any(|pattern| Regex::new(pattern).unwrap().is_match(&dense))
        || kept.captures_iter(&dense).any(|found| is_dropped(&found[1]))
}

#[test]
fn no_test_searches_for_a_free_port() {
    for bad in [
        "let port = TcpListener::bind(\"127.0.0.1:0\").unwrap()\n    .local_addr().unwrap().port();",
        "let a = UdpSocket::bind((\"127.0.0.1\", 0)).await?.local_addr()?;",
        "let listener = TcpListener::bind(\"[::1]:0\").unwrap();\nlet a = listener.local_addr();\ndrop(listener);",
        "fn port() -> u16 { let it = bind((LOCALHOST, 0)).unwrap(); it.local_addr().unwrap().port() }",
        "use crate::ports::free_port;",
    ] {
        assert!(searches_for_a_free_port(bad), "{bad}");
    }
    for good in [
        "let listener = TcpListener::bind(\"127.0.0.1:0\").unwrap();\nlet url = listener.local_addr().unwrap();",
        "fn url() -> SocketAddr { let it = bind(\"127.0.0.1:0\")?; let a = it.local_addr()?; \
         spawn(move || { it.accept() }); a }",
        "let own = OwnAddress::reserve();\nlet holder = TcpListener::bind(own.socket()).unwrap();\ndrop(holder);",
    ] {
        assert!(!searches_for_a_free_port(good), "{good}");
    }
    let folders = ["src", "sim", "tests", "benches"].map(sources);
    for (path, text) in folders.into_iter().flatten() {
        if !path.ends_with("tests/architecture.rs") {
            let name = path.display();
            assert!(
                !searches_for_a_free_port(&text),
                "{name}: use tests/common/loopback.rs"
            );
        }
    }
}

/// The texts in backticks outside code blocks of a document.
fn quoted(document: &str) -> Vec<String> {
    let text = manifest(document);
    let prose: String = text.split("```").step_by(2).collect();
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The paths that a text such as `src/domain/{job,watch}.rs` stands for; none if it is no path of this project.
fn paths(text: &str) -> Vec<String> {
    let folders = [
        "benches/",
        "docs/",
        "examples/",
        "fuzz/",
        "scripts/",
        "sim/",
        "src/",
        "tests/",
    ];
    let is_path = folders.iter().any(|folder| text.starts_with(folder)) && !text.contains([' ', '*', '<']);
    match text.split_once('{').zip(text.split_once('}')) {
        _ if !is_path => Vec::new(),
        None => vec![text.to_owned()],
        Some(((before, _), (names, after))) => names[before.len() + 1..]
            .split(',')
            .map(|name| format!("{before}{name}{after}"))
            .collect(),
    }
}

#[test]
fn every_path_in_the_documents_exists() {
    let documents = [
        "ARCHITECTURE.md",
        "README.md",
        "CONTRIBUTING.md",
        "docs/development/catalogues.md",
        "docs/checking.md",
        "docs/configuration.md",
        "docs/development/containers.md",
        "docs/differences.md",
        "docs/lifecycle.md",
        "docs/migrating.md",
        "docs/registration.md",
        "docs/telemetry.md",
        "sim/README.md",
    ];
    for document in documents {
        for path in quoted(document).iter().flat_map(|text| paths(text)) {
            assert!(
                Path::new(ROOT).join(&path).exists(),
                "{document}: there is no `{path}`"
            );
        }
    }
    assert!(
        quoted("ARCHITECTURE.md")
            .iter()
            .flat_map(|text| paths(text))
            .count()
            > 30
    );
}

#[test]
fn every_name_in_the_description_of_the_architecture_is_in_the_code() {
    let code: String = sources("src").into_iter().map(|(_, text)| text).collect();
    let names = Regex::new(r"^[A-Z][a-z]+[A-Za-z]*").unwrap();
    let found: Vec<String> = quoted("ARCHITECTURE.md")
        .iter()
        .filter_map(|text| Some(names.find(text)?.as_str().to_owned()))
        .filter(|name| name != "Cargo")
        .collect();
    assert!(found.len() > 30, "{found:?}");
    for name in found {
        let is_there = Regex::new(&format!(r"\b{name}\b")).unwrap().is_match(&code);
        assert!(is_there, "ARCHITECTURE.md: there is no `{name}`");
    }
}

/// Setting the calendar clock changes nothing but time stamps (docs/development/pid1.md, statement 36):
/// timers and expiry times use clocks that no one can set.
#[test]
fn the_calendar_clock_is_read_for_time_stamps_only() {
    let users = [
        "src/adapters/clock.rs",
        "src/adapters/console/mod.rs",
        "src/adapters/control/mod.rs",
        "src/adapters/templates/mod.rs",
    ];
    let words = [
        "calendar()",
        "SystemTime::now",
        "Local::now",
        "Utc::now",
        "CLOCK_REALTIME",
        "gettimeofday",
    ];
    let mut readers: Vec<String> = Vec::new();
    for (path, text) in sources("src") {
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        if code(shipped).any(|line| words.iter().any(|word| line.contains(word))) {
            readers.push(path.strip_prefix(ROOT).unwrap().display().to_string());
        }
    }
    readers.sort_unstable();
    assert_eq!(readers, users);
}
