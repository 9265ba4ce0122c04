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

/// Prints the table, and draws the picture beside the file.
pub fn print(file: &str) {
    let figures = Figures::read(file);
    println!("| measurement | figure | median | lowest | highest |\n| --- | --- | --- | --- | --- |");
    for (measurement, figure, unit) in &figures.names {
        let values = &figures.values[&(measurement.clone(), figure.clone())];
        let [low, median, high] = [0.0, 0.5, 1.0].map(|part| shown(quantile(values, part)));
        println!("| {measurement} | {figure} | {median} {unit} | {low} | {high} |");
    }
    fs::write(Path::new(file).with_extension("svg"), drawn(&figures)).expect("the picture can be written");
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
/// Left of it are the labels.
const LEFT: f64 = 180.0;
/// How high a curve is.
const CURVE: f64 = 90.0;

/// What the picture shows as bars.
fn groups(figures: &Figures) -> [Group<'static>; 4] {
    let start = |who: &str| figures.median("start", &format!("{who}: processor time"));
    let minute = |units: &str| figures.median(units, "processor time in 60 s");
    let large = |units: &str| figures.median(units, "Consul: processor time in 60 s");
    let memory = |units: &str| figures.median(units, "resident memory");
    let all = |values: [f64; 4]| {
        ["1 + 1", "10 + 10", "300 + 300", "1000 + 1000"]
            .into_iter()
            .zip(values)
    };
    // In a minute: one service and ten each second, the others every ten seconds.
    let checks = [60.0, 600.0, 1800.0, 6000.0];
    let minutes = [
        minute("1x1"),
        minute("10x10"),
        large("300x300"),
        large("1000x1000"),
    ];
    let each = all(minutes)
        .zip(checks)
        .map(|((label, seconds), checks)| (label, seconds * 1e3 / checks));
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
            "Processor time in a minute, on Consul (1 + 1 and 10 + 10 at 1 s, the others at 10 s)",
            "s",
            all(minutes).collect(),
        ),
        (
            "Processor time for each check with its heartbeat and one query",
            "ms",
            each.collect(),
        ),
        (
            "Resident memory, on Consul",
            "MB",
            all([
                memory("1x1"),
                memory("10x10"),
                figures.median("300x300", "Consul: resident memory"),
                figures.median("1000x1000", "Consul: resident memory"),
            ])
            .collect(),
        ),
    ]
}

/// The resident memory after so many reloads.
fn reloads(figures: &Figures) -> Vec<(f64, f64)> {
    let number = |figure: &str| {
        let count = figure.strip_prefix("memory after ")?.strip_suffix(" reloads")?;
        count.parse().ok()
    };
    let figures = figures
        .names
        .iter()
        .filter_map(|(measurement, figure, _)| Some((number(figure)?, figures.median(measurement, figure))));
    figures.collect()
}

/// Bars and a curve, readable on light and on dark pages.
fn drawn(figures: &Figures) -> String {
    let (mut shapes, mut top) = (String::new(), 10.0);
    for (title, unit, values) in groups(figures) {
        top = group(&mut shapes, top, title, unit, &values);
    }
    let memory = reloads(figures);
    if !memory.is_empty() {
        top = curve(
            &mut shapes,
            top,
            "Resident memory over reloads, 1 + 1",
            "MB",
            &memory,
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 {top:.0}\" width=\"640\" height=\"{top:.0}\" \
         role=\"img\" aria-label=\"What the shim costs: the medians of docs/cost.md as bars, and the memory over reloads\">\n\
         <style>text {{ font: 13px sans-serif; fill: #222 }} .title {{ font-weight: bold }} rect {{ fill: #3b6ea5 }}\n\
         path {{ fill: none; stroke: #3b6ea5; stroke-width: 2 }} .axis {{ stroke: #888; stroke-width: 1 }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #ddd }} rect {{ fill: #7aa7d9 }} path {{ stroke: #7aa7d9 }} }}\n\
         </style>\n{shapes}</svg>\n"
    )
}

/// Appends a formatted shape.
macro_rules! draw {
    ($shapes:expr, $($text:tt)*) => {
        writeln!($shapes, $($text)*).expect("a string takes all")
    };
}

/// Writes a title below `top`; returns where its content begins.
fn heading(shapes: &mut String, top: f64, title: &str) -> f64 {
    draw!(
        shapes,
        "<text class=\"title\" x=\"10\" y=\"{:.0}\">{title}</text>",
        top + 12.0
    );
    top + 22.0
}

/// Draws a group of bars below `top`; returns where the next one begins.
fn group(shapes: &mut String, top: f64, title: &str, unit: &str, values: &[(&str, f64)]) -> f64 {
    let known: Vec<&(&str, f64)> = values.iter().filter(|(_, value)| value.is_finite()).collect();
    let most = known.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let mut y = heading(shapes, top, title);
    for (label, value) in known {
        let width = (WIDTH * value / most).max(1.0);
        draw!(
            shapes,
            "<text x=\"170\" y=\"{:.0}\" text-anchor=\"end\">{label}</text>\
             <rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{:.0}\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\">{} {unit}</text>",
            y + 13.0,
            HEIGHT - 4.0,
            LEFT + 6.0 + width,
            y + 13.0,
            shown(*value)
        );
        y += HEIGHT;
    }
    y + 14.0
}

/// Draws a curve below `top`, from zero on both axes; returns where the next drawing begins.
fn curve(shapes: &mut String, top: f64, title: &str, unit: &str, points: &[(f64, f64)]) -> f64 {
    let top = heading(shapes, top, title);
    let bottom = top + CURVE;
    let most = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).fold(0.0, f64::max);
    let (longest, highest) = (most(|point| point.0), most(|point| point.1));
    let place = |(x, y): &(f64, f64)| {
        format!(
            "{:.0},{:.0}",
            LEFT + WIDTH * x / longest,
            bottom - (CURVE - 12.0) * y / highest
        )
    };
    let places: Vec<String> = points.iter().map(place).collect();
    let right = LEFT + WIDTH;
    draw!(
        shapes,
        "<path class=\"axis\" d=\"M{LEFT},{top:.0} V{bottom:.0} H{right:.0}\"/>"
    );
    draw!(shapes, "<path d=\"M{}\"/>", places.join(" L"));
    draw!(
        shapes,
        "<text x=\"170\" y=\"{:.0}\" text-anchor=\"end\">{} {unit}</text>\
         <text x=\"170\" y=\"{bottom:.0}\" text-anchor=\"end\">0</text>\
         <text x=\"{right:.0}\" y=\"{:.0}\" text-anchor=\"end\">{longest:.0} reloads</text>",
        top + 16.0,
        shown(highest),
        bottom + 16.0
    );
    bottom + 30.0
}
