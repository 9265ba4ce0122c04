//! The keys `user` and `group` of a command, and of the application (docs/development/pid1.md, row 30).

use super::section::nearest;
use super::{Error, Section, integer};
use crate::config::Target;
use crate::config::problem::Problems;
use crate::config::tree::Value;
use domain::identity::{Accounts, Name, Refusal, Request};
use domain::plan::{Identity, Word};

const USERS: &str = "the name of a user, or a number from 0 to 4294967294";
const GROUPS: &str = "the name of a group, or a number from 0 to 4294967294";

/// Takes the keys `user` and `group`, and resolves them. `None` if neither is given, or if there is an error.
pub fn identity(
    section: &mut Section<'_>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<Identity> {
    let (user, group) = (section.take("user"), section.take("group"));
    let place = user.or(group)?;
    let mut named = |value: Option<&Value<'_>>, allowed| match value {
        Some(value) => name(value, allowed, problems).map(Some),
        None => Some(None),
    };
    let (user_name, group_name) = (named(user, USERS), named(group, GROUPS));
    let request = Request {
        user: user_name?,
        group: group_name?,
    };
    let accounts = match target.users.accounts() {
        Ok(accounts) => accounts,
        Err(error) => {
            problems.error(place, Error::NoAccounts(error));
            return None;
        }
    };
    let refused = |refusal: Refusal| {
        let (value, allowed) = match refusal.is_of_group() {
            true => (group.unwrap_or(place), GROUPS),
            false => (place, USERS),
        };
        match refusal {
            Refusal::NoUser | Refusal::NoGroup => {
                let meant = meant(&accounts, value.string().unwrap_or_default(), &refusal);
                problems.wrong(value, Error::Identity(refusal, meant), allowed);
            }
            _ => problems.error(value, Error::Identity(refusal, None)),
        }
    };
    accounts.resolve(&request).map_err(refused).ok()
}

/// The number of a group.
pub fn group(value: &Value<'_>, target: &Target<'_>, problems: &mut Problems<'_>) -> Option<u32> {
    let name = name(value, GROUPS, problems)?;
    let accounts = match target.users.accounts() {
        Ok(accounts) => accounts,
        Err(error) => {
            problems.error(value, Error::NoAccounts(error));
            return None;
        }
    };
    let refused = |refusal: Refusal| {
        let meant = meant(&accounts, value.string().unwrap_or_default(), &refusal);
        problems.wrong(value, Error::Identity(refusal, meant), GROUPS);
    };
    accounts.group(&name).map_err(refused).ok()
}

/// A name or a number. Digits in quotes are a number: the value of a template is always in quotes.
fn name(value: &Value<'_>, allowed: &str, problems: &mut Problems<'_>) -> Option<Name> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match value.string() {
        Some("") => {
            problems.wrong(value, Error::NoName, allowed);
            None
        }
        Some(text) if !is_number(text) => Some(Name::Text(text.to_owned())),
        _ => {
            let number = integer(value, allowed, problems)?;
            // The largest number means "unchanged" to the kernel.
            let number = u32::try_from(number).ok().filter(|number| *number != u32::MAX);
            if number.is_none() {
                problems.wrong(value, Error::OutOfRange, allowed);
            }
            number.map(Name::Number)
        }
    }
}

/// The name in the database that was probably meant.
fn meant(accounts: &Accounts, written: &str, refusal: &Refusal) -> Option<String> {
    let names: Vec<String> = match refusal {
        Refusal::NoGroup => accounts.group_names().map(Word::to_string).collect(),
        _ => accounts.user_names().map(Word::to_string).collect(),
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    nearest(written, &names).map(str::to_owned)
}
