//! All services of the folder with their tags: those of which an entry is valid. They are read from all files each time,
//! because the files have the names; names of folders are never decoded.

use super::file::{self, FileContent};
use super::fingerprint::Fingerprint;
use super::folders::{Folders, failed};
use super::worker::IsAbandoned;
use crate::adapters::discovery::values::Services;
use crate::ports::CatalogueError;
use domain::catalogue::{Cursor, Data, Found};
use domain::time::Duration;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The most files in all folders of services together that are read for the list of all services (docs/bounds.md)
const MOST_ENTRIES: usize = 20_000;
/// Their bytes together (docs/bounds.md)
const LARGEST: usize = 16 * 1024 * 1024;

/// The services at one time.
pub(super) struct AllServices {
    pub found: Found,
    /// How long until the next entry expires; `None` if no entry is valid.
    pub expiry: Option<Duration>,
}

impl AllServices {
    /// Reads the files of all services.
    ///
    /// # Errors
    /// A folder or a file cannot be read at present, a limit is exceeded, or the request was cancelled.
    pub fn read(folders: &Folders, is_abandoned: IsAbandoned<'_>) -> Result<Self, CatalogueError> {
        let now = folders.now()?;
        let unread = |folder: &Path, error: &io::Error| failed("read", folder, error);
        let (mut services, mut expiry) = (Services::default(), None);
        let (mut files, mut size) = (0, 0);
        let names = file::names(&folders.path).map_err(|error| unread(&folders.path, &error))?;
        for folder in names.iter().map(|name| folders.path.join(name)) {
            let entries = match file::names(&folder) {
                Err(error) if error.kind() == ErrorKind::NotADirectory => continue,
                entries => entries.map_err(|error| unread(&folder, &error))?,
            };
            files += entries.len();
            for entry in entries {
                if is_abandoned() {
                    return Err(unread(&folder, &ErrorKind::Interrupted.into()));
                }
                let read = file::read_any(&folder, &entry).map_err(|error| unread(&folder, &error))?;
                size += read.1;
                if files > MOST_ENTRIES || size > LARGEST {
                    let limits = format!("{MOST_ENTRIES} files or {} MiB", LARGEST / 1024 / 1024);
                    let error = io::Error::other(format!("all services have more than {limits}"));
                    return Err(unread(&folders.path, &error));
                }
                let FileContent::Entry(entry) = read.0 else {
                    continue;
                };
                if let Some(left) = entry.remaining(&now) {
                    expiry = Some(expiry.map_or(left, |earlier: Duration| earlier.min(left)));
                    services.add(entry.name.clone(), entry.tags().iter().cloned())?;
                }
            }
        }
        Ok(Self {
            found: found(services.data()),
            expiry,
        })
    }
}

/// The services with a cursor that is the same for the same services in every process.
fn found(data: Data) -> Found {
    let mut sum = Fingerprint::new();
    if let Data::Services(services) = &data {
        for (name, tags) in services {
            sum = sum.with(name.as_bytes()).with(&(tags.len() as u64).to_le_bytes());
            sum = tags.iter().fold(sum, |sum, tag| sum.with(tag.as_bytes()));
        }
    }
    Found {
        data,
        cursor: Some(Cursor(sum.short())),
        filtered: false,
    }
}
