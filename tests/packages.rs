//! What a release installs: the Debian package, the manual page, and the completions of the shells.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start programs and may fail by panicking"
)]

use containerpilot::command_line::usage;
use containerpilot::version::VERSION;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What a command prints; the test fails if the command does.
fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn architecture() -> String {
    output(Command::new("dpkg").arg("--print-architecture"))
        .trim()
        .to_owned()
}

/// The program of the tests without its debugging information.
fn program(folder: &Path) -> PathBuf {
    let program = folder.join("containerpilot");
    output(
        Command::new("strip")
            .arg("-o")
            .arg(&program)
            .arg(env!("CARGO_BIN_EXE_containerpilot")),
    );
    program
}

/// Packs the program and returns the paths of the Debian package and of the archive.
fn pack(program: &Path, out: &Path) -> [PathBuf; 2] {
    let script = Path::new(ROOT).join("scripts/package");
    output(Command::new(script).arg(program).arg(architecture()).arg(out));
    let files = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort_by_key(|file| file.extension().unwrap() != "deb");
    files.try_into().unwrap()
}

/// All files below a folder, relative to it.
fn files(folder: &Path) -> BTreeSet<String> {
    let found = output(Command::new("find").args([".", "-type", "f"]).current_dir(folder));
    found.lines().map(str::to_owned).collect()
}

/// A machine of which only the database of packages exists.
fn empty_machine() -> TempDir {
    let machine = tempfile::tempdir().unwrap();
    let database = machine.path().join("var/lib/dpkg");
    for folder in ["info", "updates"] {
        fs::create_dir_all(database.join(folder)).unwrap();
    }
    for file in ["status", "available"] {
        fs::write(database.join(file), "").unwrap();
    }
    machine
}

fn dpkg(machine: &Path) -> Command {
    let mut dpkg = Command::new("dpkg");
    let root = format!("--root={}", machine.display());
    dpkg.args([
        "--force-not-root",
        "--force-script-chrootless",
        "--log=/dev/null",
        &root,
    ]);
    dpkg
}

#[test]
fn the_same_program_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new("/bin/true");
    let first = pack(program, &folder.path().join("1"));
    let second = pack(program, &folder.path().join("2"));
    for (first, second) in first.iter().zip(&second) {
        let are_the_same = fs::read(first).unwrap() == fs::read(second).unwrap();
        assert!(are_the_same, "{}", first.display());
    }
}

#[test]
fn the_package_can_be_installed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let [package, archive] = pack(&program(folder.path()), &folder.path().join("packages"));
    let machine = empty_machine();
    output(dpkg(machine.path()).arg("--install").arg(&package));
    let installed = files(machine.path());
    for file in [
        "./usr/share/man/man1/containerpilot.1.gz",
        "./usr/share/doc/containerpilot/copyright",
        "./usr/share/doc/containerpilot/examples/app.json",
        "./usr/share/bash-completion/completions/containerpilot",
    ] {
        assert!(installed.contains(file), "{file}: {installed:?}");
    }
    let for_maintainers = installed.iter().find(|file| file.contains("docs/development"));
    assert_eq!(for_maintainers, None);
    let version = output(Command::new(machine.path().join("usr/bin/containerpilot")).arg("-version"));
    assert!(version.starts_with(&format!("Version: {VERSION}\n")), "{version}");
    output(dpkg(machine.path()).args(["--purge", "containerpilot"]));
    let left = files(machine.path());
    let left: Vec<&String> = left
        .iter()
        .filter(|file| !file.starts_with("./var/lib/dpkg/"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let listed = output(Command::new("tar").arg("-tzf").arg(&archive));
    assert!(
        listed.contains("/containerpilot\n") && listed.contains("/LICENSE\n"),
        "{listed}"
    );
}

/// The flags that the program itself names.
fn flags() -> BTreeSet<String> {
    let usage = usage("containerpilot");
    let flags = usage.lines().filter_map(|line| line.strip_prefix("  -"));
    let names = flags.map(|flag| flag.split(' ').next().unwrap().to_owned());
    names.chain(["help".to_owned()]).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

#[test]
fn the_manual_page_and_the_completions_name_the_flags_of_the_program_and_no_others() {
    let manual = read("packaging/containerpilot.1");
    let items = manual.lines().filter_map(|line| line.strip_prefix(".It Fl "));
    let in_manual: BTreeSet<String> = items
        .map(|item| item.replace("h , ", "").split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(in_manual, flags());
    let bash = read("packaging/completions/containerpilot.bash");
    let lists = bash
        .split("flags='")
        .skip(1)
        .chain(bash.split("flags+='").skip(1));
    let listed = lists.flat_map(|list| list.split('\'').next().unwrap().split_whitespace());
    let in_bash: BTreeSet<String> = listed.map(|flag| flag[1..].to_owned()).collect();
    assert_eq!(in_bash, flags());
    let fish = read("packaging/completions/containerpilot.fish");
    let options = fish.lines().filter_map(|line| line.split_once(" -o "));
    let in_fish: BTreeSet<String> = options
        .map(|(_, rest)| rest.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(in_fish, flags());
    let zsh = read("packaging/completions/_containerpilot");
    let specifications = zsh
        .lines()
        .filter_map(|line| line.split_once('['))
        .map(|(before, _)| before);
    let in_zsh: BTreeSet<String> = specifications
        .filter_map(|before| Some(before.rsplit_once('-')?.1.to_owned()))
        .collect();
    assert_eq!(in_zsh, flags());
}

#[test]
fn the_manual_page_has_no_mistakes() {
    let page = Path::new(ROOT).join("packaging/containerpilot.1");
    assert_eq!(output(Command::new("mandoc").args(["-T", "lint"]).arg(page)), "");
}

/// What bash offers after this line.
fn completed(line: &str, folder: &Path) -> Vec<String> {
    let script = format!(
        "source {ROOT}/packaging/completions/containerpilot.bash\n\
         COMP_LINE=$1 COMP_POINT=${{#1}}\n\
         _containerpilot\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let bash = output(
        Command::new("bash")
            .args(["-c", &script, "bash", line])
            .current_dir(folder),
    );
    bash.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_completes_flags_their_values_files_and_the_application() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("app.json"), "{}").unwrap();
    let complete = |line: &str| completed(line, folder.path());
    assert_eq!(complete("containerpilot -ch"), ["-check"]);
    assert_eq!(complete("containerpilot -check -format j"), ["json"]);
    assert_eq!(complete("containerpilot -interfaces "), ["required", "optional"]);
    assert_eq!(complete("containerpilot -maintenance "), ["enable", "disable"]);
    assert_eq!(complete("containerpilot -config "), ["file://"]);
    assert_eq!(complete("containerpilot -config file://app"), ["//app.json"]);
    assert!(complete("containerpilot -config file:///x.json tou").contains(&"touch".to_owned()));
    assert_eq!(
        complete("containerpilot -config file:///x.json touch app"),
        ["app.json"]
    );
    assert_eq!(complete("containerpilot touch -no-such-"), Vec::<String>::new());
}

/// What a shell prints that completes a line in a folder; the test fails in one line if the shell is not installed.
fn offered(shell: &str, arguments: &[&str], folder: &Path) -> Vec<String> {
    let is_there = Command::new(shell).arg("--version").output().is_ok();
    assert!(is_there, "{shell} is missing: scripts/packages {shell}:{shell}");
    let mut command = Command::new("timeout");
    command.args(["60", shell]).args(arguments);
    let lines = output(command.current_dir(folder).env("HOME", folder));
    lines.lines().map(str::to_owned).collect()
}

/// What the shells other than bash have in common: the same words after the same lines.
fn completes_like_bash(complete: impl Fn(&str) -> Vec<String>) {
    assert_eq!(complete("containerpilot -ch"), ["-check"]);
    assert_eq!(complete("containerpilot -check -format j"), ["json"]);
    assert_eq!(complete("containerpilot -interfaces "), ["optional", "required"]);
    assert_eq!(complete("containerpilot -maintenance "), ["disable", "enable"]);
    assert_eq!(complete("containerpilot -config "), ["file://app.json"]);
    assert_eq!(complete("containerpilot -config file://app"), ["file://app.json"]);
    assert_eq!(complete("containerpilot -out "), ["file://app.json"]);
    assert_eq!(complete("containerpilot -socket "), ["app.json"]);
    assert!(complete("containerpilot -config file:///x.json tou").contains(&"touch".to_owned()));
    assert_eq!(
        complete("containerpilot -config file:///x.json touch app"),
        ["app.json"]
    );
    assert!(!complete("containerpilot touch -").contains(&"-config".to_owned()));
}

#[test]
fn fish_completes_flags_their_values_files_and_the_application() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("app.json"), "{}").unwrap();
    let script = format!("source {ROOT}/packaging/completions/containerpilot.fish; complete -C $argv[1]");
    completes_like_bash(|line| {
        let lines = offered("fish", &["--no-config", "-c", &script, line], folder.path());
        let words = lines
            .iter()
            .map(|line| line.split('\t').next().unwrap().to_owned());
        let mut words: Vec<String> = words.collect();
        words.sort_unstable();
        words
    });
}

#[test]
fn zsh_completes_flags_their_values_files_and_the_application() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("app.json"), "{}").unwrap();
    let (script, functions) = (
        format!("{ROOT}/tests/completions.zsh"),
        format!("{ROOT}/packaging/completions"),
    );
    completes_like_bash(|line| {
        let mut words = offered("zsh", &["-f", &script, &functions, line], folder.path());
        words.sort_unstable();
        words
    });
}
