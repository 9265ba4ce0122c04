//! Shortens and simplifies a list of choices that violates a law.
//!
//! A list is simpler if it is shorter at the end, has more zeros, lacks some pieces, or has smaller numbers:
//! zero is always the choice that causes the least trouble. The same law must be violated, in any way.

use crate::choices::Choices;
use crate::simulated_run::simulate;

/// The limit on simulated runs while a list is shortened.
const MOST_ATTEMPTS: u32 = 6_000;

/// The shortest list that was found for the law that `list` violates; the list itself if it violates none.
pub fn shrink(list: &[u32]) -> Vec<u32> {
    let violation = simulate(Choices::recorded(list.to_vec()), false).report;
    let Some(law) = violation.violation.map(|violation| violation.law) else {
        return list.to_vec();
    };
    let breaks = |list: &[u32]| {
        let report = simulate(Choices::recorded(list.to_vec()), false).report;
        report.violation.is_some_and(|violation| violation.law == law)
    };
    shrink_while(violation.choices, breaks)
}

/// The shortest list that was found for which `breaks` returns true, as it does for `list`.
pub fn shrink_while(list: Vec<u32>, breaks: impl Fn(&[u32]) -> bool) -> Vec<u32> {
    let mut search = Search {
        best: list,
        breaks,
        left: MOST_ATTEMPTS,
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
