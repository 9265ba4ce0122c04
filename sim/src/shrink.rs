//! Makes a list of choices that breaks a law as short and as plain as it can.
//!
//! A shorter list is one with a shorter end, with zeros where there were none, with pieces left out, or with
//! smaller numbers: zero is always the choice that makes the least trouble. What counts is that the same law
//! is broken; how, may differ.

use crate::choices::Choices;
use crate::life::live;

/// How many lives finding a shorter list may take.
const PATIENCE: u32 = 6_000;

/// The shortest list found that breaks the law that `list` breaks; the list itself if it breaks none.
pub fn shrink(list: &[u32]) -> Vec<u32> {
    let violation = live(Choices::recorded(list.to_vec()), false).report;
    let Some(law) = violation.violation.map(|violation| violation.law) else {
        return list.to_vec();
    };
    let breaks = |list: &[u32]| {
        let report = live(Choices::recorded(list.to_vec()), false).report;
        report.violation.is_some_and(|violation| violation.law == law)
    };
    shrink_while(violation.choices, breaks)
}

/// The shortest list found for which `breaks` holds, as it does for `list`.
pub fn shrink_while(list: Vec<u32>, breaks: impl Fn(&[u32]) -> bool) -> Vec<u32> {
    let mut search = Search {
        best: list,
        breaks,
        left: PATIENCE,
    };
    loop {
        let before = search.best.clone();
        search.cut_the_end();
        search.in_pieces(zero);
        search.in_pieces(leave_out);
        search.smaller_numbers();
        search.trim();
        if search.best == before || search.left == 0 {
            return search.best;
        }
    }
}

struct Search<F> {
    best: Vec<u32>,
    breaks: F,
    left: u32,
}

fn zero(list: &[u32], from: usize, to: usize) -> Vec<u32> {
    let mut list = list.to_vec();
    list[from..to].fill(0);
    list
}

fn leave_out(list: &[u32], from: usize, to: usize) -> Vec<u32> {
    [&list[..from], &list[to..]].concat()
}

impl<F: Fn(&[u32]) -> bool> Search<F> {
    fn try_out(&mut self, list: Vec<u32>) -> bool {
        if self.left == 0 || list == self.best {
            return false;
        }
        self.left -= 1;
        let better = (self.breaks)(&list);
        if better {
            self.best = list;
        }
        better
    }

    fn trim(&mut self) {
        while self.best.last() == Some(&0) {
            self.best.pop();
        }
    }

    fn cut_the_end(&mut self) {
        let mut step = self.best.len() / 2;
        while step > 0 {
            while self.best.len() > step && self.try_out(self.best[..self.best.len() - step].to_vec()) {}
            step /= 2;
        }
    }

    fn in_pieces(&mut self, change: fn(&[u32], usize, usize) -> Vec<u32>) {
        let mut size = (self.best.len() / 2).max(1);
        loop {
            let mut from = 0;
            while from < self.best.len() {
                let to = (from + size).min(self.best.len());
                let changed = change(&self.best, from, to);
                let shorter = changed.len() < self.best.len();
                if !self.try_out(changed) || !shorter {
                    from = to;
                }
            }
            if size == 1 {
                return;
            }
            size /= 2;
        }
    }

    fn smaller_numbers(&mut self) {
        for place in 0..self.best.len() {
            let (mut low, mut high) = (0, self.best.get(place).copied().unwrap_or(0));
            while low < high {
                let middle = low + (high - low) / 2;
                let mut list = self.best.clone();
                list[place] = middle;
                if self.try_out(list) {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_keeps_only_the_necessary_choices() {
        let list: Vec<u32> = (0..300).map(|number| number % 17).collect();
        let breaks = |list: &[u32]| list.contains(&9) && list.iter().any(|number| *number > 13);
        assert_eq!(shrink_while(list, breaks), [9, 14]);
    }
}
