//! Between `tracing` and the log: what is said becomes an event, and events of our own become entries.
//!
//! The adapters may say something with `tracing::debug!` and the like; so everything that is told goes this
//! one way. Events of libraries are not ours to tell and are dropped before they are formatted. Spans do not
//! exist here.

use domain::plan::Level;
use std::fmt::Debug;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

/// The target of our events, and the beginning of the targets of all our modules.
const TARGET: &str = "containerpilot";

/// Says something. A field whose name is not one of the log's is dropped.
pub fn emit(level: Level, message: &[u8], fields: &[(&'static str, &str)]) {
    let field = |wanted| {
        fields
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| *value)
    };
    macro_rules! event {
        ($level:expr) => {
            tracing::event!(
                target: TARGET,
                $level,
                message,
                backend = field("backend"),
                coprocess = field("coprocess"),
                process = field("process"),
                serviceID = field("serviceID"),
                serviceName = field("serviceName"),
                task = field("task"),
            )
        };
    }
    match level {
        Level::Debug => event!(tracing::Level::DEBUG),
        Level::Info => event!(tracing::Level::INFO),
        Level::Warning => event!(tracing::Level::WARN),
        Level::Error | Level::Fatal | Level::Panic => event!(tracing::Level::ERROR),
    }
}

/// What an event said.
#[derive(Debug, Default)]
pub struct Said {
    /// The sentence.
    pub message: Vec<u8>,
    /// The other fields, sorted by name.
    pub fields: Vec<(&'static str, String)>,
}

/// Whoever turns what was said into entries.
pub trait Listener: Send + Sync + 'static {
    /// Whether anything of this level is of interest now.
    fn hears(&self, level: Level) -> bool;

    /// Something was said.
    fn hear(&self, level: Level, said: &Said);
}

/// Hands our own events to a listener.
#[derive(Debug)]
pub struct Events<L>(pub L);

impl<L: Listener> Subscriber for Events<L> {
    /// The level may change at any time, who speaks does not.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match level_of_ours(metadata) {
            Some(_) => Interest::sometimes(),
            None => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        level_of_ours(metadata).is_some_and(|level| self.0.hears(level))
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(level) = level_of_ours(event.metadata()) {
            let mut said = Said::default();
            event.record(&mut said);
            said.fields.sort_by_key(|(name, _)| *name);
            self.0.hear(level, &said);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The level of an event of ours; nothing for what is not told at all.
fn level_of_ours(metadata: &Metadata<'_>) -> Option<Level> {
    let inside = metadata.target().strip_prefix(TARGET)?;
    if !metadata.is_event() || !(inside.is_empty() || inside.starts_with("::")) {
        return None;
    }
    match *metadata.level() {
        tracing::Level::ERROR => Some(Level::Error),
        tracing::Level::WARN => Some(Level::Warning),
        tracing::Level::INFO => Some(Level::Info),
        tracing::Level::DEBUG => Some(Level::Debug),
        tracing::Level::TRACE => None,
    }
}

impl Said {
    fn keep(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value.into(),
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Said {
    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        match field.name() {
            "message" => self.message = value.into(),
            _ => self.keep(field, String::from_utf8_lossy(value).into()),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.keep(field, format!("{value:?}"));
    }
}
