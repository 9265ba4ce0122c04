//! Resolves the user and the group that a command asks for to the numbers that its process gets
//! (docs/development/pid1.md, row 30).
//!
//! A user has the groups that the databases of users and groups give it. A user without an entry has no group of its own:
//! it is refused if no group is named, because group 0, and a group that has the user's number by chance, can have
//! rights that were not meant to be given. What the shim is not permitted to do is refused here, and not when the
//! process is started.

use crate::plan::{Identity, Login, Word};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

/// The supplementary groups that a process can have: the limit of the kernel. (docs/bounds.md)
pub const MOST_GROUPS: usize = 65_536;

/// How a configuration names a user or a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The number.
    Number(u32),
    /// The name in a database.
    Text(String),
}

/// What a command asks for; at least one of both is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// The user; without one the shim's own, with the shim's supplementary groups.
    pub user: Option<Name>,
    /// The group; without one that of the user's entry.
    pub group: Option<Name>,
}

/// An entry of the database of users.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User {
    /// The name.
    pub name: Word,
    /// The number.
    pub number: u32,
    /// The number of its own group.
    pub group: u32,
    /// The home directory.
    pub home: Word,
}

/// An entry of the database of groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// The name.
    pub name: Word,
    /// The number.
    pub number: u32,
    /// The names of the users that have it as a supplementary group.
    pub members: Vec<Word>,
}

/// What the process of the shim is, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rights {
    /// Its user.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// Whether a process may take any user.
    pub takes_users: bool,
    /// Whether a process may take any group.
    pub takes_groups: bool,
    /// Whether a process may change its supplementary groups.
    pub sets_groups: bool,
    /// Whether it may send signals to processes of other users.
    pub signals_users: bool,
    /// The users of its user namespace.
    pub users: Vec<RangeInclusive<u32>>,
    /// The groups of its user namespace.
    pub known_groups: Vec<RangeInclusive<u32>>,
}

/// The users and groups of a machine, and the rights of the shim. Of two entries with one name, or one number, the first one
/// counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accounts {
    users: Vec<User>,
    by_name: BTreeMap<Word, usize>,
    by_number: BTreeMap<u32, usize>,
    groups: BTreeMap<Word, u32>,
    memberships: BTreeMap<Word, Vec<u32>>,
    rights: Rights,
}

/// Why a user or group cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// There is no user of this name.
    NoUser,
    /// There is no group of this name.
    NoGroup,
    /// A user without an entry, and no group is named.
    NoOwnGroup(u32),
    /// The user has more supplementary groups than a process can have; their number.
    TooManyGroups(usize),
    /// The user does not exist in the user namespace.
    UserOutside(u32),
    /// The group does not exist in the user namespace.
    GroupOutside(u32),
    /// The shim may not start processes of this user.
    User(u32),
    /// The shim could not stop processes of this user.
    UserSignals(u32),
    /// The shim may not start processes with this group.
    Group(u32),
    /// The shim may not give a process this supplementary group.
    Supplementary(u32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUser => f.write_str("there is no such user in /etc/passwd"),
            Self::NoGroup => f.write_str("there is no such group in /etc/group"),
            Self::NoOwnGroup(user) => write!(
                f,
                "user {user} has no entry in /etc/passwd, so a `group` is needed"
            ),
            Self::TooManyGroups(count) => {
                write!(
                    f,
                    "the user has {count} supplementary groups, allowed are {MOST_GROUPS} at the most"
                )
            }
            Self::UserOutside(user) => write!(f, "there is no user {user} in the user namespace of the shim"),
            Self::GroupOutside(group) => {
                write!(f, "there is no group {group} in the user namespace of the shim")
            }
            Self::User(user) => {
                write!(f, "the shim is not permitted to start processes of user {user}")
            }
            Self::UserSignals(user) => {
                write!(f, "the shim is not permitted to stop processes of user {user}")
            }
            Self::Group(group) => {
                write!(
                    f,
                    "the shim is not permitted to start processes with group {group}"
                )
            }
            Self::Supplementary(group) => {
                write!(
                    f,
                    "the shim is not permitted to give processes the supplementary group {group} of this user"
                )
            }
        }
    }
}

impl Refusal {
    /// Whether it concerns the group that was asked for, and not the user.
    pub const fn is_of_group(&self) -> bool {
        matches!(self, Self::NoGroup | Self::GroupOutside(_) | Self::Group(_))
    }

    /// What the shim needs.
    pub const fn needs(&self) -> Option<&'static str> {
        match self {
            Self::User(_) => Some("run it as root, with the capability CAP_SETUID"),
            Self::UserSignals(_) => Some("run it with the capability CAP_KILL"),
            Self::Group(_) | Self::Supplementary(_) => Some("run it as root, with the capability CAP_SETGID"),
            _ => None,
        }
    }
}

impl Accounts {
    /// The entries of the databases in their order.
    pub fn new(
        users: impl IntoIterator<Item = User>,
        groups: impl IntoIterator<Item = Group>,
        rights: Rights,
    ) -> Self {
        let mut accounts = Self {
            users: Vec::new(),
            by_name: BTreeMap::new(),
            by_number: BTreeMap::new(),
            groups: BTreeMap::new(),
            memberships: BTreeMap::new(),
            rights,
        };
        for user in users {
            let index = accounts.users.len();
            accounts.by_name.entry(user.name.clone()).or_insert(index);
            accounts.by_number.entry(user.number).or_insert(index);
            accounts.users.push(user);
        }
        for Group {
            name,
            number,
            members,
        } in groups
        {
            accounts.groups.entry(name).or_insert(number);
            for member in members {
                accounts.memberships.entry(member).or_default().push(number);
            }
        }
        accounts
    }

    /// The names of all users.
    pub fn user_names(&self) -> impl Iterator<Item = &Word> {
        self.by_name.keys()
    }

    /// The names of all groups.
    pub fn group_names(&self) -> impl Iterator<Item = &Word> {
        self.groups.keys()
    }

    /// The numbers and the variables for a process.
    ///
    /// # Errors
    /// There is no such user or group, or the shim is not permitted to start, or to stop, such a process.
    pub fn resolve(&self, request: &Request) -> Result<Identity, Refusal> {
        let entry = self.entry(request.user.as_ref())?;
        let user = match (&request.user, entry) {
            (_, Some(entry)) => entry.number,
            (Some(Name::Number(number)), None) => *number,
            _ => self.rights.user,
        };
        let group = match (&request.group, entry, &request.user) {
            (Some(name), ..) => self.group(name)?,
            (None, Some(entry), _) => entry.group,
            (None, None, Some(_)) => return Err(Refusal::NoOwnGroup(user)),
            (None, None, None) => self.rights.group,
        };
        let groups = request.user.as_ref().map(|_| self.groups_of(entry, group));
        let login = request.user.as_ref().map(|_| login(entry, user));
        self.permitted(Identity {
            user,
            group,
            groups,
            login,
        })
    }

    fn entry(&self, name: Option<&Name>) -> Result<Option<&User>, Refusal> {
        let index = match name {
            None => None,
            Some(Name::Number(number)) => self.by_number.get(number),
            Some(Name::Text(text)) => {
                let found = self.by_name.get(&Word::from(text.as_str()));
                Some(found.ok_or(Refusal::NoUser)?)
            }
        };
        Ok(index.and_then(|index| self.users.get(*index)))
    }

    /// The number of a group.
    ///
    /// # Errors
    /// There is no group with this name.
    pub fn group(&self, name: &Name) -> Result<u32, Refusal> {
        match name {
            Name::Number(number) => Ok(*number),
            Name::Text(text) => {
                let found = self.groups.get(&Word::from(text.as_str()));
                found.copied().ok_or(Refusal::NoGroup)
            }
        }
    }

    /// The supplementary groups as `initgroups` sets them: the group itself, and those that name the user as a member. A user
    /// without an entry has none.
    fn groups_of(&self, entry: Option<&User>, group: u32) -> Vec<u32> {
        let Some(entry) = entry else {
            return Vec::new();
        };
        let mut groups = self.memberships.get(&entry.name).cloned().unwrap_or_default();
        groups.push(group);
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Checks that the shim may start and stop such a process. Where the shim may not change supplementary groups and has
    /// all that are needed, its own stay.
    fn permitted(&self, mut identity: Identity) -> Result<Identity, Refusal> {
        let rights = &self.rights;
        let (user, group) = (identity.user, identity.group);
        let groups = identity.groups.clone().unwrap_or_default();
        let is_in =
            |ranges: &[RangeInclusive<u32>], number| ranges.iter().any(|range| range.contains(&number));
        if groups.len() > MOST_GROUPS {
            return Err(Refusal::TooManyGroups(groups.len()));
        }
        if user != rights.user {
            if !rights.takes_users {
                return Err(Refusal::User(user));
            }
            if !rights.signals_users {
                return Err(Refusal::UserSignals(user));
            }
            if !is_in(&rights.users, user) {
                return Err(Refusal::UserOutside(user));
            }
        }
        if group != rights.group {
            if !rights.takes_groups {
                return Err(Refusal::Group(group));
            }
            if !is_in(&rights.known_groups, group) {
                return Err(Refusal::GroupOutside(group));
            }
        }
        if identity.groups.is_none() {
            return Ok(identity);
        }
        if !rights.sets_groups {
            let has = |needed: &u32| *needed == group || rights.groups.contains(needed);
            if let Some(lacking) = groups.iter().find(|needed| !has(needed)) {
                return Err(Refusal::Supplementary(*lacking));
            }
            identity.groups = None;
        } else if let Some(outside) = groups.iter().find(|group| !is_in(&rights.known_groups, **group)) {
            return Err(Refusal::GroupOutside(*outside));
        }
        Ok(identity)
    }
}

/// What a login sets. A user without an entry has its number as its name, and `/` as its home directory.
fn login(entry: Option<&User>, user: u32) -> Login {
    match entry {
        Some(User { name, home, .. }) => Login {
            name: name.clone(),
            home: home.clone(),
        },
        None => Login {
            name: Word::from(format!("{user}").as_str()),
            home: "/".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, number: u32, group: u32) -> User {
        User {
            name: name.into(),
            number,
            group,
            home: Word::from(format!("/home/{name}").as_str()),
        }
    }

    fn group(name: &str, number: u32, members: &[&str]) -> Group {
        Group {
            name: name.into(),
            number,
            members: members.iter().map(|member| Word::from(*member)).collect(),
        }
    }

    fn root() -> Rights {
        Rights {
            user: 0,
            group: 0,
            groups: Vec::from([0]),
            takes_users: true,
            takes_groups: true,
            sets_groups: true,
            signals_users: true,
            users: Vec::from([0..=u32::MAX]),
            known_groups: Vec::from([0..=u32::MAX]),
        }
    }

    /// The shim runs as `app` and may do nothing else.
    fn app() -> Rights {
        Rights {
            user: 1000,
            group: 1000,
            groups: Vec::from([50, 1000]),
            takes_users: false,
            takes_groups: false,
            sets_groups: false,
            signals_users: false,
            ..root()
        }
    }

    fn accounts(rights: Rights) -> Accounts {
        let users = [
            user("root", 0, 0),
            user("app", 1000, 1000),
            user("web", 33, 33),
            user("app", 7, 7),
        ];
        let groups = [
            group("root", 0, &[]),
            group("app", 1000, &[]),
            group("staff", 50, &["web", "app"]),
            group("audio", 29, &["web", "web"]),
        ];
        Accounts::new(users, groups, rights)
    }

    fn text(name: &str) -> Option<Name> {
        Some(Name::Text(name.into()))
    }

    fn resolved(rights: Rights, user: Option<Name>, group: Option<Name>) -> Result<Identity, Refusal> {
        accounts(rights).resolve(&Request { user, group })
    }

    fn numbers(identity: &Identity) -> (u32, u32, Option<&[u32]>) {
        (identity.user, identity.group, identity.groups.as_deref())
    }

    fn variables(identity: &Identity) -> Option<(String, String)> {
        let login = identity.login.as_ref()?;
        Some((format!("{}", login.name), format!("{}", login.home)))
    }

    #[test]
    fn a_user_has_the_groups_of_the_databases_by_name_and_by_number() {
        for name in [text("web"), Some(Name::Number(33))] {
            let identity = resolved(root(), name, None).unwrap();
            assert_eq!(numbers(&identity), (33, 33, Some(&[29, 33, 50][..])));
            assert_eq!(variables(&identity), Some(("web".into(), "/home/web".into())));
        }
    }

    #[test]
    fn a_group_replaces_the_users_own_and_keeps_the_supplementary_ones() {
        let identity = resolved(root(), text("web"), text("app")).unwrap();
        assert_eq!(numbers(&identity), (33, 1000, Some(&[29, 50, 1000][..])));
    }

    #[test]
    fn a_group_alone_changes_nothing_else() {
        let identity = resolved(root(), None, text("staff")).unwrap();
        assert_eq!(numbers(&identity), (0, 50, None));
        assert_eq!(variables(&identity), None);
    }

    #[test]
    fn a_number_without_an_entry_needs_a_group_and_has_no_others() {
        let unknown = Some(Name::Number(4711));
        assert_eq!(
            resolved(root(), unknown.clone(), None),
            Err(Refusal::NoOwnGroup(4711))
        );
        let identity = resolved(root(), unknown, Some(Name::Number(8))).unwrap();
        assert_eq!(numbers(&identity), (4711, 8, Some(&[][..])));
        assert_eq!(variables(&identity), Some(("4711".into(), "/".into())));
    }

    #[test]
    fn the_first_of_two_entries_counts() {
        assert_eq!(resolved(root(), text("app"), None).unwrap().user, 1000);
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!(resolved(root(), text("ghost"), None), Err(Refusal::NoUser));
        assert_eq!(
            resolved(root(), text("web"), text("ghosts")),
            Err(Refusal::NoGroup)
        );
        assert_eq!(resolved(root(), text("33"), None), Err(Refusal::NoUser));
    }

    #[test]
    fn without_rights_only_the_shims_own_user_and_group_can_be_used() {
        let own = resolved(app(), text("app"), None).unwrap();
        assert_eq!(numbers(&own), (1000, 1000, None), "its groups are there already");
        assert_eq!(resolved(app(), text("web"), None), Err(Refusal::User(33)));
        assert_eq!(
            resolved(app(), text("app"), text("staff")),
            Err(Refusal::Group(50))
        );
        assert_eq!(resolved(app(), None, text("staff")), Err(Refusal::Group(50)));
        assert!(resolved(app(), None, text("app")).is_ok());
        let fewer = Rights {
            groups: Vec::new(),
            ..app()
        };
        assert_eq!(
            resolved(fewer, text("app"), None),
            Err(Refusal::Supplementary(50))
        );
    }

    #[test]
    fn a_user_whose_processes_could_not_be_stopped_is_refused() {
        let rights = Rights {
            signals_users: false,
            ..root()
        };
        assert_eq!(
            resolved(rights.clone(), text("web"), None),
            Err(Refusal::UserSignals(33))
        );
        assert!(resolved(rights, text("root"), None).is_ok());
    }

    #[test]
    fn numbers_outside_the_user_namespace_are_refused() {
        let rights = Rights {
            users: Vec::from([0..=0, 33..=33]),
            known_groups: Vec::from([0..=33, 50..=50]),
            ..root()
        };
        let rights = || rights.clone();
        assert!(resolved(rights(), text("web"), None).is_ok());
        assert_eq!(
            resolved(rights(), text("app"), None),
            Err(Refusal::UserOutside(1000))
        );
        assert_eq!(
            resolved(rights(), text("web"), text("app")),
            Err(Refusal::GroupOutside(1000))
        );
        let without_audio = Rights {
            known_groups: Vec::from([33..=33, 50..=50]),
            ..rights()
        };
        assert_eq!(
            resolved(without_audio, text("web"), None),
            Err(Refusal::GroupOutside(29))
        );
    }

    #[test]
    fn more_groups_than_the_kernel_takes_are_refused() {
        let most = u32::try_from(MOST_GROUPS).unwrap();
        let of = |count: u32| {
            let groups = (0..count).map(|number| group("g", number, &["web"]));
            let accounts = Accounts::new([user("web", 33, 0)], groups, root());
            accounts.resolve(&Request {
                user: text("web"),
                group: None,
            })
        };
        assert!(of(most).is_ok());
        assert_eq!(of(most + 1), Err(Refusal::TooManyGroups(MOST_GROUPS + 1)));
    }

    #[test]
    fn a_refusal_names_what_the_shim_lacks() {
        for (refusal, needed) in [
            (Refusal::User(33), "CAP_SETUID"),
            (Refusal::Group(33), "CAP_SETGID"),
            (Refusal::Supplementary(33), "CAP_SETGID"),
            (Refusal::UserSignals(33), "CAP_KILL"),
        ] {
            assert!(refusal.needs().unwrap().contains(needed));
        }
    }
}
