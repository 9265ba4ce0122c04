//! The section `control` (docs/control.md): the socket to which clients send their requests.

use super::error::ControlError;
use crate::config::Target;
use crate::config::keys::{Section, group, string};
use crate::config::problem::Problems;
use crate::config::tree::{Data, Value};
use domain::plan::ControlSocket;

/// The path if the section names none, as in ContainerPilot 3.
const DEFAULT: &str = "/var/run/containerpilot.socket";
/// The longest path of a socket, in bytes: the limit of the kernel. (docs/bounds.md)
const LONGEST_PATH: usize = 107;

/// Reads the section.
pub fn read(value: &Value<'_>, target: &Target<'_>, problems: &mut Problems<'_>) -> Option<ControlSocket> {
    let mut section = Section::open(value, "an object", problems)?;
    let path = match section.take("socket") {
        Some(value) => path(value, problems),
        None => Some(DEFAULT.into()),
    };
    let group = match section.take("group") {
        Some(value) => group(value, target, problems).map(Some),
        None => Some(None),
    };
    section.close(problems);
    Some(ControlSocket {
        path: path?,
        group: group?,
    })
}

fn path(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let text = string(value, problems)?;
    let fits = text.starts_with('/') && text.len() <= LONGEST_PATH && !text.contains('\0');
    if !fits {
        let allowed = format!("an absolute path of at most {LONGEST_PATH} bytes");
        problems.wrong(value, ControlError::Path, &allowed);
    }
    fits.then(|| text.to_owned())
}

/// The path of the socket in a configuration that may have errors elsewhere. `None` if there is no section.
pub fn socket_of(root: &Value<'_>) -> Option<String> {
    let control = member(root, "control").filter(|value| !value.is_null())?;
    let socket = member(control, "socket").and_then(Value::string);
    Some(socket.unwrap_or(DEFAULT).to_owned())
}

/// The value of a key; the last one counts.
fn member<'v>(value: &'v Value<'v>, key: &str) -> Option<&'v Value<'v>> {
    let Data::Object(members) = &value.data else {
        return None;
    };
    let mut named = members.iter().filter(|member| member.key == key);
    named.next_back().map(|member| &member.value)
}
