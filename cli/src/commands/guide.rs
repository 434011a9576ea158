//! What help says beside the arguments: which commands belong together, and
//! how they are typed.

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

use super::examples::EXAMPLES;
use crate::args::GLOBAL;

/// The commands by what they are for.
const GROUPS: [(&str, &[&str]); 4] = [
    (
        "Run",
        &[
            "run", "fetch", "backfill", "replay", "unit", "commit", "vacuum",
        ],
    ),
    (
        "Look",
        &["plan", "status", "gaps", "runs", "report", "archive"],
    ),
    (
        "Ask",
        &[
            "query",
            "sql",
            "catalog",
            "tables",
            "schema",
            "metadata",
            "sample",
            "summarize",
            "drop",
        ],
    ),
    (
        "Build",
        &[
            "init",
            "check",
            "test",
            "components",
            "schema-file",
            "connections",
            "new-sink",
            "completions",
            "man",
        ],
    ),
];

/// The commands that run pipelines: they show progress and write a report.
const RUNS: [&str; 6] = ["run", "fetch", "backfill", "replay", "unit", "commit"];

/// What of [`Global`](crate::args::Global) only those take.
const OF_RUNS: [&str; 2] = ["progress", "report"];

/// Returns the command line with its commands in groups, each with examples, and
/// with options only where they do something.
pub(super) fn guided(root: Command) -> Command {
    let of_runs: Vec<_> = root
        .get_arguments()
        .filter(|arg| OF_RUNS.contains(&arg.get_id().as_str()))
        .map(|arg| arg.clone().hide(true))
        .collect();
    let mut root = root.mut_subcommands(|command| {
        let path = command.get_name().to_owned();
        let command = with_examples(command, &path);
        if RUNS.contains(&path.as_str()) {
            return command;
        }
        hiding(command, &of_runs)
    });
    root = root.after_help("`mixflow COMMAND --help` says more, with examples.");
    let heading = root.get_styles().get_header();
    let template = format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{}\
         {heading}{GLOBAL}:{heading:#}\n{{options}}{{after-help}}",
        listed(&root)
    );
    root.help_template(template)
}

fn with_examples(command: Command, path: &str) -> Command {
    let path = path.to_owned();
    let command = match examples(&command, &path) {
        Some(text) => command.after_help(text),
        None => command,
    };
    command.mut_subcommands(|below| {
        let path = format!("{path} {}", below.get_name());
        with_examples(below, &path)
    })
}

/// Returns the examples of a command, under their heading.
fn examples(command: &Command, path: &str) -> Option<String> {
    let (_, lines) = EXAMPLES.iter().find(|(of, _)| *of == path)?;
    let heading = command.get_styles().get_header();
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("  mixflow {line}"))
        .collect();
    Some(format!(
        "{heading}Examples:{heading:#}\n{}",
        lines.join("\n")
    ))
}

/// Hides options that do nothing, from a command and those below it.
fn hiding(command: Command, args: &[clap::Arg]) -> Command {
    let command = command.mut_subcommands(|below| hiding(below, args));
    command.args(args.iter().cloned())
}

/// Returns the commands in their groups, as help shows them; those that are in
/// none come last.
fn listed(root: &Command) -> String {
    let style = root.get_styles();
    let (heading, literal) = (style.get_header(), style.get_literal());
    let shown: Vec<&Command> = root
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .collect();
    let width = shown.iter().map(|one| one.get_name().len()).max();
    let width = width.unwrap_or_default();
    let is_grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let others: Vec<&str> = shown.iter().map(|command| command.get_name()).collect();
    let others: Vec<&str> = others.into_iter().filter(|one| !is_grouped(one)).collect();
    let groups = GROUPS.into_iter().chain([("Other", &*others)]);
    let mut text = String::new();
    for (title, names) in groups {
        let found = |name: &&str| shown.iter().find(|command| command.get_name() == *name);
        let commands: Vec<_> = names.iter().filter_map(found).collect();
        if commands.is_empty() {
            continue;
        }
        text += &format!("{heading}{title}:{heading:#}\n");
        for command in commands {
            let name = command.get_name();
            let about = command.get_about().map(ToString::to_string);
            let about = about.unwrap_or_default();
            text += &format!("  {literal}{name:width$}{literal:#}  {about}\n");
        }
        text.push('\n');
    }
    text
}

/// Refuses `--report` where no report is written: it would be looked for in
/// vain.
pub(super) fn check_report(
    root: &mut Command,
    matches: &ArgMatches,
    is_given: bool,
) -> Result<(), clap::Error> {
    let name = matches.subcommand_name().unwrap_or_default();
    if !is_given || RUNS.contains(&name) {
        return Ok(());
    }
    let runs = RUNS.join("`, `");
    Err(root.error(
        ErrorKind::ArgumentConflict,
        format!("`{name}` writes no run report: `--report` is for `{runs}`"),
    ))
}
