//! Where the figures go: to the standard output and to the end of a file.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The figures of one run.
pub struct Report {
    program: PathBuf,
    file: File,
    measurement: &'static str,
}

impl Report {
    /// Appends to this file.
    pub fn append(program: PathBuf, file: &str) -> Self {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .expect("the file can be opened");
        Self {
            program,
            file,
            measurement: "",
        }
    }

    /// Runs a measurement, whose figures get this name.
    pub fn measure(&mut self, name: &'static str, measure: fn(&mut Self)) {
        self.measurement = name;
        measure(self);
    }

    /// The program that is measured.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Writes a figure.
    pub fn figure(&mut self, what: &str, unit: &str, value: f64) {
        let line = format!("{}\t{what}\t{unit}\t{}", self.measurement, rounded(value));
        println!("{line}");
        writeln!(self.file, "{line}").expect("the file can be written");
    }
}

/// With four significant digits at least.
fn rounded(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middle if middle >= 1.0 => format!("{value:.3}"),
        _ => format!("{value:.5}"),
    }
}

/// The value below which this part of all values lies.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the number of values is small"
    )]
    let place = (part * sorted.len() as f64) as usize;
    let place = place.min(sorted.len().saturating_sub(1));
    *sorted.get(place).expect("there are values")
}
