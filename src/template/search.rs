//! Finds matches of a compiled regular expression, and counts the work.
//!
//! All alternatives are followed at the same time, byte by byte, the preferred ones first (Pike's method), so
//! one search takes time in proportion to the text and the pattern. Existing crates search in the same way,
//! but do not report the amount of work, and a replacement consists of many searches; here each followed
//! state counts towards the steps of the template. `regex-automata` compiles the pattern.

use regex_automata::PatternID;
use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::primitives::StateID;

/// The limit on the positions that the states of a pattern store altogether, two for each group
/// (docs/bounds.md).
const PLACES: usize = 1_000_000;

/// How many followed states count as one step of a template.
const FOLLOWED_PER_STEP: usize = 8;

/// A position that was not reached.
const NOWHERE: usize = usize::MAX;

/// The steps that a template may still take.
pub(crate) struct Steps {
    left: usize,
    followed: usize,
}

impl Steps {
    /// This many steps.
    pub(crate) fn new(left: usize) -> Self {
        Self { left, followed: 0 }
    }

    /// How many steps are left.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Takes some steps. Returns whether enough were left.
    pub(crate) fn take(&mut self, steps: usize) -> bool {
        let left = self.left.checked_sub(steps);
        self.left = left.unwrap_or_default();
        left.is_some()
    }

    fn follow(&mut self, states: usize) -> bool {
        self.followed += states;
        let steps = self.followed / FOLLOWED_PER_STEP;
        self.followed %= FOLLOWED_PER_STEP;
        self.take(steps)
    }
}

/// A search for one pattern through one text.
pub(crate) struct Search<'a> {
    nfa: &'a NFA,
    text: &'a str,
    now: Alternatives,
    next: Alternatives,
}

/// A match: its begin and end, and its groups.
pub(crate) struct Match<'a> {
    nfa: &'a NFA,
    text: &'a str,
    places: Vec<usize>,
}

impl<'a> Match<'a> {
    /// Where the whole match begins.
    pub(crate) fn start(&self) -> usize {
        self.places[0]
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> usize {
        self.places[1]
    }

    /// The text of the group with this number; empty if there is none.
    pub(crate) fn group(&self, number: usize) -> &'a str {
        let range = number.checked_mul(2).and_then(|start| {
            let (start, end) = (self.places.get(start)?, self.places.get(start + 1)?);
            self.text.get(*start..*end)
        });
        range.unwrap_or_default()
    }

    /// The text of the group with this name; empty if there is none.
    pub(crate) fn named(&self, name: &str) -> &'a str {
        let number = self.nfa.group_info().to_index(PatternID::ZERO, name);
        number.map_or("", |number| self.group(number))
    }
}

impl<'a> Search<'a> {
    /// A search that has not started.
    ///
    /// # Errors
    /// The pattern has so many groups and repetitions that it would use too much memory.
    pub(crate) fn new(nfa: &'a NFA, text: &'a str) -> Result<Self, String> {
        let width = 2 * nfa.group_info().group_len(PatternID::ZERO);
        let states = nfa.states().len();
        if states.saturating_mul(width) > PLACES {
            return Err("too many groups and repetitions in a regular expression".into());
        }
        Ok(Self {
            nfa,
            text,
            now: Alternatives::new(states, width),
            next: Alternatives::new(states, width),
        })
    }

    /// The first match that begins at `from` or later; of several, the preferred one. `None` also if the
    /// steps are used up.
    pub(crate) fn find(&mut self, from: usize, steps: &mut Steps) -> Option<Match<'a>> {
        let (nfa, text) = (self.nfa, self.text);
        let mut found = None;
        self.now.clear();
        for at in from..=text.len() {
            if found.is_none() && text.is_char_boundary(at) {
                self.now.begin(nfa, text, at);
            }
            if found.is_some() && self.now.order.is_empty() {
                break;
            }
            found = self.advance(at).or(found);
            let followed = 1 + self.now.followed + self.next.followed;
            if !steps.follow(followed) {
                return None;
            }
            std::mem::swap(&mut self.now, &mut self.next);
            self.next.clear();
            self.now.followed = 0;
        }
        found.map(|places| Match { nfa, text, places })
    }

    /// Advances every alternative by one byte. The first that is a match ends those after it.
    fn advance(&mut self, at: usize) -> Option<Vec<usize>> {
        self.next.clear();
        let byte = self.text.as_bytes().get(at).copied();
        for index in 0..self.now.order.len() {
            let id = self.now.order[index];
            let state = self.nfa.state(id);
            if let State::Match { .. } = state {
                return Some(self.now.places_of(id).to_vec());
            }
            if let Some(to) = byte.and_then(|byte| after(state, byte)) {
                self.next
                    .follow(self.nfa, self.text, to, at + 1, self.now.places_of(id));
            }
        }
        None
    }
}

/// The state that follows a state after a byte.
fn after(state: &State, byte: u8) -> Option<StateID> {
    match state {
        State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
        State::Sparse(transitions) => transitions.matches_byte(byte),
        State::Dense(transitions) => transitions.matches_byte(byte),
        _ => None,
    }
}

/// The alternatives at one position of the text, the preferred ones first.
struct Alternatives {
    /// States that need a byte, or are a match.
    order: Vec<StateID>,
    /// States that were reached.
    reached: Vec<bool>,
    /// The indices of the reached states, so that clearing them costs no more than reaching them did.
    touched: Vec<StateID>,
    /// For each state, the ends of the groups on the path to it.
    places: Vec<usize>,
    width: usize,
    /// The positions on the path that is being followed, and what remains to be followed.
    way: Vec<usize>,
    open: Vec<Open>,
    /// How many states were followed.
    followed: usize,
}

/// What remains to be followed.
enum Open {
    State(StateID),
    /// Restores a position of the path to an earlier value.
    Restore(usize, usize),
}

impl Alternatives {
    fn new(states: usize, width: usize) -> Self {
        Self {
            order: Vec::new(),
            reached: vec![false; states],
            touched: Vec::new(),
            places: vec![NOWHERE; states * width],
            width,
            way: Vec::new(),
            open: Vec::new(),
            followed: 0,
        }
    }

    fn clear(&mut self) {
        for id in self.touched.drain(..) {
            self.reached[id.as_usize()] = false;
        }
        self.order.clear();
        self.followed = 0;
    }

    fn places_of(&self, id: StateID) -> &[usize] {
        let start = id.as_usize() * self.width;
        &self.places[start..start + self.width]
    }

    /// Starts a match here.
    fn begin(&mut self, nfa: &NFA, text: &str, at: usize) {
        self.way.clear();
        self.way.resize(self.width, NOWHERE);
        self.follow_way(nfa, text, nfa.start_anchored(), at);
    }

    /// Reaches a state, and from there all states that need no byte.
    fn follow(&mut self, nfa: &NFA, text: &str, to: StateID, at: usize, places: &[usize]) {
        self.way.clear();
        self.way.extend_from_slice(places);
        self.follow_way(nfa, text, to, at);
    }

    fn follow_way(&mut self, nfa: &NFA, text: &str, to: StateID, at: usize) {
        self.open.push(Open::State(to));
        while let Some(open) = self.open.pop() {
            match open {
                Open::Restore(slot, place) => self.way[slot] = place,
                Open::State(id) => self.reach(nfa, text, id, at),
            }
        }
    }

    fn reach(&mut self, nfa: &NFA, text: &str, id: StateID, at: usize) {
        self.followed += 1;
        if std::mem::replace(&mut self.reached[id.as_usize()], true) {
            return;
        }
        self.touched.push(id);
        match nfa.state(id) {
            State::Look { look, next } => {
                if nfa.look_matcher().matches(*look, text.as_bytes(), at) {
                    self.open.push(Open::State(*next));
                }
            }
            State::Union { alternates } => {
                let alternates = alternates.iter().rev();
                self.open.extend(alternates.map(|id| Open::State(*id)));
            }
            State::BinaryUnion { alt1, alt2 } => {
                self.open.extend([Open::State(*alt2), Open::State(*alt1)]);
            }
            State::Capture { next, slot, .. } => {
                let slot = slot.as_usize();
                let before = std::mem::replace(&mut self.way[slot], at);
                self.open
                    .extend([Open::Restore(slot, before), Open::State(*next)]);
            }
            State::Fail => {}
            State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) | State::Match { .. } => {
                self.remember(id);
            }
        }
    }

    fn remember(&mut self, id: StateID) {
        self.order.push(id);
        let start = id.as_usize() * self.width;
        self.places[start..start + self.width].copy_from_slice(&self.way);
        // Copying many positions takes as long as following a few states.
        self.followed += self.width / 16;
    }
}
