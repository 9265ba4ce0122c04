//! Validates a text against docs/status.schema.json.

use boon::{Compiler, Schemas};
use std::path::Path;

/// Panics with all violations if the text is not a valid status.
pub fn assert_is_status(text: &str) {
    if let Err(wrong) = check_status(text) {
        panic!("{wrong}\n{text}");
    }
}

/// The violations, if the text is not a valid status.
pub fn check_status(text: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status.schema.json");
    let mut compiler = Compiler::new();
    compiler.enable_format_assertions();
    let mut schemas = Schemas::new();
    let schema = compiler.compile(path.to_str().expect("a path in UTF-8"), &mut schemas);
    let schema = schema.map_err(|error| error.to_string())?;
    let status = serde_json::from_str(text).map_err(|error| error.to_string())?;
    schemas
        .validate(&status, schema)
        .map_err(|error| format!("{error:#}"))
}
