//! Renders one template.

use super::lookup::Known;
use chrono::{DateTime, FixedOffset};
use domain::effect::Rendering;
use domain::event::Rendered;
use domain::plan::TemplateSource;
use domain::template::Outcome;
use std::collections::BTreeMap;
use template::TemplateError;

/// The largest file that is written, in bytes (docs/bounds.md).
const LARGEST_RESULT: usize = 1024 * 1024;

/// What a template sees beside the catalogue.
pub(super) struct Surroundings {
    /// The environment.
    pub(super) variables: BTreeMap<String, String>,
    /// The time of the calendar.
    pub(super) now: DateTime<FixedOffset>,
}

/// Renders a template. An error is reported only if everything was known that the template uses: until then a list may
/// be empty that will not be.
pub(super) fn render(rendering: &Rendering, surroundings: &Surroundings) -> Rendered {
    let known = Known::new(&rendering.known, rendering.has_keys, surroundings.now);
    let (name, text) = match &rendering.source {
        TemplateSource::File(path) => (path.as_str(), known.read(path)),
        TemplateSource::Contents(text) => ("contents", Ok(text.clone())),
    };
    let result = text.and_then(|text| {
        let rendered = template::render_with_lookup(&text, &surroundings.variables, &known);
        rendered.map_err(|error| in_words(name, &text, &error))
    });
    let outcome = match result {
        _ if known.is_incomplete() => Outcome::Incomplete,
        Ok(contents) if contents.len() > LARGEST_RESULT => Outcome::Failed(format!(
            "{name}: the result has {} bytes, allowed are {LARGEST_RESULT}",
            contents.len()
        )),
        Ok(contents) => Outcome::Complete(contents),
        Err(cause) => Outcome::Failed(cause),
    };
    known.rendered(outcome)
}

/// The error with the line and the column, both from 1, and the part of the template.
pub(crate) fn in_words(name: &str, text: &str, error: &TemplateError) -> String {
    let message = &error.message;
    match &error.place {
        None => format!("{name}, line {}: {message}", error.line),
        Some(place) => {
            let line = text.lines().nth(error.line - 1).unwrap_or_default();
            let before = line.get(..place.column).unwrap_or(line);
            let column = before.chars().count() + 1;
            let excerpt: String = place.excerpt.chars().take(100).collect();
            format!(
                "{name}, line {}, column {column}: {message} (in {excerpt})",
                error.line
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::catalogue::{Data, Dependency, Details, Instance};
    use std::fs;

    fn web() -> Dependency {
        Dependency::Service {
            name: "web".into(),
            tag: None,
        }
    }

    fn rendered(source: TemplateSource, known: &[(Dependency, Data)]) -> Rendered {
        let rendering = Rendering {
            destination: "/nowhere".into(),
            source,
            known: known.iter().cloned().collect(),
            has_keys: true,
        };
        let surroundings = Surroundings {
            variables: [("ZONE".to_owned(), "a".to_owned())].into(),
            now: DateTime::UNIX_EPOCH.fixed_offset(),
        };
        render(&rendering, &surroundings)
    }

    fn contents(text: &str, known: &[(Dependency, Data)]) -> Outcome {
        rendered(TemplateSource::Contents(text.into()), known).outcome
    }

    fn instances() -> Data {
        Data::Instances(vec![Instance {
            id: "web-1".into(),
            address: "192.0.2.1".into(),
            port: 80,
            details: Some(Box::new(Details {
                node: "n1".into(),
                tags: vec!["blue".into()],
                meta: [("weight".to_owned(), "3".to_owned())].into(),
                ..Details::default()
            })),
        }])
    }

    #[test]
    fn an_instance_has_the_fields_that_its_registration_has() {
        let text = "{{range service \"web\"}}{{.ID}} {{.Name}} {{.Address}}:{{.Port}} {{join \",\" .Tags}} \
                    {{.Meta.weight}} {{.Node}} {{env \"ZONE\"}}{{end}}";
        assert_eq!(
            contents(text, &[(web(), instances())]),
            Outcome::Complete("web-1 web 192.0.2.1:80 blue 3 n1 a".into())
        );
    }

    #[test]
    fn what_is_not_known_makes_the_result_incomplete_even_if_it_is_an_error() {
        let text = "{{(index (service \"web\") 0).Port}}";
        let first = rendered(TemplateSource::Contents(text.into()), &[]);
        assert_eq!(
            (first.outcome, first.names),
            (Outcome::Incomplete, [web()].into())
        );
        assert_eq!(
            contents(text, &[(web(), instances())]),
            Outcome::Complete("80".into())
        );
        let Outcome::Failed(cause) = contents(text, &[(web(), Data::Instances(vec![]))]) else {
            panic!("it has no first one");
        };
        assert!(cause.starts_with("contents, line 1, column 4: "), "{cause}");
    }

    #[test]
    fn an_error_names_file_line_and_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t").to_string_lossy().into_owned();
        let failure = |text: &str| {
            fs::write(&path, text).unwrap();
            match rendered(TemplateSource::File(path.clone()), &[]).outcome {
                Outcome::Failed(cause) => cause,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            failure("a\n é{{file \"/none\"}}"),
            format!(
                "{path}, line 2, column 5: error calling file: /none cannot be read: no such file or directory (in file \"/none\")"
            )
        );
        assert_eq!(
            failure("a\n{{if}}"),
            format!("{path}, line 2: missing value for if")
        );
        assert_eq!(
            failure("{{frobnicate}}"),
            format!("{path}, line 1: function \"frobnicate\" not defined")
        );
        let endless = "{{range loop 9999}}{{range loop 9999}}{{if 1}}{{end}}{{end}}{{end}}";
        assert!(failure(endless).contains("exceeded 1000000 steps"));
        let huge = "{{range loop 2000}}{{printf \"%999d\" 1}}{{end}}";
        assert!(failure(huge).ends_with("bytes, allowed are 1048576"));
    }

    #[test]
    fn the_number_of_the_files_changes_with_what_they_contain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f").to_string_lossy().into_owned();
        let source = TemplateSource::Contents(format!("{{{{file \"{path}\"}}}}"));
        let mut seen = Vec::new();
        for text in ["1", "2", "1"] {
            fs::write(&path, text).unwrap();
            let rendered = rendered(source.clone(), &[]);
            assert_eq!(rendered.outcome, Outcome::Complete(text.into()));
            seen.push(rendered.files);
        }
        assert!(seen[0].is_some() && seen[0] != seen[1] && seen[0] == seen[2]);
        assert_eq!(rendered(TemplateSource::Contents("x".into()), &[]).files, None);
        for unfit in [folder.path().to_string_lossy().into_owned(), "/dev/zero".into()] {
            let failed = rendered(TemplateSource::File(unfit), &[]).outcome;
            assert!(matches!(failed, Outcome::Failed(_)), "{failed:?}");
        }
    }
}
