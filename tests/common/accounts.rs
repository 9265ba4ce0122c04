//! Users and groups for tests that compile configurations.

use domain::identity::{Accounts, Group, Rights, User};
use domain::plan::Word;

/// A machine with a few users, on which the shim is root.
pub fn accounts() -> Accounts {
    let user = |name: &str, number: u32| User {
        name: name.into(),
        number,
        group: number,
        home: format!("/home/{name}").as_str().into(),
    };
    let group = |name: &str, number: u32, members: &[&str]| Group {
        name: name.into(),
        number,
        members: members.iter().map(|member| Word::from(*member)).collect(),
    };
    let rights = Rights {
        user: 0,
        group: 0,
        groups: vec![0],
        takes_users: true,
        takes_groups: true,
        sets_groups: true,
        signals_users: true,
        users: vec![0..=65_535],
        known_groups: vec![0..=65_535],
    };
    Accounts::new(
        [user("root", 0), user("www-data", 33)],
        [group("audio", 29, &["www-data"]), group("www-data", 33, &[])],
        rights,
    )
}
