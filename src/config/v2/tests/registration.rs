//! The keys of services and backends about what is registered and which instances count.

use super::*;
use domain::catalogue::Endpoint;
use domain::plan::{Attributes, Filter, Host, Registration, Weights};

const CONSUL: &str = r#""consul": "c:1""#;

fn registered(members: &str) -> Registration {
    let plan = plan_of(&service_with(members));
    plan.services.into_iter().next().unwrap().registration
}

fn backend(catalogue: &str, members: &str) -> Result<Filter, String> {
    let text =
        format!(r#"{{{catalogue}, "backends": [{{"name": "db", "poll": 5, "onChange": "true"{members}}}]}}"#);
    let compiled = compiled_with(&text, &[], &[])?;
    Ok(compiled.plan.backends.into_iter().next().unwrap().filter)
}

#[test]
fn an_address_is_an_ip_address_or_a_host_name() {
    for (address, expected) in [
        ("192.0.2.9", Host::from([192, 0, 2, 9])),
        ("2001:db8::9", Host::from("2001:db8::9")),
        ("app.example", Host::Name("app.example".into())),
        ("web_1", Host::Name("web_1".into())),
    ] {
        let found = registered(&format!(r#""address": "{address}""#)).address;
        assert_eq!(found, expected);
        assert_eq!(found.to_string(), address);
    }
}

#[test]
fn a_service_may_have_pairs_weights_and_tagged_addresses() {
    let members = r#""meta": {"version": "2", "zone": ""}, "weights": {"passing": 10},
        "taggedAddresses": {"lan": {"address": "10.0.0.7", "port": 81}, "wan": {"address": "app.example"}}"#;
    let endpoint = |address: &str, port| {
        Some(Endpoint {
            address: address.into(),
            port,
        })
    };
    let expected = Attributes {
        meta: [("version".into(), "2".into()), ("zone".into(), String::new())].into(),
        weights: Some(Weights {
            passing: 10,
            warning: 1,
        }),
        lan: endpoint("10.0.0.7", 81),
        wan: endpoint("app.example", 80),
    };
    assert_eq!(*registered(members).attributes, expected);
    assert_eq!(*registered(r#""tags": []"#).attributes, Attributes::default());
}

#[test]
fn errors_in_an_address_are_reported() {
    let long_name = format!(r#""address": "{}""#, "a.".repeat(127) + "a");
    for (members, sentence) in [
        (
            r#""address": "db", "interfaces": "eth0""#,
            "services[0].interfaces: only one of `address` and `interfaces` may be given in service app",
        ),
        (
            r#""address": "0.0.0.0""#,
            "services[0].address: `address` in service app cannot be used: found \"0.0.0.0\", allowed is an IP address that \
             others can reach, or a host name",
        ),
        (
            r#""address": "::ffff:192.0.2.1""#,
            "`address` in service app cannot be used",
        ),
        (
            r#""address": "192.0.2.999""#,
            "`address` in service app cannot be used",
        ),
        (r#""address": "db:80""#, "`address` in service app cannot be used"),
        (r#""address": """#, "`address` in service app cannot be used"),
        (&long_name, "`address` in service app cannot be used"),
    ] {
        let report = report_of(&service_with(members));
        assert!(report.contains(sentence), "{members}: {report}");
    }
}

#[test]
fn errors_in_the_keys_of_an_entry_are_reported() {
    let many = (0..65).map(|number| format!(r#""k{number}": "v""#));
    let many = format!(r#""meta": {{{}}}"#, many.collect::<Vec<_>>().join(", "));
    let long_key = format!(r#""meta": {{"{}": "v"}}"#, "k".repeat(129));
    let long_value = format!(r#""meta": {{"k": "{}"}}"#, "v".repeat(513));
    for (members, sentence) in [
        (r#""meta": []"#, "`meta` in service app is not an object"),
        (
            r#""meta": {"a b": "c"}"#,
            "a key of `meta` in service app cannot be used, allowed are 1 to 128 letters",
        ),
        (
            r#""meta": {"": "c"}"#,
            "a key of `meta` in service app cannot be used",
        ),
        (r#""meta": {"consul-x": "c"}"#, "that do not begin with consul-"),
        (r#""meta": {"a": 1}"#, "services[0].meta.a: not a string: found 1"),
        (&long_key, "a key of `meta` in service app cannot be used"),
        (
            &long_value,
            "a value of `meta` in service app has 513 bytes, allowed are 512 at the most",
        ),
        (
            &many,
            "services[0].meta: `meta` in service app has 65 pairs, allowed are 64 at the most",
        ),
        (
            r#""weights": {"passing": 0}"#,
            "services[0].weights.passing: `passing` of `weights` in service app is out of range: found 0, allowed is a whole \
             number from 1 to 65535",
        ),
        (
            r#""weights": {"warning": -1}"#,
            "`warning` of `weights` in service app is out of range",
        ),
        (r#""weights": {"critical": 1}"#, "unknown key `critical`"),
        (
            r#""taggedAddresses": {"lan": {}}"#,
            "an endpoint of `taggedAddresses` in service app needs an `address`",
        ),
        (
            r#""taggedAddresses": {"lan": {"address": "a", "port": 0}}"#,
            "a port of `taggedAddresses` in service app is out of range",
        ),
        (
            r#""taggedAddresses": {"van": {"address": "a"}}"#,
            "unknown key `van`",
        ),
    ] {
        let report = report_of(&service_with(members));
        assert!(report.contains(sentence), "{members}: {report}");
    }
    let report = backend(CONSUL, r#", "datacenter": "dc 1""#).unwrap_err();
    assert!(
        report.contains("`datacenter` in backend db cannot be used"),
        "{report}"
    );
}

#[test]
fn a_backend_may_select_by_tags_datacenter_and_state() {
    let tags = |tags: &[&str]| tags.iter().map(|tag| String::from(*tag)).collect();
    for (members, expected) in [
        ("", Filter::default()),
        (r#", "passing": true, "tags": []"#, Filter::default()),
        (
            r#", "tags": ["a", "b"], "datacenter": "dc-2", "passing": false"#,
            Filter {
                tags: tags(&["a", "b"]),
                datacenter: Some("dc-2".into()),
                also_failing: true,
            },
        ),
    ] {
        assert_eq!(backend(CONSUL, members).unwrap(), expected, "{members}");
    }
}

#[test]
fn what_only_consul_has_is_refused_with_another_catalogue() {
    let etcd = r#""etcd": {"endpoints": "http://e:2379"}"#;
    for (catalogue, name) in [(etcd, "etcd"), (r#""directory": "/c""#, "a directory")] {
        for (key, value) in [("datacenter", "\"dc1\""), ("passing", "false")] {
            let report = backend(catalogue, &format!(", \"{key}\": {value}")).unwrap_err();
            let sentence = format!("`{key}` in backend db needs Consul: {name} has nothing like it");
            assert!(report.contains(&sentence), "{report}");
        }
        for (key, value) in [
            ("weights", r#"{"passing": 2}"#),
            ("taggedAddresses", r#"{"lan": {"address": "a"}}"#),
        ] {
            let service = service_with(&format!("\"{key}\": {value}"));
            let report = compiled_with(&format!("{{{catalogue}, {service}}}"), &[], &[]).unwrap_err();
            let sentence = format!("`{key}` in service app needs Consul: {name} has nothing like it");
            assert!(report.contains(&sentence), "{report}");
        }
        let fine = service_with(r#""meta": {"a": "b"}"#);
        compiled_with(&format!("{{{catalogue}, {fine}}}"), &[], &[]).unwrap();
        backend(catalogue, r#", "tags": ["a"], "passing": true"#).unwrap();
    }
}

#[test]
fn the_token_may_be_in_a_file() {
    let with = |members: &str, variables: &[(&str, &str)]| {
        let text = format!(r#"{{"consul": {{"address": "c:1", {members}}}}}"#);
        compiled_with(&text, variables, &[]).map(|compiled| match compiled.plan.catalogue {
            Catalogue::Consul(consul) => (consul.token, consul.token_file),
            other => panic!("{other:?}"),
        })
    };
    let file = r#""tokenFile": "/run/token""#;
    assert_eq!(with(file, &[]).unwrap(), (None, Some("/run/token".into())));
    let token = Some(Secret("s".into()));
    let variable = [("CONSUL_HTTP_TOKEN", "s")];
    assert_eq!(
        with(file, &variable).unwrap(),
        (token, None),
        "the environment has priority"
    );
    let report = with(&format!(r#"{file}, "token": "s""#), &[]).unwrap_err();
    assert!(
        report.contains("only one of `token` and `tokenFile` may be given"),
        "{report}"
    );
}
