//! The health check of the benchmark `cost`: `stamp FILE NUMBER` appends the number and the time to a file.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().expect("a file");
    let number = arguments.next().expect("a number");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970");
    let line = format!("{number} {}\n", now.as_nanos());
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .expect("the file can be opened");
    file.write_all(line.as_bytes()).expect("the file can be written");
}
