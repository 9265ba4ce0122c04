//! Compares the directory with a model: two shims that share a folder behave like two writers of one map from
//! IDs to entries, for random sequences of operations and of passing time.

use super::entry::BootTime;
use super::folders::Folders;
use super::{Renewal, name};
use domain::catalogue::{Cursor, Instance, Query};
use domain::plan::Registration;
use domain::time::Duration;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use std::collections::BTreeMap;
use std::fs;
use tempfile::{TempDir, tempdir};

/// How long an entry is valid, in milliseconds.
const TTL: u64 = 10_000;
/// The IDs of the boots in a sequence.
const BOOTS: [&str; 3] = ["first", "second", "third"];

/// An instance that registers: its number, and which of four descriptions it has.
type Description = (u16, u16);

/// One operation on the folder. The first number selects one of the two shims.
#[derive(Clone, Debug)]
enum ModelStep {
    Register(usize, Description),
    Renew(usize, Description),
    Deregister(usize, Description),
    /// This many milliseconds pass.
    Pass(u64),
    /// The machine starts again, and the folder keeps its files.
    Boot,
    /// Another program replaces the file of an instance by a text that is not an entry.
    Scribble(Description),
}

/// The model: a map.
#[derive(Clone, Debug, Default)]
struct Folder {
    now: u64,
    boot: usize,
    /// For each instance: its description, and until when its entry is valid.
    entries: BTreeMap<u16, (u16, u64)>,
    /// Whether the last renewal found a valid entry.
    is_renewed: bool,
}

impl Folder {
    /// What a reader must see: each valid instance with its description.
    fn seen(&self) -> Vec<Description> {
        let live = self.entries.iter().filter(|(_, (_, until))| self.now < *until);
        live.map(|(number, (description, _))| (*number, *description))
            .collect()
    }

    fn register(&mut self, (number, description): Description) {
        self.entries.insert(number, (description, self.now + TTL));
    }
}

impl ReferenceStateMachine for Folder {
    type State = Self;
    type Transition = ModelStep;

    fn init_state() -> BoxedStrategy<Self> {
        (0..100_000_u64)
            .prop_map(|now| Self {
                now,
                ..Self::default()
            })
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<ModelStep> {
        let description = || (0..3_u16, 0..4_u16);
        let shim = 0..2_usize;
        prop_oneof![
            6 => (shim.clone(), description()).prop_map(|(shim, description)| ModelStep::Register(shim, description)),
            6 => (shim.clone(), description()).prop_map(|(shim, description)| ModelStep::Renew(shim, description)),
            2 => (shim, description()).prop_map(|(shim, description)| ModelStep::Deregister(shim, description)),
            4 => prop_oneof![Just(TTL), Just(TTL - 1), 0..TTL, Just(2 * 3_600_000)].prop_map(ModelStep::Pass),
            1 => Just(ModelStep::Boot),
            1 => description().prop_map(ModelStep::Scribble),
        ]
        .boxed()
    }

    fn preconditions(folder: &Self, happening: &ModelStep) -> bool {
        !matches!(happening, ModelStep::Boot) || folder.boot + 1 < BOOTS.len()
    }

    fn apply(mut folder: Self, happening: &ModelStep) -> Self {
        match *happening {
            ModelStep::Register(_, description) => folder.register(description),
            ModelStep::Renew(_, description) => {
                folder.is_renewed = folder.seen().contains(&description);
                if folder.is_renewed {
                    folder.register(description);
                }
            }
            ModelStep::Deregister(_, (number, _)) | ModelStep::Scribble((number, _)) => {
                folder.entries.remove(&number);
            }
            ModelStep::Pass(milliseconds) => folder.now += milliseconds,
            ModelStep::Boot => {
                folder.entries.clear();
                folder.boot += 1;
                folder.now = 0;
            }
        }
        folder
    }
}

/// One of the four descriptions of an instance: one port, another port, or one of two tags.
fn registration((number, description): Description) -> Registration {
    Registration {
        id: format!("app-{number}"),
        name: "app".into(),
        address: [192, 0, 2, 1].into(),
        port: 8000 + u16::from(description == 1),
        tags: match description {
            2 => vec!["tagged".into()],
            3 => vec!["otherwise".into()],
            _ => Vec::new(),
        },
        ttl: Duration::from_millis(TTL),
        enable_tag_override: false,
        deregister_critical_after: None,
        attributes: Box::default(),
    }
}

fn instance(description: &Description) -> Instance {
    let Registration {
        id, address, port, ..
    } = registration(*description);
    Instance {
        id,
        address: address.to_string(),
        port,
        details: None,
    }
}

/// Two shims that share a folder.
struct Shims {
    home: TempDir,
    shims: [Folders; 2],
    /// The cursor of each set of instances that was seen.
    cursors: BTreeMap<Vec<Description>, Cursor>,
}

impl Shims {
    /// Checks that both shims list the content of the map, and that equal sets of instances have equal
    /// cursors and different sets different ones.
    fn compare(&mut self, folder: &Folder, now: &BootTime<'_>) {
        let seen = folder.seen();
        for shim in &self.shims {
            let view = shim.read("app", &|| false).unwrap();
            let listing = view.listing(&Query::default(), now);
            assert_eq!(listing.instances, Vec::from_iter(seen.iter().map(instance)));
            let query = Query {
                tag: Some("tagged".into()),
                ..Query::default()
            };
            let tagged = seen
                .iter()
                .filter(|(_, description)| *description == 2)
                .map(instance);
            assert_eq!(view.listing(&query, now).instances, Vec::from_iter(tagged));
            let expiry = view.next_expiry(now).map(|expiry| expiry.as_millis());
            let untils = folder.entries.values().map(|(_, until)| *until);
            let next = untils.filter(|until| folder.now < *until).min();
            assert_eq!(expiry, next.map(|until| u128::from(until - folder.now)));
            let cursor = listing.cursor.unwrap();
            assert_eq!(*self.cursors.entry(seen.clone()).or_insert(cursor), cursor);
        }
        let cursor = self.cursors[&seen];
        let alike = self.cursors.values().filter(|other| **other == cursor);
        assert_eq!(alike.count(), 1, "two sights have one cursor");
    }
}

struct Sharing;

impl StateMachineTest for Sharing {
    type SystemUnderTest = Shims;
    type Reference = Folder;

    fn init_test(_: &Folder) -> Shims {
        let home = tempdir().unwrap();
        let shims = [(); 2].map(|()| Folders::new(home.path()));
        Shims {
            home,
            shims,
            cursors: BTreeMap::new(),
        }
    }

    fn apply(mut state: Shims, folder: &Folder, happening: ModelStep) -> Shims {
        let now = BootTime {
            boot: BOOTS[folder.boot],
            milliseconds: folder.now,
        };
        match happening {
            ModelStep::Register(shim, description) => state.shims[shim]
                .register(&registration(description), &now)
                .unwrap(),
            ModelStep::Renew(shim, description) => {
                let renewal = state.shims[shim].keep(&registration(description), &now).unwrap();
                assert_eq!(renewal == Renewal::Renewed, folder.is_renewed, "{renewal:?}");
            }
            ModelStep::Deregister(shim, description) => {
                state.shims[shim].remove(&registration(description)).unwrap()
            }
            ModelStep::Pass(_) | ModelStep::Boot => {}
            ModelStep::Scribble(description) => {
                let app = state.home.path().join(name::of_folder("app"));
                fs::create_dir_all(&app).unwrap();
                fs::write(
                    app.join(name::of_entry(&registration(description).id)),
                    "no entry",
                )
                .unwrap();
            }
        }
        state.compare(folder, &now);
        state
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn two_shims_with_one_folder_behave_like_two_writers_of_a_map(sequential 1..40 => Sharing);
}
