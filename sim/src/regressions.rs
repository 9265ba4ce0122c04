//! Recorded lists of choices that violated a law, in small files named for the fault that they showed.
//!
//! A file has lines of comment that begin with `#`, and numbers; `0*12` stands for twelve zeros.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{fs, io};

/// The folder of the lists.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("regressions")
}

/// The text of a list.
pub fn write(list: &[u32], comment: &str) -> String {
    let mut text = String::new();
    for line in comment.lines() {
        let _ = writeln!(text, "# {line}");
    }
    let mut left = list;
    let mut width = 0;
    while let Some(first) = left.first() {
        let same = left.iter().take_while(|number| *number == first).count();
        let word = if same > 2 {
            format!("{first}*{same}")
        } else {
            first.to_string()
        };
        left = &left[if same > 2 { same } else { 1 }..];
        width += word.len() + 1;
        let space = if width > 100 { '\n' } else { ' ' };
        width = if width > 100 { 0 } else { width };
        let _ = write!(text, "{word}{space}");
    }
    text.trim_end().to_owned() + "\n"
}

/// Parses a list.
///
/// # Errors
/// A word that cannot be part of a list.
pub fn read(text: &str) -> Result<Vec<u32>, String> {
    let mut list = Vec::new();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    for word in lines.flat_map(str::split_whitespace) {
        let (number, times) = word.split_once('*').unwrap_or((word, "1"));
        let parsed = number.parse::<u32>().ok().zip(times.parse::<u16>().ok());
        let (number, times) = parsed.ok_or_else(|| format!("`{word}` is no choice"))?;
        list.extend(std::iter::repeat_n(number, times.into()));
    }
    Ok(list)
}

/// All lists, by name.
///
/// # Errors
/// A file cannot be read or parsed.
pub fn all() -> io::Result<Vec<(String, Vec<u32>)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder())? {
        let path = file?.path();
        let list = read(&fs::read_to_string(&path)?).map_err(io::Error::other)?;
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        found.push((name.unwrap_or_default(), list));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_list_is_read_back() {
        let list: Vec<u32> = [[5, 0, 0, 0, 0, 7, 7, 0].repeat(30), vec![0; 1000]].concat();
        let text = write(&list, "a law was violation\nand how");
        assert!(text.lines().all(|line| line.len() < 120));
        assert_eq!(read(&text), Ok(list));
        assert!(read("1 two").is_err());
    }
}
