//! Looks for programs in the file system as the start of a child does, without starting one.

use crate::adapters::processes::program_files;
use crate::ports::{NotExecutable, Programs};
use domain::plan::Word;
use nix::unistd::{AccessFlags, access};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The programs that this process can execute.
#[derive(Clone, Copy, Debug)]
pub struct MachinePrograms;

impl Programs for MachinePrograms {
    fn find(&self, program: &Word) -> Result<(), NotExecutable> {
        let name = CString::new(program.0.clone()).map_err(|_| NotExecutable::NotFound)?;
        let files = program_files(&name).unwrap_or_default();
        let existing: Vec<&Path> = files
            .iter()
            .map(|file| path(file))
            .filter(|path| path.exists())
            .collect();
        let is_executable = |path: &&Path| path.is_file() && access(*path, AccessFlags::X_OK).is_ok();
        match existing.first() {
            _ if existing.iter().any(is_executable) => Ok(()),
            Some(path) => Err(NotExecutable::NotPermitted(path.display().to_string())),
            None => Err(NotExecutable::NotFound),
        }
    }
}

fn path(file: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(file.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_path_or_by_its_path_and_has_to_be_executable() {
        let find = |program: &str| MachinePrograms.find(&Word::from(program));
        assert_eq!(find("sh"), Ok(()));
        assert_eq!(find("/bin/sh"), Ok(()));
        assert_eq!(find("no-such-program"), Err(NotExecutable::NotFound));
        assert_eq!(find("/nowhere/sh"), Err(NotExecutable::NotFound));
        assert_eq!(find("a\0b"), Err(NotExecutable::NotFound));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        for path in [folder.path(), &file] {
            let path = path.display().to_string();
            assert_eq!(find(&path), Err(NotExecutable::NotPermitted(path.clone())));
        }
    }
}
