//! `scripts/mutants`: applies each deliberate fault to a copy of the sources, and runs the laws on it.
//!
//! The copy has only the crates that a simulated run needs, so that it builds in seconds: the core, the ports
//! and the driver. Each result is written to its row of the table in `docs/development/mutants.md` as soon as
//! it is known; the rows of other faults stay as they are. It takes about a quarter of a minute for each
//! fault.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a tool for a terminal, and no part of the shim"
)]

use sim::mutants::{Mutant, all, rows};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

/// The limit on processor time for one fault, in seconds.
const CPU_SECONDS: u32 = 90;

fn main() -> ExitCode {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let wanted = env::args().nth(1).unwrap_or_default();
    match run(&root, &wanted) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(survivors) => {
            println!("{survivors} survive for no known reason");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path, wanted: &str) -> io::Result<usize> {
    let copy = root.join("target/mutants");
    prepare(root, &copy)?;
    if let Some(law) = test(&copy)? {
        return Err(io::Error::other(format!("without any fault: {law}")));
    }
    let page = root.join("docs/development/mutants.md");
    let mut table = rows(&fs::read_to_string(&page)?);
    let is_wanted = |mutant: &Mutant| match wanted {
        "missing" => !table.contains_key(&mutant.name),
        name => mutant.name.contains(name),
    };
    let mutants: Vec<Mutant> = all().into_iter().filter(is_wanted).collect();
    let mut survivors = 0;
    for (number, mutant) in mutants.iter().enumerate() {
        let source = fs::read_to_string(root.join(&mutant.file))?;
        let faulty = mutant.apply(&source).map_err(io::Error::other)?;
        fs::write(copy.join(&mutant.file), faulty)?;
        let caught = test(&copy)?;
        fs::write(copy.join(&mutant.file), source)?;
        survivors += usize::from(caught.is_none() && mutant.reason.is_none());
        let reason = mutant.reason.as_deref().unwrap_or("for no known reason");
        let caught = caught.unwrap_or_else(|| format!("**survives**: {reason}"));
        println!("{}/{} {}: {caught}", number + 1, mutants.len(), mutant.name);
        table.insert(mutant.name.clone(), caught);
        let row = |mutant: &Mutant| {
            let caught = table.get(&mutant.name)?;
            Some(format!("| {} | {} | {caught} |\n", mutant.name, mutant.file))
        };
        let lines: String = all().iter().filter_map(row).collect();
        fs::write(&page, format!("{HEAD}{lines}"))?;
    }
    Ok(survivors)
}

const HEAD: &str = "# Deliberate faults

Deliberate faults in the core and in the driver (`sim/mutants.txt`), and the law that detects each: first in the exhaustive
exploration of small worlds, then in simulated runs. Written by `scripts/mutants`, which takes an hour and a half for all of
them, and `scripts/mutants missing` for those without a row. An ordinary test checks that each fault has a row, and that
it can still be applied to the present source.

| fault | file | caught by |
| --- | --- | --- |
";

/// The law that the copy violates; `None` if it violates none.
fn test(copy: &Path) -> io::Result<Option<String>> {
    let build = Command::new("cargo")
        .args(["build", "--quiet", "-p", "sim", "--bin", "sim"])
        .current_dir(copy)
        .env_remove("CARGO_TARGET_DIR")
        .output()?;
    if !build.status.success() {
        let words = String::from_utf8_lossy(&build.stderr).into_owned();
        return Err(io::Error::other(format!("it does not build:\n{words}")));
    }
    // A core that always has further effects would use more and more memory.
    let bounded = format!("ulimit -v 6000000; ulimit -t {CPU_SECONDS}; exec target/debug/sim judge");
    let judged = Command::new("bash")
        .args(["-c", &bounded])
        .current_dir(copy)
        .output()?;
    let verdict = String::from_utf8_lossy(&judged.stdout).trim().to_owned();
    Ok(match judged.status.code() {
        Some(0) => None,
        _ if verdict.is_empty() => Some("it never comes to rest, or panics".into()),
        _ => Some(verdict),
    })
}

/// Creates a workspace of the core, the driver with its ports, and the simulation.
fn prepare(root: &Path, copy: &Path) -> io::Result<()> {
    for folder in ["src/domain", "src/ports", "sim"] {
        copy_folder(&root.join(folder), &copy.join(folder))?;
    }
    for file in ["src/driver.rs", "src/panics.rs"] {
        fs::copy(root.join(file), copy.join(file))?;
    }
    fs::write(
        copy.join("src/lib.rs"),
        "pub mod driver;\npub mod panics;\npub mod ports;\n",
    )?;
    fs::copy(root.join("Cargo.lock"), copy.join("Cargo.lock"))?;
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let needed = |line: &&str| line.starts_with("async-trait") || line.starts_with("domain");
    let mut slim = String::new();
    for section in manifest.split_inclusive("\n\n") {
        if section.starts_with("[dependencies]") {
            slim.push_str("[dependencies]\n");
            section
                .lines()
                .filter(needed)
                .for_each(|line| slim.push_str(&format!("{line}\n")));
            slim.push('\n');
        } else if !["[dev-dependencies]", "[[bench]]", "[[test]]"]
            .iter()
            .any(|left| section.contains(left))
        {
            slim.push_str(&section.replace("\"src/template\", ", ""));
        }
    }
    slim.push_str("\n[profile.dev]\ndebug = false\n");
    fs::write(copy.join("Cargo.toml"), slim)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
