//! Tests of the directory alone; `tests/catalogue.rs` has the tests that all catalogues share.

use super::entry::{BootTime, DirectoryEntry};
use super::*;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::rc::Rc;
use tempfile::{TempDir, tempdir};
use tokio::task::{LocalSet, spawn_local};

const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(500);
const PROMPTLY: Duration = Duration::from_secs(10);
const NO_PORTS: [u16; 0] = [];

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(test))
}

fn instance(number: u16) -> Registration {
    Registration {
        id: format!("app-{number}"),
        name: "app".into(),
        address: [192, 0, 2, 1].into(),
        port: number,
        tags: Vec::new(),
        ttl: LONG,
        enable_tag_override: false,
        deregister_critical_after: None,
        attributes: Box::default(),
    }
}

fn query(after: Option<Cursor>, wait: Duration) -> Query {
    Query {
        service: "app".into(),
        after,
        wait,
        ..Default::default()
    }
}

fn at_once() -> Query {
    query(None, Duration::ZERO)
}

fn home() -> (TempDir, Directory) {
    let home = tempdir().unwrap();
    let directory = Directory::new(home.path().join("catalogue"));
    (home, directory)
}

impl Directory {
    fn write_now(&self, registration: &Registration) -> Result<(), CatalogueError> {
        self.folders.write(registration, &self.folders.now()?)
    }

    fn folder(&self, service: &str) -> PathBuf {
        self.folders.folder(service)
    }

    /// A shim with the same folder that read this boot ID.
    fn of_boot(&self, boot: Option<&str>) -> Self {
        let mut folders = Folders::new(&self.folders.path);
        folders.boot = boot.map(str::to_owned);
        Self::of(folders)
    }
}

fn ports(directory: &Directory) -> Vec<u16> {
    ports_of(&directory.folders.list(&at_once()).unwrap())
}

fn ports_of(listing: &Listing) -> Vec<u16> {
    listing.instances.iter().map(|instance| instance.port).collect()
}

/// All files in the service's folder.
fn files(directory: &Directory) -> Vec<String> {
    let files = fs::read_dir(directory.folder("app")).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn is_renewed(directory: &Directory, number: u16) -> bool {
    run(directory.renew(&instance(number))).unwrap() == Renewal::Renewed
}

#[test]
fn an_entry_is_a_file_of_readable_json() {
    let (_home, directory) = home();
    run(directory.register(&instance(1))).unwrap();
    assert_eq!(files(&directory), ["app-1.json"]);
    let text = fs::read(directory.folder("app").join("app-1.json")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(value["address"], "192.0.2.1");
    assert_eq!(value["ttl_milliseconds"], 60_000);
    assert!(value["expires"]["milliseconds_since_boot"].as_u64().unwrap() > 60_000);
}

#[test]
fn a_deregistration_leaves_no_file() {
    let (_home, directory) = home();
    run(async {
        directory.register(&instance(1)).await.unwrap();
        directory.renew(&instance(1)).await.unwrap();
        directory.deregister(&instance(1)).await.unwrap();
    });
    assert_eq!(files(&directory), Vec::<String>::new());
}

#[test]
fn a_crash_before_the_rename_leaves_no_instance() {
    let (_home, directory) = home();
    directory.write_now(&instance(1)).unwrap();
    let folder = directory.folder("app");
    let whole = fs::read(folder.join("app-1.json")).unwrap();
    let now = directory.folders.now().unwrap();
    fs::write(folder.join(format!(".{}-1-0.draft", now.milliseconds)), whole).unwrap();
    fs::remove_file(folder.join("app-1.json")).unwrap();
    assert_eq!(ports(&directory), NO_PORTS);
    assert!(!is_renewed(&directory, 1));
}

#[test]
fn a_failed_write_leaves_the_old_entry_and_no_temporary_file() {
    let (_home, directory) = home();
    directory.write_now(&instance(1)).unwrap();
    let full = file::replace(
        &directory.folder("app"),
        "app-1.json",
        &directory.folders.now().unwrap(),
        |draft| {
            draft.write_all(b"{\"id\":")?;
            Err(io::ErrorKind::StorageFull.into())
        },
    );
    assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(files(&directory), ["app-1.json"]);
    assert_eq!(ports(&directory), [1]);
}

#[test]
fn a_failed_rename_is_an_error_and_leaves_no_temporary_file() {
    let (_home, directory) = home();
    fs::create_dir_all(directory.folder("app").join("app-1.json").join("in-the-way")).unwrap();
    let error = run(directory.register(&instance(1))).unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
    assert_eq!(files(&directory), ["app-1.json"]);
}

#[test]
fn a_file_that_is_not_an_entry_is_skipped() {
    let (_home, directory) = home();
    directory.write_now(&instance(1)).unwrap();
    let folder = directory.folder("app");
    let whole = fs::read(folder.join("app-1.json")).unwrap();
    fs::write(folder.join("half.json"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.join("empty.json"), b"").unwrap();
    fs::write(folder.join("another-name.json"), &whole).unwrap();
    fs::write(folder.join("README"), b"\xff\xfe").unwrap();
    fs::write(folder.join("huge.json"), vec![b' '; 1 << 20]).unwrap();
    fs::create_dir(folder.join("folder.json")).unwrap();
    directory.write_now(&instance(9)).unwrap();
    fs::rename(
        folder.join("app-9.json"),
        directory.folders.path.join("elsewhere"),
    )
    .unwrap();
    symlink("../elsewhere", folder.join("app-9.json")).unwrap();
    nix::unistd::mkfifo(&folder.join("pipe.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(folder.join("socket.json")).unwrap();
    let port = String::from_utf8(whole)
        .unwrap()
        .replace(r#""port":1"#, r#""port":70000"#);
    fs::write(folder.join("0-port.json"), port).unwrap();
    let listing = directory.folders.list(&at_once()).unwrap();
    assert_eq!(ports_of(&listing), [1]);
    assert_eq!(listing.skipped.count, 10);
    let beginning = format!(
        "{}/0-port.json: not an entry: the port is 70000",
        folder.display()
    );
    assert!(
        listing.skipped.example.starts_with(&beginning),
        "{}",
        listing.skipped.example
    );
    drop(socket);
}

#[test]
fn a_folder_with_too_many_files_is_an_error_and_the_loop_continues_meanwhile() {
    run(async {
        let (_home, directory) = home();
        directory.write_now(&instance(1)).unwrap();
        let folder = directory.folder("app");
        for number in 1..file::MOST_FILES {
            fs::write(folder.join(format!("other-{number}")), b"").unwrap();
        }
        let question = at_once();
        let asked = directory.instances(&question);
        let mut asked = std::pin::pin!(asked);
        let mut turns = 0_u32;
        let listing = loop {
            match timeout(Duration::from_millis(1), &mut asked).await {
                Some(listing) => break listing.unwrap(),
                None => turns += 1,
            }
        };
        assert!(turns > 0, "it took some time, and not the loop's");
        assert_eq!(
            (ports_of(&listing), listing.skipped.count),
            (vec![1], file::MOST_FILES - 1)
        );
        fs::write(folder.join("one-more"), b"").unwrap();
        let error = directory.instances(&at_once()).await.unwrap_err().to_string();
        assert!(error.ends_with("it holds more than 20000 files"), "{error}");
    });
}

#[test]
fn a_folder_with_too_many_bytes_is_an_error() {
    let (_home, directory) = home();
    for number in 1..=64 {
        let large = Registration {
            tags: vec!["t".repeat(255 * 1024)],
            ..instance(number)
        };
        directory.write_now(&large).unwrap();
    }
    assert_eq!(ports(&directory).len(), 64);
    for number in 65..=66 {
        let large = Registration {
            tags: vec!["t".repeat(255 * 1024)],
            ..instance(number)
        };
        directory.write_now(&large).unwrap();
    }
    let error = directory.folders.list(&at_once()).unwrap_err().to_string();
    assert!(error.ends_with("its files hold more than 16 MiB"), "{error}");
}

#[test]
fn an_entry_of_another_service_is_ignored() {
    let (_home, directory) = home();
    directory.write_now(&instance(1)).unwrap();
    let other = directory.folder("other");
    fs::create_dir(&other).unwrap();
    fs::copy(
        directory.folder("app").join("app-1.json"),
        other.join("app-1.json"),
    )
    .unwrap();
    let question = Query {
        service: "other".into(),
        ..at_once()
    };
    assert_eq!(directory.folders.list(&question).unwrap().instances, []);
}

#[test]
fn an_address_is_a_host_name_or_an_ip_address() {
    let (_home, directory) = home();
    directory.write_now(&instance(1)).unwrap();
    let file = directory.folder("app").join("app-1.json");
    let text = fs::read_to_string(&file).unwrap();
    let long = "x".repeat(254);
    for (address, expected) in [
        ("db.example", Some("db.example")),
        ("2001:DB8::0001", Some("2001:db8::1")),
        ("", None),
        ("a b", None),
        ("a\\n", None),
        (&long, None),
    ] {
        fs::write(&file, text.replace("192.0.2.1", address)).unwrap();
        let listing = directory.folders.list(&at_once()).unwrap();
        let found = listing
            .instances
            .first()
            .map(|instance| instance.address.as_str());
        assert_eq!(found, expected, "{address}");
        assert_eq!(listing.skipped.count, usize::from(expected.is_none()));
    }
}

#[test]
fn a_foreign_file_under_our_name_is_unknown_and_registering_replaces_it() {
    let (_home, directory) = home();
    directory.write_now(&instance(1)).unwrap();
    fs::write(directory.folder("app").join("app-1.json"), b"{").unwrap();
    assert!(!is_renewed(&directory, 1));
    assert_eq!(ports(&directory), NO_PORTS);
    run(directory.register(&instance(1))).unwrap();
    assert!(is_renewed(&directory, 1));
    assert_eq!(ports(&directory), [1]);
}

#[test]
fn of_two_writers_the_last_one_wins_and_the_other_gets_unknown() {
    let (_home, one) = home();
    let other = Directory::new(&one.folders.path);
    let moved = Registration {
        port: 9,
        ..instance(1)
    };
    run(one.register(&instance(1))).unwrap();
    run(other.register(&moved)).unwrap();
    assert_eq!(ports(&one), [9]);
    assert!(!is_renewed(&one, 1));
    assert_eq!(run(other.renew(&moved)), Ok(Renewal::Renewed));
    assert_eq!(ports(&one), [9]);
}

#[test]
fn an_entry_of_another_boot_is_expired() {
    let (_home, directory) = home();
    let before = directory.of_boot(Some("an earlier boot"));
    before.write_now(&instance(1)).unwrap();
    assert_eq!(ports(&before), [1]);
    assert_eq!(ports(&directory), NO_PORTS);
    assert!(!is_renewed(&directory, 1));
}

#[test]
fn without_a_boot_id_the_directory_catalogue_fails() {
    let (_home, directory) = home();
    let unknown = directory.of_boot(None);
    let error = run(unknown.register(&instance(1))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the ID of this boot, /proc/sys/kernel/random/boot_id, cannot be read, which the directory catalogue needs"
    );
    assert!(run(unknown.instances(&at_once())).is_err());
}

#[test]
fn an_entry_is_valid_up_to_its_last_millisecond() {
    let at = |milliseconds| BootTime {
        boot: "b",
        milliseconds,
    };
    let entry = DirectoryEntry::new(&instance(1), &at(1000));
    assert_eq!(entry.remaining(&at(1000)), Some(LONG));
    assert_eq!(entry.remaining(&at(60_999)), Some(Duration::from_millis(1)));
    assert_eq!(entry.remaining(&at(61_000)), None);
    assert!(!entry.is_gone_since(&at(61_000 + 1000), Duration::from_secs(1)));
    assert!(entry.is_gone_since(&at(61_000 + 1001), Duration::from_secs(1)));
}

#[test]
fn registering_removes_old_files_of_other_shims() {
    let (_home, directory) = home();
    let before = directory.of_boot(Some("an earlier boot"));
    before.write_now(&instance(1)).unwrap();
    directory.write_now(&instance(2)).unwrap();
    let short = Registration {
        ttl: Duration::ZERO,
        ..instance(3)
    };
    directory.write_now(&short).unwrap();
    let folder = directory.folder("app");
    let now = directory.folders.now().unwrap().milliseconds;
    let drafts = [now.saturating_sub(70_000), now, now + 1_000_000];
    for draft in drafts {
        fs::write(folder.join(format!(".{draft}-1-0.draft")), b"{").unwrap();
    }
    fs::write(folder.join("README"), b"hands off").unwrap();
    run(directory.register(&instance(4))).unwrap();
    let fresh = format!(".{now}-1-0.draft");
    assert_eq!(
        files(&directory),
        [&fresh, "README", "app-2.json", "app-3.json", "app-4.json"]
    );
}

#[test]
fn a_missing_folder_has_no_instances_and_an_inaccessible_one_is_an_error() {
    let (home, directory) = home();
    assert_eq!(ports(&directory), NO_PORTS);
    fs::write(home.path().join("catalogue"), b"a file in place of the folder").unwrap();
    assert!(directory.folders.list(&at_once()).is_err());
    assert!(run(directory.instances(&query(Some(Cursor(0)), LONG))).is_err());
    assert!(run(directory.renew(&instance(1))).is_err());
    let error = run(directory.register(&instance(1))).unwrap_err();
    assert!(error.to_string().contains("cannot write an entry in"), "{error}");
}

#[test]
fn a_folder_that_may_not_be_read_is_an_error() {
    let (_home, directory) = home();
    directory.write_now(&instance(1)).unwrap();
    let folder = directory.folder("app");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
    let listing = directory.folders.list(&at_once());
    let may_read_all = fs::read_dir(&folder).is_ok();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(
        listing.is_ok(),
        may_read_all,
        "root may read everything, others may not"
    );
}

#[test]
fn folders_have_the_permissions_that_the_umask_allows() {
    let (_home, directory) = home();
    directory.write_now(&instance(1)).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .unwrap();
    let mask = u32::from_str_radix(mask.trim(), 8).unwrap();
    let mode = fs::metadata(directory.folder("app"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o777 & !mask);
}

/// Starts a query that waits for a change, in the background, and returns when it has begun to wait.
async fn waiting(directory: &Rc<Directory>) -> tokio::task::JoinHandle<Listing> {
    let before = directory.folders.list(&at_once()).unwrap().cursor;
    let reader = Rc::clone(directory);
    let asked = spawn_local(async move { reader.instances(&query(before, LONG)).await.unwrap() });
    until_watched(&directory.folder("app")).await;
    asked
}

/// Waits until this process watches a folder or, if the folder does not exist, the nearest existing folder
/// above it.
async fn until_watched(folder: &Path) {
    let place = folder.ancestors().find(|place| place.exists()).unwrap();
    let watch = format!("ino:{:x} ", fs::metadata(place).unwrap().ino());
    let is_watched = || {
        let descriptors = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
        let mut watches = descriptors.filter_map(|entry| fs::read_to_string(entry.path()).ok());
        watches.any(|text| {
            text.lines()
                .any(|line| line.starts_with("inotify ") && line.contains(&watch))
        })
    };
    let look = async {
        while !is_watched() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PROMPTLY, look)
        .await
        .expect("the folder is watched in time");
}

/// Makes a second reader wait for another change. When it is woken, a reader that waited earlier has read the
/// folder, too.
async fn another_reader_is_woken(directory: &Rc<Directory>, number: u16) {
    let elsewhere = Registration {
        name: "elsewhere".into(),
        ..instance(number)
    };
    let mut question = Query {
        service: "elsewhere".into(),
        ..at_once()
    };
    question.after = directory.folders.list(&question).unwrap().cursor;
    question.wait = LONG;
    let reader = Rc::clone(directory);
    let asked = spawn_local(async move { reader.instances(&question).await.unwrap() });
    until_watched(&directory.folder("elsewhere")).await;
    directory.write_now(&elsewhere).unwrap();
    assert!(ports_when_answered(asked).await.contains(&number));
}

async fn ports_when_answered(asked: tokio::task::JoinHandle<Listing>) -> Vec<u16> {
    ports_of(&timeout(PROMPTLY, asked).await.expect("in time").unwrap())
}

#[test]
fn a_reader_that_waits_before_the_folders_exist_gets_their_creation() {
    run(async {
        let home = tempdir().unwrap();
        let path = home.path().join("not").join("there").join("yet");
        let directory = Rc::new(Directory::new(&path));
        let asked = waiting(&directory).await;
        for folder in ["not", "not/there", "not/there/yet", "not/there/yet/app"] {
            fs::create_dir(home.path().join(folder)).unwrap();
            until_watched(&home.path().join(folder)).await;
        }
        directory.write_now(&instance(1)).unwrap();
        assert_eq!(ports_when_answered(asked).await, [1]);
    });
}

#[test]
fn a_reader_follows_a_folder_that_is_removed_and_created_again() {
    run(async {
        let (_home, directory) = home();
        let directory = Rc::new(directory);
        directory.write_now(&instance(1)).unwrap();
        let asked = waiting(&directory).await;
        fs::remove_dir_all(&directory.folders.path).unwrap();
        assert_eq!(ports_when_answered(asked).await, NO_PORTS);
        let asked = waiting(&directory).await;
        fs::create_dir_all(directory.folder("app")).unwrap();
        until_watched(&directory.folder("app")).await;
        fs::remove_dir_all(&directory.folders.path).unwrap();
        until_watched(&directory.folder("app")).await;
        directory.write_now(&instance(2)).unwrap();
        assert_eq!(ports_when_answered(asked).await, [2]);
    });
}

#[test]
fn a_reader_is_woken_when_the_folder_is_moved_away() {
    run(async {
        let (home, directory) = home();
        let directory = Rc::new(directory);
        directory.write_now(&instance(1)).unwrap();
        let asked = waiting(&directory).await;
        fs::rename(directory.folder("app"), home.path().join("away")).unwrap();
        assert_eq!(ports_when_answered(asked).await, NO_PORTS);
    });
}

#[test]
fn a_relative_path_is_watched_too() {
    let watches = Watches::default();
    let watch = watches
        .watcher()
        .start(Path::new("a-folder-that-is-not-there/app"));
    assert!(watch.is_reported());
}

#[test]
fn without_inotify_the_folder_is_polled() {
    run(async {
        let event = timeout(PROMPTLY, Watches::default().next(&FolderWatch::POLLED)).await;
        assert_eq!(event, Some(FolderEvent::Everything));
    });
}

#[test]
fn changes_after_the_start_of_a_watch_are_reported_to_a_later_wait() {
    run(async {
        let (_home, directory) = home();
        directory.write_now(&instance(1)).unwrap();
        let watch = watched(&directory, "app");
        directory.write_now(&instance(2)).unwrap();
        file::remove(&directory.folder("app").join("app-1.json")).unwrap();
        assert_eq!(
            event(&directory, &watch).await,
            files_event(["app-1.json", "app-2.json"])
        );
    });
}

/// Starts a watch of a service as the folder's thread does.
fn watched(directory: &Directory, service: &str) -> FolderWatch {
    directory.watches.watcher().remove_unused();
    let watch = directory.watches.watcher().start(&directory.folder(service));
    assert!(watch.is_reported());
    watch
}

async fn event(directory: &Directory, watch: &FolderWatch) -> FolderEvent {
    timeout(PROMPTLY, directory.watches.next(watch))
        .await
        .expect("in time")
}

fn files_event<const N: usize>(names: [&str; N]) -> FolderEvent {
    FolderEvent::Files(names.map(OsString::from).into())
}

/// What the kernel lists of this process's inotify instance that watches this folder: a line for each watch.
fn instance_that_watches(folder: &Path) -> Vec<String> {
    let watch = format!("ino:{:x} ", fs::metadata(folder).unwrap().ino());
    let descriptors = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts = descriptors.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let instances = texts.map(|text| {
        let watches = text.lines().filter(|line| line.starts_with("inotify "));
        watches.map(str::to_owned).collect::<Vec<_>>()
    });
    let mut those = instances.filter(|watches| watches.iter().any(|line| line.contains(&watch)));
    let one = those.next().unwrap_or_default();
    assert_eq!(those.next(), None, "one instance watches the folder");
    one
}

#[test]
fn all_readers_share_one_instance_in_which_each_folder_is_watched_once() {
    run(async {
        let (_home, directory) = home();
        let directory = Rc::new(directory);
        for service in ["app", "other"] {
            directory.write_now(&of_service(service)).unwrap();
        }
        let one = waiting(&directory).await;
        let two = waiting(&directory).await;
        let all = {
            let before = directory.look_up(&services(None, Duration::ZERO)).await.unwrap();
            let reader = Rc::clone(&directory);
            let look_up = services(before.cursor, LONG);
            spawn_local(async move { reader.look_up(&look_up).await.unwrap() })
        };
        let other = watched(&directory, "other");
        until_watched(&directory.folders.path).await;
        let (root, app, other_place) = (
            instance_that_watches(&directory.folders.path),
            instance_that_watches(&directory.folder("app")),
            instance_that_watches(&directory.folder("other")),
        );
        assert_eq!(root, app);
        assert_eq!(root, other_place);
        assert_eq!(root.len(), 3, "each folder once: {root:?}");
        directory.write_now(&instance(2)).unwrap();
        assert_eq!(ports_when_answered(one).await, [1, 2]);
        assert_eq!(ports_when_answered(two).await, [1, 2]);
        assert!(!all.is_finished(), "an instance of the same service is no change");
        directory.write_now(&of_service("third")).unwrap();
        timeout(PROMPTLY, all).await.expect("in time").unwrap();
        let idle = timeout(Duration::from_millis(100), directory.watches.next(&other)).await;
        assert!(idle.is_none(), "nothing has happened in its folder: {idle:?}");
    });
}

#[test]
fn a_reader_that_goes_leaves_the_watch_of_the_same_folder_to_the_others() {
    run(async {
        let (_home, directory) = home();
        directory.write_now(&instance(1)).unwrap();
        let (first, second) = (watched(&directory, "app"), watched(&directory, "app"));
        drop(first);
        directory.watches.watcher().remove_unused();
        directory.write_now(&instance(1)).unwrap();
        assert_eq!(event(&directory, &second).await, files_event(["app-1.json"]));
        // The last one goes while the thread starts the watch of the next one: tests of `readers` try every order.
        let third = watched(&directory, "app");
        drop(second);
        directory.watches.watcher().remove_unused();
        directory.write_now(&instance(1)).unwrap();
        assert_eq!(event(&directory, &third).await, files_event(["app-1.json"]));
        let elsewhere = directory.watches.watcher().start(&directory.folder("elsewhere"));
        drop(third);
        directory.renew(&instance(1)).await.unwrap();
        let left = instance_that_watches(&directory.folders.path);
        assert_eq!(
            left.len(),
            1,
            "the next request removes the unused watch: {left:?}"
        );
        drop(elsewhere);
    });
}

#[test]
fn two_readers_of_one_folder_may_wait_for_different_things() {
    run(async {
        let (_home, directory) = home();
        directory.write_now(&instance(1)).unwrap();
        let files = directory.watches.watcher().start(&directory.folders.path);
        let missing = watched(&directory, "missing");
        fs::remove_dir_all(directory.folder("app")).unwrap();
        assert_eq!(event(&directory, &files).await, files_event(["app"]));
        fs::create_dir(directory.folder("missing")).unwrap();
        assert_eq!(event(&directory, &missing).await, FolderEvent::Everything);
        let idle = timeout(Duration::from_millis(100), directory.watches.next(&files)).await;
        assert!(idle.is_none(), "a new folder is no complete file: {idle:?}");
    });
}

/// The kernel keeps a limited number of events.
#[test]
fn when_the_kernel_loses_events_everything_may_have_changed() {
    run(async {
        let (_home, directory) = home();
        for service in ["app", "other"] {
            directory.write_now(&of_service(service)).unwrap();
        }
        let (busy, quiet) = (watched(&directory, "app"), watched(&directory, "other"));
        let kept = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let (one, two) = (
            directory.folder("app").join("one"),
            directory.folder("app").join("two"),
        );
        fs::write(&one, "").unwrap();
        for _ in 0..=kept.trim().parse::<usize>().unwrap() / 4 {
            fs::rename(&one, &two).unwrap();
            fs::rename(&two, &one).unwrap();
        }
        for watch in [&busy, &quiet] {
            while event(&directory, watch).await != FolderEvent::Everything {}
        }
    });
}

/// The reader that reads the events for all is one of those that wait. When it is cancelled, another one does.
#[test]
fn when_the_reader_that_reads_the_events_is_cancelled_another_one_reads_them() {
    run(async {
        let (_home, directory) = home();
        let directory = Rc::new(directory);
        directory.write_now(&instance(1)).unwrap();
        let mut readers = Vec::new();
        for _ in 0..3 {
            let (directory, watch) = (Rc::clone(&directory), watched(&directory, "app"));
            readers.push(spawn_local(async move { directory.watches.next(&watch).await }));
            tokio::task::yield_now().await;
        }
        let last = readers.pop().unwrap();
        for reader in readers {
            reader.abort();
            tokio::task::yield_now().await;
        }
        directory.write_now(&instance(2)).unwrap();
        let event = timeout(PROMPTLY, last).await.expect("in time").unwrap();
        assert_eq!(event, files_event(["app-2.json"]));
    });
}

#[test]
fn the_watch_of_a_folder_that_is_removed_or_moved_reports_everything() {
    run(async {
        let (home, directory) = home();
        directory.write_now(&instance(1)).unwrap();
        directory.write_now(&of_service("other")).unwrap();
        let (removed, moved) = (watched(&directory, "app"), watched(&directory, "other"));
        fs::remove_dir_all(directory.folder("app")).unwrap();
        // The first event is that of the file in it, or of both.
        while event(&directory, &removed).await != FolderEvent::Everything {}
        fs::rename(directory.folder("other"), home.path().join("elsewhere")).unwrap();
        assert_eq!(event(&directory, &moved).await, FolderEvent::Everything);
        drop((removed, moved));
        let again = watched(&directory, "app");
        directory.write_now(&instance(1)).unwrap();
        assert_eq!(
            event(&directory, &again).await,
            FolderEvent::Everything,
            "it is there"
        );
        drop(again);
        let again = watched(&directory, "app");
        directory.write_now(&instance(2)).unwrap();
        assert_eq!(event(&directory, &again).await, files_event(["app-2.json"]));
    });
}

/// The folder is removed and created again all the time while watches are started. Each of them reports the last change,
/// whichever part of the start it fell into.
#[test]
fn a_watch_that_starts_while_the_folder_is_replaced_loses_nothing() {
    run(async {
        let (_home, directory) = home();
        for round in 0..100 {
            let writer = Directory::new(&directory.folders.path);
            let busy = tokio::task::spawn_blocking(move || {
                for _ in 0..5 {
                    writer.write_now(&instance(1)).unwrap();
                    fs::remove_dir_all(writer.folder("app")).unwrap();
                }
                writer.write_now(&instance(1000 + round)).unwrap();
            });
            let reading = async {
                let mut after = None;
                loop {
                    let listing = directory.instances(&query(after, LONG)).await.unwrap();
                    if ports_of(&listing) == [1000 + round] {
                        return;
                    }
                    after = listing.cursor;
                }
            };
            timeout(PROMPTLY, reading)
                .await
                .expect("the last change is reported");
            busy.await.unwrap();
        }
    });
}

/// Events that were read in a runtime that has ended may be lost.
#[test]
fn a_catalogue_can_be_used_in_one_runtime_after_another() {
    let (_home, directory) = home();
    directory.write_now(&instance(1)).unwrap();
    let watch = watched(&directory, "app");
    for runtime in 0..3 {
        run(async {
            directory.write_now(&instance(1)).unwrap();
            let first = event(&directory, &watch).await;
            let expected = [FolderEvent::Everything, files_event(["app-1.json"])];
            assert!(first == expected[usize::from(runtime == 0)], "{first:?}");
            directory.write_now(&instance(2)).unwrap();
            let is_reported = |event| match event {
                FolderEvent::Files(files) => files.contains(OsStr::new("app-2.json")),
                FolderEvent::Everything => false,
            };
            let reported = async { while !is_reported(event(&directory, &watch).await) {} };
            timeout(PROMPTLY, reported).await.expect("it is reported");
        });
    }
}

/// The folder is read once in each `poll`: an answer without a change is what was read last. So a change that the kernel
/// does not report, as that of a file in its place, is seen by the next query.
#[test]
fn a_wait_without_a_change_ends_with_the_list_that_was_read() {
    run(async {
        let (_home, directory) = home();
        let directory = Rc::new(directory);
        directory.write_now(&instance(1)).unwrap();
        let before = directory.instances(&at_once()).await.unwrap();
        let all = directory.look_up(&services(None, Duration::ZERO)).await.unwrap();
        let (query, look_up) = (query(before.cursor, SOON), services(all.cursor, SOON));
        let (one, two) = (Rc::clone(&directory), Rc::clone(&directory));
        let asked = spawn_local(async move { one.instances(&query).await.unwrap() });
        let asked_all = spawn_local(async move { two.look_up(&look_up).await.unwrap() });
        until_watched(&directory.folder("app")).await;
        until_watched(&directory.folders.path).await;
        // The reads, which have begun, are before this on the thread.
        directory.holder(&instance(1)).await.unwrap();
        let file = directory.folder("app").join("app-1.json");
        fs::write(file, "{").unwrap();
        assert_eq!(asked.await.unwrap(), before);
        assert_eq!(asked_all.await.unwrap(), all);
        let after = directory.instances(&at_once()).await.unwrap();
        assert_eq!(ports_of(&after), NO_PORTS);
    });
}

#[test]
fn cursors_are_equal_for_all_readers_and_renewals_do_not_change_them() {
    let (_home, one) = home();
    let other = Directory::new(&one.folders.path);
    one.write_now(&instance(2)).unwrap();
    one.write_now(&instance(1)).unwrap();
    let cursor = |directory: &Directory| directory.folders.list(&at_once()).unwrap().cursor;
    let before = cursor(&one);
    assert_eq!(cursor(&other), before);
    assert!(is_renewed(&one, 1));
    assert_eq!(cursor(&other), before);
    let tagged = Registration {
        tags: vec!["blue".into()],
        ..instance(1)
    };
    one.write_now(&tagged).unwrap();
    assert_ne!(cursor(&other), before);
}

#[test]
fn an_empty_list_has_the_same_cursor_in_every_release() {
    let (_home, directory) = home();
    let listing = directory.folders.list(&at_once()).unwrap();
    assert_eq!(listing.cursor, Some(Cursor(0x0eda_065b_652e_c4cf)));
}

#[test]
fn with_two_hundred_heartbeats_a_reader_wakes_rarely_and_sees_a_new_instance() {
    run(async {
        let (_home, directory) = home();
        let directory = Rc::new(directory);
        for number in 1..=200 {
            directory.write_now(&instance(number)).unwrap();
        }
        let asked = waiting(&directory).await;
        for round in 1..=3 {
            for number in 1..=200 {
                assert_eq!(directory.renew(&instance(number)).await, Ok(Renewal::Renewed));
            }
            another_reader_is_woken(&directory, round).await;
            assert!(!asked.is_finished(), "heartbeats are no change");
        }
        directory.write_now(&instance(201)).unwrap();
        assert_eq!(ports_when_answered(asked).await.len(), 201);
    });
}

#[test]
fn a_reader_never_misses_the_last_of_many_changes_by_another_thread() {
    run(async {
        let (_home, directory) = home();
        for round in 0..30 {
            let writer = Directory::new(&directory.folders.path);
            let busy = tokio::task::spawn_blocking(move || {
                for number in 1..=20 {
                    writer.write_now(&instance(number)).unwrap();
                    file::remove(&writer.folder("app").join("app-1.json")).unwrap();
                }
                writer.write_now(&instance(1000 + round)).unwrap();
            });
            let expected = round as usize + 20;
            let reading = async {
                let mut after = None;
                loop {
                    let listing = directory.instances(&query(after, LONG)).await.unwrap();
                    after = listing.cursor;
                    let last = listing.instances.iter().any(|found| found.port == 1000 + round);
                    if last && listing.instances.len() == expected {
                        return;
                    }
                }
            };
            timeout(PROMPTLY, reading)
                .await
                .expect("the last change is reported");
            busy.await.unwrap();
        }
    });
}

/// There are so many files that the kernel lists them in several parts. The folder is in memory (tmpfs),
/// where a replaced file moves within the listing.
#[test]
fn an_entry_that_is_renewed_continuously_is_in_every_listing() {
    run(async {
        const MANY: u16 = 2000;
        let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempdir()).unwrap();
        let directory = Directory::new(home.path());
        let writer = Directory::new(home.path());
        for number in 1..=MANY {
            directory.write_now(&instance(number)).unwrap();
        }
        let busy = tokio::task::spawn_blocking(move || {
            for number in (1..=MANY).cycle().take(20_000) {
                writer.write_now(&instance(number)).unwrap();
            }
        });
        while !busy.is_finished() {
            let names = file::names(&directory.folder("app")).unwrap();
            assert_eq!(names.len(), usize::from(MANY));
            tokio::task::yield_now().await;
        }
        busy.await.unwrap();
    });
}

fn services(after: Option<Cursor>, wait: Duration) -> LookUp {
    LookUp {
        dependency: Dependency::Services,
        after,
        wait,
    }
}

fn of_service(name: &str) -> Registration {
    Registration {
        name: name.into(),
        ..instance(1)
    }
}

#[test]
fn the_services_of_a_folder_are_read_within_bounds() {
    let (_home, directory) = home();
    let names = |found: Found| match found.data {
        domain::catalogue::Data::Services(services) => services.into_iter().map(|(name, _)| name).collect(),
        other => vec![format!("{other:?}")],
    };
    let read = async || directory.look_up(&services(None, Duration::ZERO)).await;
    run(async {
        directory.write_now(&of_service("a/b")).unwrap();
        directory.write_now(&of_service("c")).unwrap();
        fs::write(directory.folders.path.join("file"), "x").unwrap();
        // An entry in the folder of another service does not count.
        directory.write_now(&of_service("e")).unwrap();
        let there = directory.folder("d");
        fs::rename(directory.folder("e"), &there).unwrap();
        assert_eq!(names(read().await.unwrap()), ["a/b", "c"]);
        for number in 0..20_000 {
            fs::write(there.join(format!("x{number}")), "").unwrap();
        }
        let error = read().await.unwrap_err().to_string();
        assert!(
            error.ends_with("it holds more than 20000 files")
                || error.contains("more than 20000 files or 16 MiB"),
            "{error}"
        );
        fs::remove_dir_all(&there).unwrap();
        for number in 0..70 {
            let name = format!("large{number}");
            fs::create_dir(directory.folder(&name)).unwrap();
            fs::write(directory.folder(&name).join("x"), vec![b' '; 256 * 1024]).unwrap();
        }
        let error = read().await.unwrap_err().to_string();
        assert!(
            error.ends_with("all services have more than 20000 files or 16 MiB"),
            "{error}"
        );
    });
}

#[test]
fn more_folders_than_are_watched_are_read_at_intervals() {
    let (_home, directory) = home();
    run(async {
        for number in 0..=MOST_WATCHES {
            fs::create_dir_all(directory.folders.path.join(number.to_string())).unwrap();
        }
        let watcher = directory.watches.watcher();
        let watch = |most| watcher.start_all(&directory.folders.path, most);
        assert!(!watch(MOST_WATCHES).is_reported());
        assert!(watch(MOST_WATCHES + 1).is_reported());
        let before = directory.look_up(&services(None, Duration::ZERO)).await.unwrap();
        directory.write_now(&of_service("5")).unwrap();
        let after = timeout(PROMPTLY, directory.look_up(&services(before.cursor, LONG))).await;
        assert_ne!(after.unwrap().unwrap().data, before.data);
    });
}
