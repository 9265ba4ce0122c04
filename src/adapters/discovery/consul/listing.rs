//! Parses the instances in an answer of Consul's health endpoint, piece by piece as it arrives.
//!
//! An answer may have 16 MiB. It is divided into the entries of its outermost array (`entries.rs`), and each entry is
//! parsed separately. An entry that is not a valid instance is skipped without affecting the others. If the text is not
//! JSON, or too long, the whole answer is an error.

use super::entries::{Broken, Entry, Outermost, Splitter};
use domain::catalogue::{CheckState, Details, Instance, Skipped};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest entry that is parsed, in bytes; a longer one is skipped (docs/bounds.md)
const LONGEST_ENTRY: usize = 256 * 1024;
/// The longest ID of an instance, in bytes (docs/bounds.md)
const LONGEST_ID: usize = 1024;
/// The longest address of an instance, in bytes; no host name is longer (docs/bounds.md)
const LONGEST_ADDRESS: usize = 255;
/// The limit on instances in a list (docs/bounds.md)
const MOST_INSTANCES: usize = 16_384;
/// The limit on the IDs and addresses of a list together, in bytes (docs/bounds.md)
const MOST_TEXT: usize = 2 * 1024 * 1024;
/// The limit on all lists that are being read, together, in bytes (docs/bounds.md)
const MOST_AT_ONCE: usize = 32 * 1024 * 1024;
/// How many characters of a value are shown.
const SHOWN: usize = 64;

/// How many bytes all lists that are being read take at present.
static AT_ONCE: AtomicUsize = AtomicUsize::new(0);

/// Why an answer is not a list of instances; the text is a part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is not a list of instances: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<Broken> for Malformed {
    fn from(broken: Broken) -> Self {
        Self(broken.to_string())
    }
}

/// Parses a list.
#[derive(Debug)]
pub struct Reader {
    splitter: Splitter,
    list: List,
}

/// The instances that were parsed so far.
#[derive(Debug, Default)]
struct List {
    instances: Vec<Instance>,
    skipped: Skipped,
    text: usize,
    share: MemoryShare,
    /// Whether each instance has its details.
    details: bool,
}

impl Reader {
    /// Parses instances with their details, or without.
    pub fn new(details: bool) -> Self {
        Self {
            splitter: Splitter::new(Outermost::Array, LONGEST_ENTRY),
            list: List {
                details,
                ..List::default()
            },
        }
    }

    /// Parses another piece of the answer.
    ///
    /// # Errors
    /// The text is not JSON, or exceeds a limit.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        let list = &mut self.list;
        self.splitter.take(piece, |entry| list.take(entry))
    }

    /// The instances, and the entries that were left out.
    ///
    /// # Errors
    /// The answer is not complete.
    pub fn finish(self) -> Result<(Vec<Instance>, Skipped), Malformed> {
        self.splitter.finish()?;
        Ok((self.list.instances, self.list.skipped))
    }
}

impl List {
    fn take(&mut self, entry: Entry<'_>) -> Result<(), Malformed> {
        let Entry::Text(entry) = entry else {
            let sentence = format!("an entry is longer than {} KiB", LONGEST_ENTRY / 1024);
            self.skip(|| sentence);
            return Ok(());
        };
        match instance(entry) {
            Ok(mut instance) => {
                instance.details = self.details.then(|| Box::new(details(entry)));
                self.add(instance)?;
            }
            Err(error) if error.is_data() => self.skip(|| reason(entry, &error)),
            Err(error) => return Err(Malformed(error.to_string())),
        }
        Ok(())
    }

    fn add(&mut self, instance: Instance) -> Result<(), Malformed> {
        if let Some(fault) = fault(&instance) {
            let id = shown(&instance.id);
            self.skip(|| format!("instance '{id}' has {fault}"));
            return Ok(());
        }
        let text = instance.id.len() + instance.address.len() + instance.details.as_deref().map_or(0, size);
        self.text += text;
        if self.instances.len() >= MOST_INSTANCES {
            return Err(Malformed(format!("it has more than {MOST_INSTANCES} of them")));
        }
        if self.text > MOST_TEXT {
            let limit = MOST_TEXT / 1024 / 1024;
            return Err(Malformed(format!("their texts are longer than {limit} MiB")));
        }
        self.share.add(text + size_of::<Instance>())?;
        self.instances.push(instance);
        Ok(())
    }

    fn skip(&mut self, example: impl FnOnce() -> String) {
        self.skipped.count += 1;
        if self.skipped.count == 1 {
            self.skipped.example = example();
        }
    }
}

/// How many bytes one list contributes to [`AT_ONCE`].
#[derive(Debug)]
pub(super) struct MemoryShare {
    bytes: usize,
    at_once: &'static AtomicUsize,
}

impl Default for MemoryShare {
    fn default() -> Self {
        Self::of(&AT_ONCE)
    }
}

impl MemoryShare {
    /// Nothing yet; what is added counts in this number.
    fn of(at_once: &'static AtomicUsize) -> Self {
        Self { bytes: 0, at_once }
    }

    /// So many bytes more.
    ///
    /// # Errors
    /// All lists together exceed their limit.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), Broken> {
        self.bytes += bytes;
        if self.at_once.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_AT_ONCE {
            let limit = MOST_AT_ONCE / 1024 / 1024;
            let sentence = format!("all lists that are being read are longer than {limit} MiB together");
            return Err(Broken(sentence));
        }
        Ok(())
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.at_once.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Parses one entry. A service without an address has the address of its node (SD-7).
fn instance(entry: &[u8]) -> Result<Instance, serde_json::Error> {
    let HealthEntry { node, service } = serde_json::from_slice(entry)?;
    let own = service.address.unwrap_or_default();
    let of_node = node.and_then(|node| node.address).unwrap_or_default();
    Ok(Instance {
        id: service.id,
        address: if own.is_empty() { of_node } else { own },
        port: service.port,
        details: None,
    })
}

/// The details in an entry that was parsed; those that cannot be parsed are left out.
fn details(entry: &[u8]) -> Details {
    let Ok(DetailedEntry {
        node,
        service,
        checks,
    }) = serde_json::from_slice(entry)
    else {
        return Details::default();
    };
    let node = node.unwrap_or_default();
    let state = |check: DetailedCheck| CheckState {
        of_node: check.service_id.unwrap_or_default().is_empty(),
        id: check.id.unwrap_or_default(),
        name: check.name.unwrap_or_default(),
        status: check.status.unwrap_or_default(),
    };
    Details {
        node: node.node.unwrap_or_default(),
        node_address: node.address.unwrap_or_default(),
        checks: checks.unwrap_or_default().into_iter().map(state).collect(),
        tags: service.tags.unwrap_or_default(),
        meta: service.meta.unwrap_or_default(),
    }
}

/// How many bytes the texts of the details take.
fn size(details: &Details) -> usize {
    let tags = details.tags.iter().map(|tag| tag.len() + size_of::<String>());
    let pair = |(key, value): (&String, &String)| key.len() + value.len() + 2 * size_of::<String>();
    let check =
        |check: &CheckState| check.id.len() + check.name.len() + check.status.len() + size_of::<CheckState>();
    let others = details
        .meta
        .iter()
        .map(pair)
        .chain(details.checks.iter().map(check));
    details.node.len() + details.node_address.len() + tags.chain(others).sum::<usize>()
}

/// The fault of an instance that is not valid; `None` if it is valid.
fn fault(instance: &Instance) -> Option<String> {
    let Instance { id, address, .. } = instance;
    match () {
        () if id.is_empty() => Some("no ID".into()),
        () if id.len() > LONGEST_ID => Some(format!("an ID longer than {LONGEST_ID} bytes")),
        () if address.is_empty() => Some("no address".into()),
        () if address.len() > LONGEST_ADDRESS => {
            Some(format!("an address longer than {LONGEST_ADDRESS} bytes"))
        }
        () => None,
    }
}

/// The ID of the instance in an entry that cannot be parsed, and the fault.
fn reason(entry: &[u8], error: &serde_json::Error) -> String {
    let entry: Value = serde_json::from_slice(entry).unwrap_or_default();
    let id = entry["Service"]["ID"].as_str().map(shown);
    let who = id.map_or_else(|| "an entry".into(), |id| format!("instance '{id}'"));
    let port = &entry["Service"]["Port"];
    match port.as_u64() {
        Some(0..=65_535) => format!("{who} cannot be read: {error}"),
        _ if port.is_null() => format!("{who} has no port"),
        _ => format!(
            "{who} has the port {}, allowed is 0 to 65535",
            shown(&port.to_string())
        ),
    }
}

/// The beginning of a text from outside, without control characters.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthEntry {
    node: Option<Node>,
    service: ServiceEntry,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DetailedEntry {
    node: Option<DetailedNode>,
    service: DetailedService,
    checks: Option<Vec<DetailedCheck>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DetailedNode {
    node: Option<String>,
    address: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DetailedCheck {
    #[serde(rename = "CheckID")]
    id: Option<String>,
    name: Option<String>,
    status: Option<String>,
    #[serde(rename = "ServiceID")]
    service_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DetailedService {
    tags: Option<Vec<String>>,
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    address: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceEntry {
    #[serde(rename = "ID")]
    id: String,
    address: Option<String>,
    port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str, piece: usize) -> Result<(Vec<Instance>, Skipped), Malformed> {
        let mut reader = Reader::new(false);
        for piece in text.as_bytes().chunks(piece) {
            reader.take(piece)?;
        }
        reader.finish()
    }

    fn entry(id: &str, port: impl Into<Value>) -> Value {
        json!({"Node": {"Address": "192.0.2.9"}, "Service": {"ID": id, "Address": "192.0.2.1", "Port": port.into()}})
    }

    #[test]
    fn a_list_is_read_however_it_is_divided_into_pieces() {
        let odd = r#"db"],}{\ "#;
        let text = json!([entry(odd, 1), entry("db-2", 2)]).to_string();
        let (whole, skipped) = read(&text, text.len()).unwrap();
        assert_eq!((whole.len(), whole[0].id.as_str(), whole[1].port), (2, odd, 2));
        assert_eq!(skipped, Skipped::default());
        for piece in 1..text.len() {
            assert_eq!(read(&text, piece).unwrap().0, whole, "{piece}");
        }
        assert_eq!(read(" [ \n ] ", 1).unwrap().0, []);
    }

    #[test]
    fn an_instance_without_an_address_has_the_address_of_its_node() {
        let mut without = entry("a", 1);
        without["Service"]["Address"] = "".into();
        let (found, _) = read(&json!([without, entry("b", 1)]).to_string(), 9).unwrap();
        assert_eq!(found[0].address, "192.0.2.9");
        assert_eq!(found[1].address, "192.0.2.1");
    }

    #[test]
    fn an_entry_that_is_no_instance_is_skipped_and_the_others_count() {
        let no_address = json!({"Service": {"ID": "bad", "Address": "", "Port": 1}});
        let table = [
            (
                entry("bad", 70_000),
                "instance 'bad' has the port 70000, allowed is 0 to 65535",
            ),
            (
                entry("bad", -1),
                "instance 'bad' has the port -1, allowed is 0 to 65535",
            ),
            (
                entry("bad", 1.5),
                "instance 'bad' has the port 1.5, allowed is 0 to 65535",
            ),
            (
                entry("bad", "80"),
                r#"instance 'bad' has the port \"80\", allowed is 0 to 65535"#,
            ),
            (entry("bad", Value::Null), "instance 'bad' has no port"),
            (entry("", 1), "instance '' has no ID"),
            (entry(&"i".repeat(1025), 1), "has an ID longer than 1024 bytes"),
            (no_address, "instance 'bad' has no address"),
            (
                json!({"Service": {"ID": 7, "Port": 1}}),
                "an entry cannot be read: invalid type",
            ),
            (json!({"Node": {}}), "an entry has no port"),
            (json!(7), "an entry has no port"),
            (json!(null), "an entry has no port"),
            (json!([]), "an entry has no port"),
            (json!("text"), "an entry has no port"),
            (
                json!({"Service": {"ID": "a\nb", "Port": 99_999}}),
                r"instance 'a\nb' has the port 99999",
            ),
        ];
        for (bad, expected) in table {
            let text = json!([entry("good", 1), bad, bad, entry("better", 2)]).to_string();
            let (found, skipped) = read(&text, 7).unwrap();
            assert_eq!(found.len(), 2, "{text}");
            assert_eq!(skipped.count, 2, "{text}");
            assert!(skipped.example.contains(expected), "{}", skipped.example);
        }
    }

    #[test]
    fn a_body_that_is_not_a_list_is_an_error() {
        let deep = format!("[{}", "[".repeat(100_000));
        let table = [
            "",
            " ",
            "null",
            "{}",
            "7",
            "\"text\"",
            "<html>",
            "[",
            "[{}",
            "[,]",
            "[{},]",
            "[{}] x",
            "[{]}]",
            "[}]",
            "[{\"Service\": }]",
            "[tru]",
            "[\"]",
            "[{\"a\": \"\u{1}\"}]",
            "\u{feff}[]",
            &deep,
        ];
        for text in table {
            assert!(read(text, 5).is_err(), "{text:.20}");
        }
        let error = read("<html>", 1).unwrap_err().to_string();
        assert_eq!(
            error,
            "the answer is not a list of instances: found '<', expected '['"
        );
    }

    #[test]
    fn a_list_is_not_longer_than_its_limits() {
        let list = |count: usize, id: &str| {
            let entries = (0..count).map(|number| entry(&format!("{id}{number}"), 1).to_string());
            format!("[{}]", entries.collect::<Vec<_>>().join(","))
        };
        assert_eq!(
            read(&list(MOST_INSTANCES, "a"), 4096).unwrap().0.len(),
            MOST_INSTANCES
        );
        let error = read(&list(MOST_INSTANCES + 1, "a"), 4096)
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("it has more than 16384 of them"), "{error}");
        let error = read(&list(MOST_INSTANCES, &"a".repeat(200)), 4096)
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("longer than 2 MiB"), "{error}");
    }

    #[test]
    fn an_entry_that_is_too_long_is_skipped() {
        let mut long = entry("long", 1);
        long["Service"]["Meta"] = "x".repeat(LONGEST_ENTRY).into();
        let (found, skipped) = read(&json!([long, entry("good", 1)]).to_string(), 4096).unwrap();
        assert_eq!((found.len(), found[0].id.as_str()), (1, "good"));
        assert_eq!(skipped.example, "an entry is longer than 256 KiB");
    }

    #[test]
    fn the_lists_being_read_are_limited_together() {
        // Lists of other tests count in another number.
        static HERE: AtomicUsize = AtomicUsize::new(0);
        let mut share = MemoryShare::of(&HERE);
        assert!(share.add(MOST_AT_ONCE / 4).is_ok());
        let mut other = MemoryShare::of(&HERE);
        let error = other.add(MOST_AT_ONCE).unwrap_err().to_string();
        assert!(error.ends_with("32 MiB together"), "{error}");
        drop(other);
        assert!(
            MemoryShare::of(&HERE).add(MOST_AT_ONCE / 4).is_ok(),
            "what was given up counts no more"
        );
    }
}
