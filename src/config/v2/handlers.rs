//! When the handler of a backend runs after a change: the keys `wait`, `splay` and `minimum`; and what it reads: `stdin`
//! (docs/backends.md).

use super::error::{BackendError, DurationKey, Subject};
use crate::config::keys::{Section, duration, integer, string};
use crate::config::problem::Problems;
use crate::config::tree::Value;
use domain::plan::{Timing, Wait};
use domain::time::Duration;

/// The largest `minimum`: as many instances as a list may have (docs/bounds.md).
const MOST_MINIMUM: u32 = 16_384;
/// The maximum of a quiet time that has none, as a multiple of it, as in consul-template.
const TIMES_QUIET: u32 = 4;

/// Takes the keys.
pub fn timing(section: &mut Section<'_>, subject: Subject<'_>, problems: &mut Problems<'_>) -> Timing {
    let wait = section
        .take("wait")
        .and_then(|value| wait(value, subject, problems));
    let splay = section
        .take("splay")
        .and_then(|value| duration::limit(value, &DurationKey::Key("splay", subject), problems));
    let minimum = section
        .take("minimum")
        .and_then(|value| minimum(value, subject, problems));
    Timing {
        wait,
        splay: splay.unwrap_or(Duration::ZERO),
        minimum: minimum.unwrap_or_default(),
    }
}

/// A quiet time, or a quiet time and its maximum, with a colon between them.
pub fn wait(value: &Value<'_>, subject: Subject<'_>, problems: &mut Problems<'_>) -> Option<Wait> {
    let key = DurationKey::Key("wait", subject);
    let Some((quiet, most)) = value.string().and_then(|text| text.split_once(':')) else {
        let quiet = duration::limit(value, &key, problems)?;
        let most = quiet.saturating_mul(TIMES_QUIET);
        return Some(Wait { quiet, most });
    };
    let [quiet, most] = [quiet, most].map(|part| duration::part(value, part, &key, problems));
    let (quiet, most) = (quiet?, most?);
    if most < quiet {
        problems.error(value, BackendError::MaximumTooShort(subject, quiet, most));
    }
    Some(Wait { quiet, most })
}

fn minimum(value: &Value<'_>, subject: Subject<'_>, problems: &mut Problems<'_>) -> Option<u32> {
    let allowed = format!("a whole number of instances from 0 to {MOST_MINIMUM}");
    let number = u32::try_from(integer(value, &allowed, problems)?).ok();
    let number = number.filter(|number| *number <= MOST_MINIMUM);
    if number.is_none() {
        problems.wrong(value, BackendError::MinimumOutOfRange(subject), &allowed);
    }
    number
}

/// Whether the handler gets the instances as JSON on its standard input.
pub fn stdin(section: &mut Section<'_>, subject: Subject<'_>, problems: &mut Problems<'_>) -> bool {
    let Some(value) = section.take("stdin") else {
        return false;
    };
    let written = string(value, problems);
    if written.is_some_and(|written| written != "json") {
        problems.wrong(value, BackendError::Stdin(subject), "\"json\"");
    }
    written.is_some()
}
