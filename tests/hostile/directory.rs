//! A catalogue folder whose file system hangs, or that contains files of other programs.

use crate::observed::{Hostile, Observed};
use crate::slowness;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A separate file system that can be frozen: a process that writes to it then hangs in the kernel.
struct Volume {
    folder: TempDir,
}

impl Volume {
    fn mount() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let volume = Self { folder };
        let image = volume.folder.path().join("image");
        let file = fs::File::create(&image).expect("an image");
        file.set_len(16 << 20).expect("an image of 16 MiB");
        fs::create_dir(volume.path()).expect("a mount point");
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(volume.path()));
        volume
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Freezes the file system as long as the returned value exists. A process that hangs in it cannot end
    /// before.
    fn freeze(&self) -> Frozen {
        run(Command::new("fsfreeze").arg("--freeze").arg(self.path()));
        Frozen(self.path())
    }
}

struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        Command::new("fsfreeze")
            .arg("--unfreeze")
            .arg(&self.0)
            .output()
            .ok();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // The file system may not be frozen; processes that still use it end soon.
        Command::new("fsfreeze")
            .arg("--unfreeze")
            .arg(self.path())
            .output()
            .ok();
        Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .output()
            .ok();
    }
}

/// Runs a command that must succeed.
fn run(command: &mut Command) {
    let output = command.output().expect("the command can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} (as root): {error}");
}

fn observed(volume: &Volume) -> Observed {
    let catalogue = format!(r#""directory": "{}""#, volume.path().display());
    let observed = Observed::start(&Hostile {
        catalogue: Some(&catalogue),
        sections: r#", "backends": [{"name": "observed", "poll": 1, "onChange": "true"}]"#,
        ..Hostile::default()
    });
    observed.program.until_logged("Service registered: observed");
    observed
}

fn entry(volume: &Volume) -> Option<fs::DirEntry> {
    let entries = fs::read_dir(volume.path().join("observed")).ok()?;
    entries
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().ends_with(".json"))
}

#[test]
fn a_frozen_file_system_delays_neither_checks_nor_the_stop() {
    let volume = Volume::mount();
    let mut observed = observed(&volume);
    let frozen = volume.freeze();
    observed.program.until_logged("no answer within 1s");
    observed.until_starts(3);
    let slow = slowness();
    let lateness = observed.lateness(3);
    assert!(lateness < Duration::from_millis(100) * slow, "{lateness:?}");
    let (status, took) = observed.get("/status");
    assert_eq!(status.map(|status| status.status), Some(200));
    assert!(took < Duration::from_millis(100) * slow, "{took:?}");
    assert!(observed.threads() <= 3, "{}", observed.threads());
    // One request of one second, which is the service's poll.
    let took = observed.terminate();
    // The kernel keeps a process until its last system call ends, so its end is visible only now.
    drop(frozen);
    assert!(took < Duration::from_millis(2_500) * slow, "{took:?}");
    assert_eq!(observed.program.code(), 0);
}

#[test]
fn after_a_frozen_file_system_thaws_the_service_is_registered_again() {
    let volume = Volume::mount();
    let observed = observed(&volume);
    let frozen = volume.freeze();
    observed.program.until_logged("no answer within 1s");
    drop(frozen);
    let before = fs::metadata(entry(&volume).unwrap().path())
        .unwrap()
        .modified()
        .unwrap();
    observed.program.until("heartbeats go on", |_| {
        let entry = entry(&volume).and_then(|entry| entry.metadata().ok());
        entry.is_some_and(|entry| entry.modified().unwrap() > before + Duration::from_secs(1))
    });
    observed.terminate();
    observed
        .program
        .until("it has left", |_| entry(&volume).is_none());
}
