//! The medians of a file of figures, as a table and as a picture.

use crate::report::quantile;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The figures of all runs, in the order in which they first appear.
struct Figures {
    names: Vec<(String, String, String)>,
    values: BTreeMap<(String, String), Vec<f64>>,
}

impl Figures {
    fn read(file: &str) -> Self {
        let text = fs::read_to_string(file).expect("the file is there");
        let mut figures = Self {
            names: Vec::new(),
            values: BTreeMap::new(),
        };
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [measurement, figure, unit, value] = fields[..] else {
                panic!("not a figure: {line}");
            };
            let key = (measurement.to_owned(), figure.to_owned());
            let values = figures.values.entry(key).or_default();
            if values.is_empty() {
                let name = (measurement.to_owned(), figure.to_owned(), unit.to_owned());
                figures.names.push(name);
            }
            values.push(value.parse().expect("a number"));
        }
        figures
    }

    fn median(&self, measurement: &str, figure: &str) -> f64 {
        let key = (measurement.to_owned(), figure.to_owned());
        self.values
            .get(&key)
            .map_or(f64::NAN, |values| quantile(values, 0.5))
    }
}

/// Prints the table, and draws the picture.
pub fn print(file: &str) {
    let figures = Figures::read(file);
    println!("| measurement | figure | median | lowest | highest |\n| --- | --- | --- | --- | --- |");
    for (measurement, figure, unit) in &figures.names {
        let values = &figures.values[&(measurement.clone(), figure.clone())];
        let [low, median, high] = [0.0, 0.5, 1.0].map(|part| shown(quantile(values, part)));
        println!("| {measurement} | {figure} | {median} {unit} | {low} | {high} |");
    }
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cost.svg");
    fs::write(picture, drawn(&figures)).expect("the picture can be written");
}

/// With three significant digits.
fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The bars of one group: a title, a unit, and a value for each label.
type Group<'a> = (&'a str, &'a str, Vec<(&'a str, f64)>);

const HEIGHT: f64 = 18.0;
const WIDTH: f64 = 320.0;

/// What the picture shows.
fn groups(figures: &Figures) -> [Group<'static>; 3] {
    let start = |who: &str| figures.median("start", &format!("{who}: processor time"));
    [
        (
            "Processor time to start and end /bin/true",
            "ms",
            vec![
                ("alone", start("bare")),
                ("catatonit", start("catatonit")),
                ("tini", start("tini")),
                ("dumb-init", start("dumb-init")),
                ("containerpilot", start("shim, Consul")),
            ],
        ),
        (
            "Processor time in a minute",
            "s",
            vec![
                ("1 + 1, poll 1 s", figures.median("1x1", "processor time in 60 s")),
                (
                    "10 + 10, poll 1 s",
                    figures.median("10x10", "processor time in 60 s"),
                ),
                (
                    "300 + 300, poll 10 s",
                    figures.median("300x300", "Consul: processor time in 60 s"),
                ),
                (
                    "1000 + 1000, poll 10 s",
                    figures.median("1000x1000", "Consul: processor time in 60 s"),
                ),
            ],
        ),
        (
            "Resident memory",
            "MB",
            vec![
                ("1 + 1", figures.median("1x1", "resident memory")),
                ("10 + 10", figures.median("10x10", "resident memory")),
                ("300 + 300", figures.median("300x300", "Consul: resident memory")),
                (
                    "1000 + 1000",
                    figures.median("1000x1000", "Consul: resident memory"),
                ),
                (
                    "after 2,000 reloads",
                    figures.median("reload", "memory after 2,000 reloads"),
                ),
                (
                    "after 12,000 reloads",
                    figures.median("reload", "memory after 12,000 reloads"),
                ),
            ],
        ),
    ]
}

/// Groups of horizontal bars, readable on light and on dark pages.
fn drawn(figures: &Figures) -> String {
    let (mut bars, mut top) = (String::new(), 10.0);
    for (title, unit, values) in groups(figures) {
        top = group(&mut bars, top, title, unit, &values);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 {top:.0}\" width=\"640\" height=\"{top:.0}\" \
         role=\"img\" aria-label=\"What the shim costs: the medians of docs/cost.md as bars\">\n\
         <style>text {{ font: 13px sans-serif; fill: #222 }} .title {{ font-weight: bold }} rect {{ fill: #3b6ea5 }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #ddd }} rect {{ fill: #7aa7d9 }} }}</style>\n{bars}</svg>\n"
    )
}

/// Draws a group below `top`; returns where the next one begins.
fn group(bars: &mut String, top: f64, title: &str, unit: &str, values: &[(&str, f64)]) -> f64 {
    let known: Vec<&(&str, f64)> = values.iter().filter(|(_, value)| value.is_finite()).collect();
    let most = known.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    writeln!(
        bars,
        "<text class=\"title\" x=\"10\" y=\"{:.0}\">{title}</text>",
        top + 12.0
    )
    .expect("a string takes all");
    let mut y = top + 22.0;
    for (label, value) in known {
        let width = (WIDTH * value / most).max(1.0);
        writeln!(
            bars,
            "<text x=\"170\" y=\"{:.0}\" text-anchor=\"end\">{label}</text>\
             <rect x=\"180\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{:.0}\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\">{} {unit}</text>",
            y + 13.0,
            HEIGHT - 4.0,
            186.0 + width,
            y + 13.0,
            shown(*value)
        )
        .expect("a string takes all");
        y += HEIGHT;
    }
    y + 14.0
}
