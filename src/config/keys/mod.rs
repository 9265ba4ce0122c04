//! Readers of values that every front end needs: objects with known keys, lists, numbers, durations,
//! commands, addresses and IDs. The front end decides what each key means.

pub mod command;
pub mod duration;
mod id;
mod identity;
mod interfaces;
mod section;
pub mod url;
mod values;

pub use id::{default_id, written_id};
pub use identity::{group, identity};
pub use interfaces::interfaces;
pub use section::{Section, nearest};
pub use values::{boolean, integer, list, string, strings, tags, text};

use crate::config::problem::{Elsewhere, Message};
use crate::config::tree::shortened;
use crate::ports::NotExecutable;
use domain::identity::Refusal;
use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::net::IpAddr;

/// The errors of the readers.
pub enum Error<'a> {
    /// An object is needed.
    NotAnObject,
    /// A list is needed.
    NotAList,
    /// The list has too many elements; their number.
    LongList(usize),
    /// A string is needed.
    NotAString,
    /// A boolean is needed.
    NotABoolean,
    /// A whole number is needed.
    NotAWholeNumber,
    /// A command is needed.
    NotACommand,
    /// A word of a command is needed.
    NotAWord,
    /// The key is unknown.
    UnknownKey {
        /// The name.
        key: &'a str,
        /// The known keys.
        known: &'a [&'static str],
    },
    /// An invalid duration. The first field is the beginning of the sentence.
    Duration(&'a dyn Display, duration::Error<'a>),
    /// More seconds than a duration can have. The fields are the beginning of the sentence, the seconds, and
    /// the allowed values.
    TooManySeconds(&'a dyn Display, u64, &'a str),
    /// An invalid interface specification.
    Specification(domain::address::SpecificationError),
    /// No specification matches an address; the names of the existing interfaces.
    NoAddress(domain::address::NoMatch, BTreeSet<String>),
    /// The addresses of this machine cannot be read.
    NoInterfaces(std::io::Error),
    /// An object for a command without `command`.
    NoCommand,
    /// A time limit in the command's object and one beside the command.
    TwoLimits,
    /// An empty name of a user or group.
    NoName,
    /// A number that no user or group can have.
    OutOfRange,
    /// The users and groups of this machine cannot be read.
    NoAccounts(std::io::Error),
    /// A user or group that cannot be used; the name that was probably meant.
    Identity(Refusal, Option<String>),
    /// An ID that no catalogue accepts; the first field is its owner.
    UnusableId(&'a dyn Display),
    /// The host's name is unknown, and the ID needs it.
    NoHostname,
    /// The host's name cannot be a part of an ID.
    BadHostname(&'a str),
}

impl Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("Could not parse configuration"),
            Self::NotAList => f.write_str("not a list"),
            Self::LongList(length) => {
                let most = values::LONGEST_LIST;
                write!(f, "a list of {length} elements, allowed are {most} at the most")
            }
            Self::NotAString => f.write_str("not a string"),
            Self::NotABoolean => f.write_str("not a boolean"),
            Self::NotAWholeNumber => f.write_str("not a whole number"),
            Self::NotACommand => f.write_str("not a command"),
            Self::NotAWord => f.write_str("not a word of a command"),
            Self::UnknownKey { key, .. } => write!(f, "unknown key `{}`", shortened(key)),
            Self::Duration(subject, error) => write!(f, "{subject}: {error}"),
            Self::TooManySeconds(subject, seconds, allowed) => {
                let most = duration::MOST_SECONDS;
                write!(
                    f,
                    "{subject} must be <= {most}: found {seconds}, allowed is {allowed}"
                )
            }
            Self::Specification(error) => write!(f, "{error}, allowed are {}", interfaces::SPECIFICATIONS),
            Self::NoAddress(error, _) => {
                let sentence = error.to_string();
                f.write_str(sentence.lines().next().unwrap_or_default())
            }
            Self::NoInterfaces(error) => write!(f, "the network interfaces cannot be read: {error}"),
            Self::UnusableId(subject) => write!(f, "`id` cannot be used in {subject}"),
            Self::NoCommand => f.write_str("an object for a command needs the key `command`"),
            Self::TwoLimits => {
                f.write_str("`timeout` is given twice: in the object of the command, and beside it")
            }
            Self::NoName => f.write_str("an empty name"),
            Self::OutOfRange => f.write_str("out of range"),
            Self::NoAccounts(error) => {
                write!(f, "the users and groups of this machine cannot be read: {error}")
            }
            Self::Identity(refusal, _) => write!(f, "{refusal}"),
            Self::NoHostname => {
                f.write_str("the host's name, which is part of the service's ID, cannot be read")
            }
            Self::BadHostname(name) => {
                write!(f, "the host's name {name:?} cannot be part of the service's ID")
            }
        }
    }
}

impl Message for Error<'_> {
    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key, known } => Some(section::hint(key, known)),
            Self::NoAddress(_, names) => Some(match names.is_empty() {
                true => "there is no interface with an address here".into(),
                false => {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    format!("the interfaces here are {}", names.join(", "))
                }
            }),
            Self::Identity(refusal, meant) => match (meant, refusal.needs()) {
                (Some(meant), _) => Some(format!("did you mean `{meant}`?")),
                (None, needed) => needed.map(str::to_owned),
            },
            Self::NoHostname | Self::BadHostname(_) => Some("give the service an `id` of its own".into()),
            _ => None,
        }
    }

    /// Lists the specifications and the addresses that were found.
    fn details(&self) -> Option<String> {
        match self {
            Self::NoAddress(error, _) => error.to_string().split_once('\n').map(|(_, rest)| rest.into()),
            _ => None,
        }
    }
}

/// Warnings of the readers.
pub enum Warning<'a> {
    /// The command contains this text, which only a shell would interpret.
    Shell(&'a str),
    /// The key is given a second time; the offset of the first one.
    GivenAgain(&'a str, usize),
    /// A program that cannot be executed here, and why.
    NotExecutable(String, NotExecutable),
    /// An address that no interface of this machine has.
    ForeignAddress(IpAddr),
}

impl Display for Warning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell(operator) => write!(
                f,
                "the command has {operator} in it, but there is no shell: it is cut at spaces and passed on as it is"
            ),
            Self::GivenAgain(key, _) => {
                let key = shortened(key);
                write!(f, "`{key}` is given more than once, and this one does not count")
            }
            Self::NotExecutable(program, NotExecutable::NotFound) if program.contains('/') => {
                write!(f, "there is no program `{}`", shortened(program))
            }
            Self::NotExecutable(program, NotExecutable::NotFound) => {
                write!(f, "there is no program `{}` in PATH", shortened(program))
            }
            Self::NotExecutable(_, NotExecutable::NotPermitted(path)) => {
                write!(f, "`{}` is not a file that can be executed", shortened(path))
            }
            Self::ForeignAddress(address) => {
                write!(f, "no interface of this machine has the address {address}")
            }
        }
    }
}

impl Message for Warning<'_> {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Shell(_) => Some("use [\"sh\", \"-c\", \"...\"] for a shell".into()),
            Self::GivenAgain(..) => None,
            Self::NotExecutable(..) => {
                Some("it has to exist when the command is run; a check in the image finds what a check elsewhere does not".into())
            }
            Self::ForeignAddress(_) => Some("that is right if another machine forwards it to this one".into()),
        }
    }

    fn elsewhere(&self) -> Option<Elsewhere> {
        match self {
            Self::Shell(_) | Self::NotExecutable(..) | Self::ForeignAddress(_) => None,
            Self::GivenAgain(_, offset) => Some(Elsewhere {
                words: "the one that counts is in line",
                offset: *offset,
            }),
        }
    }
}
