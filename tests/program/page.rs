//! The page of the telemetry endpoint in a real browser, with names and outputs that are meant to break it, and `/health`.

use crate::http::get;
use crate::loopback::OwnAddress;
use crate::program::{Program, UNTIL_TERM};
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};

/// Would change the title if the browser executed it.
const HOSTILE: &str = "<script>document.title='taken'</script><img src=x onerror=document.title='taken'>";

/// A program with a service of a hostile name, whose check prints hostile text and passes when the file `well` exists.
fn served() -> (Program, OwnAddress, String) {
    let own = OwnAddress::reserve();
    let (ip, port) = (own.socket().ip(), own.socket().port());
    let mut program = Program::new();
    program.write("printed", &format!("{HOSTILE}\n"));
    program.configure(&format!(
        r#"{{"directory": "@/catalogue", "telemetry": {{"port": {port}, "interfaces": "static:{ip}"}},
            "services": [
                {{"name": "{HOSTILE}", "id": "web-1", "port": 80, "interfaces": "lo", "poll": 1, "ttl": 5, "tags": ["<b>"],
                  "health": ["sh", "-c", "cat @/printed; test -e @/well"]}}],
            "backends": [{{"name": "db", "poll": 1, "onChange": "true", "tag": "<i>"}}],
            "templates": [
                {{"contents": "ready", "destination": "@/written <u>", "command": "true"}},
                {{"source": "@/missing <u>", "destination": "@/never <u>"}}],
            "coprocesses": [{{"name": "agent </pre>", "command": ["sleep", "1000"]}}]}}"#
    ));
    program.launch(&UNTIL_TERM);
    let address = own.socket().to_string();
    program.until("the check has failed twice", |_| {
        get(&address, "/status").is_some_and(|page| page.body.contains(r#""recent":["failed","failed""#))
    });
    (program, own, address)
}

/// The page as Chromium understands it, with its styles and scripts.
fn in_chromium(address: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut chromium = Command::new("timeout");
    chromium.args([
        "-k",
        "5",
        "60",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
    ]);
    chromium.args(["--no-first-run", "--disable-background-networking", "--dump-dom"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display()));
    chromium.arg(format!("http://{address}/"));
    let output = chromium
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "chromium ends with {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_browser_shows_the_state_and_executes_nothing_of_it() {
    let (mut program, _own, address) = served();
    let page = get(&address, "/").unwrap();
    assert_eq!(page.status, 200);
    for elsewhere in ["http:", "https:", "<link", "<script", "src="] {
        assert!(
            !page
                .body
                .replace(&HOSTILE.replace('<', "&lt;").replace('>', "&gt;"), "")
                .contains(elsewhere),
            "{elsewhere}"
        );
    }
    let shown = in_chromium(&address);
    assert!(shown.contains("<title>containerpilot</title>"), "{shown}");
    for element in ["<script", "<img", "<b>", "<i>", "<u>"] {
        assert!(!shown.contains(element), "{element}: {shown}");
    }
    let escaped =
        "&lt;script&gt;document.title='taken'&lt;/script&gt;&lt;img src=x onerror=document.title='taken'&gt;";
    // The name, and the output of the check.
    assert_eq!(shown.matches(escaped).count(), 2, "{shown}");
    for text in [
        r#"<span class="unhealthy">unhealthy</span>"#,
        r#"<span class="failed">failed</span>"#,
        r#"<strong id="phase">running</strong>"#,
        "ID web-1, tags &lt;b&gt;",
        "db with tag &lt;i&gt;",
        "coprocess agent &lt;/pre&gt;",
        "/written &lt;u&gt;</span><span class=\"written\">written</span>",
        "/never &lt;u&gt;</span><span class=\"failed\">failed</span>",
        "last command <span class=\"passed\">passed</span>",
        "/missing &lt;u&gt; cannot be read: no such file or directory",
        "exit status 1",
        "<title>the last runs, the oldest first: ",
        "<path class=\"failed\" d=\"M3 0V16M9 0V16",
        "</svg> 0 of ",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    program.stop();
}

#[test]
fn health_is_200_only_while_every_service_is_healthy_and_there_is_no_maintenance() {
    let (mut program, _own, address) = served();
    let health = || {
        get(&address, "/health")
            .map(|page| (page.status, page.body))
            .unwrap()
    };
    assert_eq!(health(), (503, "not healthy\n".into()));
    program.write("well", "");
    program.until("the service is healthy", |_| {
        health() == (200, "healthy\n".into())
    });
    program.signal(Signal::SIGUSR1);
    program.until("maintenance is not health", |_| health().0 == 503);
    program.stop();
}
