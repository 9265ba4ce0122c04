//! Templates that loop, grow or cannot be read, and destinations that are no files.

use crate::observed::{Hostile, Observed};
use crate::program::Program;
use crate::slowness;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

/// How much longer than usual a check or a status may take.
const PROMPT: Duration = Duration::from_millis(100);

/// A template, and what the log says of it.
const TEMPLATES: [(&str, &str, &str); 4] = [
    (
        "loop",
        "{{range loop 99999}}{{range loop 99999}}{{if 1}}{{end}}{{end}}{{end}}",
        "exceeded 1000000 steps",
    ),
    (
        "huge",
        "{{range loop 3000}}{{printf \"%999d\" 1}}{{end}}",
        "bytes, allowed are 1048576",
    ),
    (
        "recursion",
        "{{define \"T\"}}{{template \"T\"}}{{end}}{{template \"T\"}}",
        "exceeded maximum template depth",
    ),
    (
        "names",
        "{{range loop 2000}}{{range service (printf \"s%d\" .)}}{{end}}{{end}}",
        "a template uses more than 1000 names",
    ),
];

fn section(name: &str) -> String {
    format!(r#"{{"source": "@/{name}", "destination": "@/{name}.out"}}"#)
}

#[test]
fn hostile_templates_delay_nothing_and_write_nothing() {
    let program = Program::new();
    let mut sections: Vec<String> = Vec::new();
    for (name, text, _) in TEMPLATES {
        program.write(name, text);
        sections.push(section(name));
    }
    mkfifo(&program.path("pipe"), Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", program.path("device")).unwrap();
    fs::write(program.path("large"), vec![b'x'; 2 << 20]).unwrap();
    sections.extend(["pipe", "device", "large"].map(section));
    program.write("good", "text");
    sections.push(section("good"));
    for (name, directory) in [("folder", true), ("socket", false)] {
        let path = program.path(&format!("{name}.out"));
        match directory {
            true => fs::create_dir(path).unwrap(),
            false => mkfifo(&path, Mode::S_IRWXU).unwrap(),
        }
        program.write(name, "text");
        sections.push(section(name));
    }
    let sections = format!(", \"templates\": [{}]", sections.join(", "));
    let observed = Observed::start_in(
        program,
        &Hostile {
            sections: &sections,
            ..Hostile::default()
        },
    );
    for (_, _, sentence) in TEMPLATES {
        // A debug build may not get so far within the time limit.
        observed.program.until("it fails", |program| {
            let log = program.stdout();
            log.contains(sentence) || slowness() > 1 && log.contains("it took longer than 10s")
        });
    }
    for sentence in [
        "it is not a regular file",
        "it is larger than 1048576 bytes",
        "it is a directory",
        "it is no regular file",
    ] {
        observed.program.until_logged(sentence);
    }
    observed.program.until_file("good.out");
    observed.until_starts(3);
    let late = observed.lateness(2);
    assert!(late < PROMPT * slowness(), "{late:?}");
    let (status, took) = observed.get("/status");
    assert_eq!(status.map(|status| status.status), Some(200));
    assert!(took < PROMPT * slowness(), "{took:?}");
    for name in ["loop", "huge", "recursion", "names", "pipe", "device", "large"] {
        assert!(!observed.program.has(&format!("{name}.out")), "{name}");
    }
    assert!(observed.peak_memory() < 100 << 20, "{}", observed.peak_memory());
    assert!(observed.threads() <= 3, "{}", observed.threads());
    let took = observed.terminate();
    assert!(took < Duration::from_secs(1) * slowness(), "{took:?}");
}
