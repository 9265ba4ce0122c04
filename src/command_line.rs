//! Parses the command line as Go's flag package does.
//!
//! One dash and two are equivalent. Parsing stops at the first argument that is not a flag; that one and all
//! after it are the application and its arguments. If a flag occurs several times, the last one counts.

use domain::plan::Word;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// The parsed command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// `-config`: `file://` and a path, or the JSON text itself.
    pub config: Option<String>,
    /// `-version`: print the version and end.
    pub version: bool,
    /// `-template`: render the configuration and end.
    pub template: bool,
    /// `-check`: check the configuration and end.
    pub check: bool,
    /// `-explain`: with `-check`, describe what the configuration makes the shim do.
    pub explain: bool,
    /// `-format`: the form of what `-check` or `-status` prints.
    pub format: Format,
    /// `-interfaces optional`: with `-check`, an address that this machine does not have is only a warning.
    pub interfaces_optional: bool,
    /// `-reload`, `-maintenance`, `-ping`, `-status` or `-healthy`: send this to the running shim and end.
    pub control: Option<ControlCommand>,
    /// `-socket`: the control socket of the running shim, instead of that of the configuration.
    pub socket: Option<String>,
    /// `-render`: write the files of all templates once and end.
    pub render: bool,
    /// `-out`: the file for the rendered configuration; `-` is the standard output.
    pub out: Option<String>,
    /// The application and its arguments.
    pub application: Vec<Word>,
}

/// What is sent to the running shim. Of several, the first one in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ControlCommand {
    /// Read the configuration again.
    Reload,
    /// Begin or end maintenance.
    Maintenance(bool),
    /// Answer.
    Ping,
    /// Describe the state.
    Status,
    /// Say whether all is well.
    Healthy,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// Why a command line cannot be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `-h` or `-help`: no error.
    HelpRequested,
    /// An error, as a sentence.
    Wrong(String),
}

impl CommandLine {
    /// Parses the arguments after the program's own name.
    ///
    /// # Errors
    /// [`Refusal`]: help was requested, or a flag is unknown or lacks its value.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Refusal> {
        let mut line = Self::default();
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let Some(flag) = flag(&argument) else {
                line.application.push(Word(argument.into_vec()));
                break;
            };
            if flag.is_empty() {
                break;
            }
            line.set(&flag, &mut rest)?;
        }
        line.application
            .extend(rest.map(|argument| Word(argument.into_vec())));
        line.refuse_flags_without_others()?;
        Ok(line)
    }

    /// # Errors
    /// A flag that means nothing without another one.
    fn refuse_flags_without_others(&self) -> Result<(), Refusal> {
        let check = ("-check", self.check);
        let printed = self.check || self.control == Some(ControlCommand::Status);
        let printed = ("-check or -status", printed);
        let asks = (
            "-reload, -maintenance, -ping, -status or -healthy",
            self.control.is_some(),
        );
        let given = [
            ("explain", self.explain, check),
            ("format", self.format != Format::default(), printed),
            ("interfaces", self.interfaces_optional, check),
            ("socket", self.socket.is_some(), asks),
        ];
        match given.iter().find(|(_, given, (_, fits))| *given && !fits) {
            Some((name, _, (others, _))) => Err(Refusal::Wrong(format!(
                "-{name} is used together with {others} only"
            ))),
            None => Ok(()),
        }
    }

    /// Notes a command for the running shim.
    fn send(&mut self, command: ControlCommand, given: bool) {
        let first = self.control.filter(|first| *first < command);
        if given {
            self.control = first.or(Some(command));
        } else {
            self.control = self.control.filter(|other| *other != command);
        }
    }

    fn set(&mut self, flag: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<(), Refusal> {
        if flag.starts_with(['-', '=']) {
            return Err(Refusal::Wrong(format!("bad flag syntax: -{flag}")));
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        match name {
            "config" => self.config = Some(text(name, value, rest)?),
            "check" => self.check = boolean(name, value)?,
            "explain" => self.explain = boolean(name, value)?,
            "format" => {
                let formats = [("text", Format::Text), ("json", Format::Json)];
                self.format = one_of(&formats, name, value, rest)?;
            }
            "interfaces" => {
                let answers = [("required", false), ("optional", true)];
                self.interfaces_optional = one_of(&answers, name, value, rest)?;
            }
            "healthy" => self.send(ControlCommand::Healthy, boolean(name, value)?),
            "maintenance" => {
                let answers = [("enable", true), ("disable", false)];
                let on = one_of(&answers, name, value, rest)?;
                self.send(ControlCommand::Maintenance(on), true);
            }
            "out" => self.out = Some(text(name, value, rest)?),
            "ping" => self.send(ControlCommand::Ping, boolean(name, value)?),
            "reload" => self.send(ControlCommand::Reload, boolean(name, value)?),
            "render" => self.render = boolean(name, value)?,
            "socket" => self.socket = Some(text(name, value, rest)?),
            "status" => self.send(ControlCommand::Status, boolean(name, value)?),
            "template" => self.template = boolean(name, value)?,
            "version" => self.version = boolean(name, value)?,
            "h" | "help" => return Err(Refusal::HelpRequested),
            _ => return Err(Refusal::Wrong(format!("flag provided but not defined: -{name}"))),
        }
        Ok(())
    }
}

/// A flag without its dashes; empty for `--`, which ends the flags. `None` if the argument is not a flag,
/// such as `-`.
fn flag(argument: &OsString) -> Option<String> {
    let text = argument.to_str()?;
    let flag = text.strip_prefix('-').filter(|flag| !flag.is_empty())?;
    Some(flag.strip_prefix('-').unwrap_or(flag).to_owned())
}

fn text(
    name: &str,
    value: Option<String>,
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<String, Refusal> {
    let next = || rest.next().map(|value| value.to_string_lossy().into_owned());
    value
        .or_else(next)
        .ok_or_else(|| Refusal::Wrong(format!("flag needs an argument: -{name}")))
}

/// The meaning of a flag's value, which is one of the given words.
fn one_of<T: Copy>(
    words: &[(&str, T)],
    name: &str,
    value: Option<String>,
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<T, Refusal> {
    let value = text(name, value, rest)?;
    let meant = words.iter().find(|(word, _)| *word == value);
    meant.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let words = words.join(" or ");
        Refusal::Wrong(format!(
            "invalid value {value:?} for flag -{name}: allowed is {words}"
        ))
    })
}

/// Parses the value of a boolean flag, which may be given only after `=`, in one of Go's spellings.
fn boolean(name: &str, value: Option<String>) -> Result<bool, Refusal> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(Refusal::Wrong(format!(
            "invalid boolean value {other:?} for -{name}: parse error"
        ))),
    }
}

/// The help text, with the program's name as it was called.
pub fn usage(program: &str) -> String {
    let flags = [
        (
            "check",
            "Check the configuration and quit: 0 if it can be used, 1 if it has errors. Nothing is started.",
        ),
        (
            "config string",
            "JSON config or file:// path to JSON config file.",
        ),
        (
            "explain",
            "With -check: describe what the configuration makes the shim do.",
        ),
        (
            "format string",
            "With -check or -status: the form of the answer, text or json. (default \"text\")",
        ),
        (
            "healthy",
            "Ask the running shim and quit: 0 if it runs, is not in maintenance, and all services are healthy, otherwise 1.",
        ),
        (
            "interfaces string",
            "With -check: required, or optional for a configuration of a machine with other interfaces. (default \"required\")",
        ),
        (
            "maintenance string",
            "Begin or end maintenance of the running shim and quit when it is done: enable or disable.",
        ),
        (
            "out string",
            "-(default) for stdout or file:// path where to save rendered JSON config file. (default \"-\")",
        ),
        (
            "ping",
            "Ask the running shim for an answer and quit: 0 if there is one.",
        ),
        (
            "reload",
            "Make the running shim read its configuration again and quit: 1 if it has errors, which are printed.",
        ),
        (
            "render",
            "Write the files of all templates once and quit. (default: false)",
        ),
        (
            "socket string",
            "The control socket of the running shim. (default: that of the configuration)",
        ),
        ("status", "Print the state of the running shim and quit."),
        ("template", "Render template and quit. (default: false)"),
        ("version", "Show version identifier and quit."),
    ];
    let describe = |(flag, text)| format!("\n  -{flag}\n    \t{text}");
    let flags: String = flags.into_iter().map(describe).collect();
    format!("Usage of {program}:{flags}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<CommandLine, Refusal> {
        CommandLine::parse(arguments.iter().map(OsString::from))
    }

    fn words(words: &[&str]) -> Vec<Word> {
        words.iter().map(|word| Word::from(*word)).collect()
    }

    #[test]
    fn one_dash_two_dashes_and_an_equals_sign_are_the_same() {
        for form in [
            &["-config", "X", "app"][..],
            &["-config=X", "app"],
            &["--config", "X", "app"],
            &["--config=X", "app"],
        ] {
            let line = parse(form).unwrap();
            assert_eq!(line.config.as_deref(), Some("X"), "{form:?}");
            assert_eq!(line.application, words(&["app"]), "{form:?}");
        }
    }

    #[test]
    fn everything_after_the_first_word_that_is_no_flag_is_the_applications() {
        let line = parse(&["-config", "X", "app", "-config", "Y", "--version", "--", "-"]).unwrap();
        assert_eq!(
            line.application,
            words(&["app", "-config", "Y", "--version", "--", "-"])
        );
        assert_eq!((line.config.as_deref(), line.version), (Some("X"), false));
    }

    #[test]
    fn two_dashes_end_the_flags_and_are_consumed_and_one_is_an_argument() {
        assert_eq!(
            parse(&["--", "-config"]).unwrap().application,
            words(&["-config"])
        );
        assert_eq!(
            parse(&["-", "-config"]).unwrap().application,
            words(&["-", "-config"])
        );
    }

    #[test]
    fn the_last_of_repeated_flags_wins_and_a_value_may_be_empty_or_look_like_a_flag() {
        assert_eq!(
            parse(&["-config", "X", "-config=Y"]).unwrap().config.as_deref(),
            Some("Y")
        );
        assert_eq!(parse(&["-config="]).unwrap().config.as_deref(), Some(""));
        assert_eq!(
            parse(&["-config", "-out"]).unwrap().config.as_deref(),
            Some("-out")
        );
        assert_eq!(parse(&["-config=a=b"]).unwrap().config.as_deref(), Some("a=b"));
    }

    #[test]
    fn booleans_take_a_value_only_with_an_equals_sign() {
        assert!(parse(&["-version"]).unwrap().version);
        assert!(!parse(&["-version=false"]).unwrap().version);
        let line = parse(&["-template", "true"]).unwrap();
        assert_eq!((line.template, line.application), (true, words(&["true"])));
        assert!(matches!(parse(&["-version=maybe"]), Err(Refusal::Wrong(_))));
    }

    #[test]
    fn errors_in_flags_have_gos_messages() {
        let wrong = |arguments: &[&str]| match parse(arguments) {
            Err(Refusal::Wrong(sentence)) => sentence,
            other => panic!("{other:?}"),
        };
        assert_eq!(wrong(&["-confg", "X"]), "flag provided but not defined: -confg");
        assert_eq!(wrong(&["-config"]), "flag needs an argument: -config");
        assert_eq!(wrong(&["---config"]), "bad flag syntax: --config");
        assert_eq!(parse(&["-h"]), Err(Refusal::HelpRequested));
        assert_eq!(parse(&["--help"]), Err(Refusal::HelpRequested));
    }

    #[test]
    fn of_several_commands_for_the_running_shim_the_first_in_order_counts() {
        let control = |arguments: &[&str]| parse(arguments).unwrap().control;
        assert_eq!(control(&["-status"]), Some(ControlCommand::Status));
        assert_eq!(
            control(&["-maintenance", "enable"]),
            Some(ControlCommand::Maintenance(true))
        );
        assert_eq!(
            control(&["-ping", "-maintenance=disable", "-healthy"]),
            Some(ControlCommand::Maintenance(false))
        );
        assert_eq!(
            control(&["-healthy", "-ping", "-reload"]),
            Some(ControlCommand::Reload)
        );
        assert_eq!(control(&["-ping=false"]), None);
        assert_eq!(control(&["-ping", "-ping=false"]), None);
        let line = parse(&["-status", "-format", "json", "-socket", "/run/s"]).unwrap();
        assert_eq!(
            (line.format, line.socket.as_deref()),
            (Format::Json, Some("/run/s"))
        );
        for wrong in [
            &["-maintenance", "on"][..],
            &["-maintenance"],
            &["-socket", "/run/s"],
            &["-ping", "-format", "json"],
        ] {
            assert!(matches!(parse(wrong), Err(Refusal::Wrong(_))), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_reach_the_application() {
        let odd = OsString::from_vec(vec![b'-', 0xff]);
        let line = CommandLine::parse([odd.clone()]).unwrap();
        assert_eq!(line.application, [Word(odd.into_vec())]);
    }

    #[test]
    fn the_usage_names_every_flag() {
        let usage = usage("containerpilot");
        let flags = usage.lines().filter_map(|line| line.strip_prefix("  -"));
        let flags: Vec<&str> = flags.map(|flag| flag.split(' ').next().unwrap()).collect();
        assert!(flags.is_sorted(), "{flags:?}");
        assert!(usage.starts_with("Usage of containerpilot:\n  -check\n"));
        assert!(usage.contains("\n  -config string\n    \tJSON config or"));
        assert!(usage.contains("(default \"-\")\n  -ping\n"));
    }
}
