//! The connection between `tracing` and the log: a notice becomes an event, and the program's own events
//! become log records.
//!
//! Adapters may log with `tracing::debug!` and similar macros, so all messages pass through this module.
//! Events of dependencies are dropped before they are formatted. Spans are ignored.

use domain::plan::Level;
use std::fmt::Debug;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

/// The target of the program's events, and the prefix of the targets of all its modules.
const TARGET: &str = "containerpilot";

/// Emits an event. Fields whose names are not in [`domain::with_log_fields`] are dropped.
pub fn emit(level: Level, message: &[u8], fields: &[(&'static str, &str)]) {
    let field = |wanted| {
        fields
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| *value)
    };
    macro_rules! emit_with {
        ($($name:ident)*) => {
            match level {
                Level::Debug => emit_with!(tracing::Level::DEBUG, $($name)*),
                Level::Info => emit_with!(tracing::Level::INFO, $($name)*),
                Level::Warning => emit_with!(tracing::Level::WARN, $($name)*),
                Level::Error | Level::Fatal | Level::Panic => emit_with!(tracing::Level::ERROR, $($name)*),
            }
        };
        ($level:expr, $($name:ident)*) => {
            tracing::event!(target: TARGET, $level, message, $($name = field(stringify!($name)),)*)
        };
    }
    domain::with_log_fields!(emit_with);
}

/// The message and the fields of an event.
#[derive(Debug, Default)]
pub struct LogRecord {
    /// The message.
    pub message: Vec<u8>,
    /// The other fields, sorted by name.
    pub fields: Vec<(&'static str, String)>,
}

/// A consumer of log records.
pub trait Log: Send + Sync + 'static {
    /// Whether records of this level are logged at present.
    fn enabled(&self, level: Level) -> bool;

    /// Takes a record.
    fn log(&self, level: Level, record: &LogRecord);
}

/// Hands the program's own events to a log.
#[derive(Debug)]
pub struct Events<L>(pub L);

impl<L: Log> Subscriber for Events<L> {
    /// The level may change at any time; the target of a call site does not change.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match level_of_ours(metadata) {
            Some(_) => Interest::sometimes(),
            None => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        level_of_ours(metadata).is_some_and(|level| self.0.enabled(level))
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(level) = level_of_ours(event.metadata()) {
            let mut record = LogRecord::default();
            event.record(&mut record);
            record.fields.sort_by_key(|(name, _)| *name);
            self.0.log(level, &record);
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

/// The level of an event of the program; `None` for events that are never logged.
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

impl LogRecord {
    fn keep(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value.into(),
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for LogRecord {
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
