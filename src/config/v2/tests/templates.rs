//! The section `templates`.

use super::*;
use domain::plan::{Role, Template, TemplateSource, Wait};

/// The templates with these members, after the given ones of the configuration.
fn templates(before: &str, templates: &str) -> Result<Vec<Template>, String> {
    let text = format!(r#"{{"consul": "c:1"{before}, "templates": [{templates}]}}"#);
    compiled_with(&text, &[], &[]).map(|compiled| compiled.plan.templates)
}

#[test]
fn templates_have_defaults() {
    let found = templates(
        "",
        r#"{"source": "/s", "destination": "/d", "command": "reload now"}"#,
    )
    .unwrap();
    let [template] = found.as_slice() else {
        panic!("{found:?}")
    };
    let command = template.command.clone().unwrap();
    assert_eq!(command.time_limit, Some(Duration::from_secs(30)));
    assert_eq!(
        command.role,
        Role::Template {
            destination: "/d".into()
        }
    );
    let expected = Template {
        source: TemplateSource::File("/s".into()),
        destination: "/d".into(),
        mode: None,
        owner: None,
        command: Some(command),
        wait: None,
        required: false,
    };
    assert_eq!(*template, expected);
    let compiled = compiled_with(r#"{"consul": "c:1"}"#, &[], &[]).unwrap();
    assert_eq!(compiled.plan.start_timeout, Duration::from_secs(60));
    assert!(compiled.plan.templates.is_empty() && !compiled.plan.renders_only);
}

#[test]
fn every_key_of_a_template_is_read() {
    let found = templates(
        r#", "startTimeout": "2m""#,
        r#"{"contents": "{{"{{"}}range service \"web\"}}{{"{{"}}.Port}}{{"{{"}}end}}", "destination": "/d", "mode": "0600",
            "command": {"command": ["a"], "timeout": "3s"}, "wait": "2s:10s", "required": true}"#,
    );
    let template = found.unwrap().remove(0);
    assert_eq!(
        template.source,
        TemplateSource::Contents("{{range service \"web\"}}{{.Port}}{{end}}".into())
    );
    assert_eq!((template.mode, template.required), (Some(0o600), true));
    let limit = template.command.and_then(|job| job.time_limit);
    assert_eq!(limit, Some(Duration::from_secs(3)));
    let wait = Wait {
        quiet: Duration::from_secs(2),
        most: Duration::from_secs(10),
    };
    assert_eq!(template.wait, Some(wait));
}

#[test]
fn errors_in_templates_are_reported() {
    for (members, sentence) in [
        (
            r#"{"source": "/s"}"#,
            "templates[0]: a template needs a `destination`, allowed is the path of a file",
        ),
        (
            r#"{"destination": "/d"}"#,
            "templates[0]: template /d needs a `source`, which is the path of a file, or `contents`",
        ),
        (
            r#"{"destination": "/d", "source": "/s", "contents": "x"}"#,
            "templates[0]: `source` and `contents` are both given in template /d, allowed is one of them",
        ),
        (
            r#"{"destination": "/d", "source": "/s"}, {"destination": "/d", "source": "/t"}"#,
            "templates[1]: there are two templates with the destination /d",
        ),
        (
            r#"{"destination": "/d", "source": "/s", "mode": 644}"#,
            "templates[0].mode: `mode` in template /d is not a mode: found 644, allowed is a string of three or four octal digits such as \"0644\"",
        ),
        (
            r#"{"destination": "/d", "source": "/s", "mode": "0888"}"#,
            "`mode` in template /d is not a mode: found \"0888\"",
        ),
        (
            r#"{"destination": "/d", "source": "/s", "wait": "5s:2s"}"#,
            "templates[0].wait: `wait` in template /d has a maximum of 2s, allowed is its quiet time of 5s or more",
        ),
        (
            r#"{"destination": "/d", "contents": "a\n{{"{{"}}range secret \"x\"}}"}"#,
            "templates[0].contents: `contents` of template /d is not a template: line 2 of it: function \"secret\" not defined",
        ),
        (
            r#"{"destination": "/d", "source": "/s", "owner": "root"}"#,
            "templates[0].owner: unknown key `owner`",
        ),
    ] {
        let report = templates("", members).unwrap_err();
        assert!(report.contains(sentence), "{report}");
    }
    let many: Vec<String> = (0..101)
        .map(|number| format!(r#"{{"source": "/s", "destination": "/d{number}"}}"#))
        .collect();
    let report = templates("", &many.join(", ")).unwrap_err();
    assert!(
        report.contains("there are 101 templates, allowed are 100 at the most"),
        "{report}"
    );
    let report = templates(r#", "startTimeout": 0"#, "").unwrap_err();
    assert!(
        report.contains("startTimeout: `startTimeout`: it cannot be less than 1ms"),
        "{report}"
    );
}

#[test]
fn contents_that_look_up_keys_need_consul_or_etcd() {
    let with_a_folder = |contents: &str| {
        let template = format!(r#"{{"destination": "/d", "contents": "{{{{"{{{{"}}}}{contents}}}}}"}}"#);
        let text = format!(r#"{{"directory": "/c", "templates": [{template}]}}"#);
        compiled_with(&text, &[], &[]).map(|compiled| compiled.plan.templates.len())
    };
    assert_eq!(with_a_folder("services"), Ok(1));
    let report = with_a_folder(r#"ls \"x\""#).unwrap_err();
    let sentence = "templates[0].contents: `contents` of template /d is not a template: line 1 of it: function \"ls\" needs Consul or etcd";
    assert!(report.contains(sentence), "{report}");
}
