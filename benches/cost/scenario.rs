//! The configurations that are measured.

use crate::agent::Agent;
use std::path::Path;

/// A catalogue that a configuration names.
pub enum Catalogue<'a> {
    Consul(&'a Agent),
    Folder,
}

/// A configuration of so many services and backends. `health` and `handler` make the commands from a number.
pub struct Scenario<'a> {
    pub catalogue: Catalogue<'a>,
    pub services: usize,
    pub backends: usize,
    /// In seconds.
    pub poll: u32,
}

impl Scenario<'_> {
    /// Its text.
    pub fn text(&self, folder: &Path, health: &dyn Fn(usize) -> String) -> String {
        let Self {
            catalogue,
            services,
            backends,
            poll,
        } = self;
        let catalogue = match catalogue {
            Catalogue::Consul(agent) => format!(r#""consul": "{}""#, agent.address()),
            Catalogue::Folder => format!(r#""directory": "{}""#, folder.join("catalogue").display()),
        };
        let service = |number| {
            format!(
                r#"{{"name": "app{number}", "port": 80, "interfaces": "static:192.0.2.7", "poll": {poll},
                     "ttl": 60, "health": {}}}"#,
                health(number)
            )
        };
        let services: Vec<String> = (0..*services).map(service).collect();
        let backend =
            |number| format!(r#"{{"name": "db{number}", "poll": {poll}, "onChange": ["/bin/true"]}}"#);
        let backends: Vec<String> = (0..*backends).map(backend).collect();
        format!(
            r#"{{{catalogue}, "logging": {{"format": "text"}}, "services": [{}], "backends": [{}]}}"#,
            services.join(","),
            backends.join(",")
        )
    }
}

/// A health check that passes and does nothing.
pub fn passes(_: usize) -> String {
    r#""/bin/true""#.into()
}
