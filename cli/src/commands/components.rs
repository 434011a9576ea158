//! `mixflow components`: what may stand in a pipeline file.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use mixflow::sinks::PluginLibrary;
use mixflow_core::config::{ARCHIVE_DOC, NOTIFY_DOC, PROJECT_DOC, RUN_DOC};
use mixflow_core::registry::{ComponentDoc, OptionDoc};
use mixflow_core::suggest::did_you_mean;
use mixflow_core::{Error, ErrorKind, Result};

use crate::app::App;
use crate::args::local;
use crate::output;

/// `mixflow components`.
#[derive(Debug, Args)]
pub(crate) struct ComponentsArgs {
    /// Only these: a type, or a table such as `run`, `source` or `source.retry`
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Show what a plugin takes instead
    #[arg(long, value_name = "FILE", value_parser = local, conflicts_with = "names")]
    pub(crate) library: Option<PathBuf>,
}

/// Lines longer than this are hard to read on any terminal.
const WIDEST: usize = 100;

pub(crate) fn components(app: &App, args: &ComponentsArgs) -> Result<()> {
    let width = usize::from(output::width()).min(WIDEST);
    if let Some(path) = &args.library {
        app.ui.out(&plugin(&PluginLibrary::open(path)?, width));
        return Ok(());
    }
    let all = sections(app);
    let is_meant = |section: &Section, name: &str| {
        let short = section.table.rsplit('.').next().unwrap_or_default();
        let table = section.table.as_str();
        let within = table.starts_with(&format!("{name}."));
        section.kind.as_deref() == Some(name) || table == name || short == name || within
    };
    for name in &args.names {
        if !all.iter().any(|section| is_meant(section, name)) {
            let kinds = all.iter().filter_map(|section| section.kind.as_deref());
            let tables = all.iter().map(|section| section.table.as_str());
            let known: Vec<&str> = kinds.chain(tables).collect();
            let hint = did_you_mean(name, &known);
            let message = format!("there is no component or table `{name}`{hint}");
            return Err(Error::new(ErrorKind::Config, message)
                .hint("`mixflow components` shows all of them"));
        }
    }
    let mut text = String::new();
    let mut table = None;
    for section in &all {
        if args.names.is_empty() || args.names.iter().any(|name| is_meant(section, name)) {
            section.write(&mut text, table == Some(&section.table), width);
            table = Some(&section.table);
        }
    }
    app.ui.out(text.trim_start_matches('\n'));
    Ok(())
}

/// A table of a pipeline file, of one type if there are several.
struct Section {
    table: String,
    kind: Option<String>,
    about: String,
    options: Vec<OptionDoc>,
}

impl Section {
    fn of(table: &str, kind: Option<&str>, doc: &ComponentDoc) -> Section {
        Section {
            table: table.to_owned(),
            kind: kind.map(str::to_owned),
            about: doc.about.to_owned(),
            options: doc.options.to_vec(),
        }
    }

    /// Writes it, below the name of its table unless that stands there already.
    fn write(&self, text: &mut String, below_its_table: bool, width: usize) {
        let table = match self.table.as_str() {
            "" => "at the top of the file".to_owned(),
            "transform" => "[[transform]]".to_owned(),
            table => format!("[{table}]"),
        };
        match &self.kind {
            Some(kind) => {
                if !below_its_table {
                    let _ = writeln!(text, "\n{table}");
                }
                text.push('\n');
                wrapped(text, &format!("{kind}: {}", self.about), 2, width);
            }
            None => {
                text.push('\n');
                wrapped(text, &format!("{table}: {}", self.about), 0, width);
            }
        }
        for option in &self.options {
            lines(text, option.name, option.value, option.about, width);
        }
    }
}

/// Returns every table that a pipeline file may have.
fn sections(app: &App) -> Vec<Section> {
    let mut all = vec![Section {
        table: String::new(),
        kind: None,
        about: "what is in no table".to_owned(),
        options: vec![OptionDoc::new(
            "name",
            "text, default the name of the file",
            "what reports and messages call the pipeline",
        )],
    }];
    let mut nested: Vec<(Section, Vec<&str>)> = Vec::new();
    for (table, docs) in [
        ("source", app.registry.sources().collect::<Vec<_>>()),
        ("transform", app.registry.transforms().collect()),
        ("sink", app.registry.sinks().collect()),
    ] {
        for doc in docs {
            let mut section = Section::of(table, Some(doc.name), doc);
            for below in split(&mut section) {
                let same = nested.iter_mut().find(|(other, _)| {
                    other.table == below.table && other.options == below.options
                });
                match same {
                    Some((_, of)) => of.push(doc.name),
                    None => nested.push((below, vec![doc.name])),
                }
            }
            all.push(section);
        }
        for (mut section, of) in nested.drain(..) {
            section.about = format!("{} (of {})", section.about, of.join(" and "));
            all.push(section);
        }
    }
    for doc in [&RUN_DOC, &ARCHIVE_DOC, &NOTIFY_DOC, &PROJECT_DOC] {
        all.push(Section::of(doc.name, None, doc));
    }
    all
}

/// Takes the tables within a section out of it: keys such as `retry.max_wait`.
fn split(section: &mut Section) -> Vec<Section> {
    let mut below: Vec<Section> = Vec::new();
    section.options.retain(|option| {
        let Some((table, name)) = option.name.split_once('.') else {
            return true;
        };
        let table = format!("{}.{table}", section.table);
        let option = OptionDoc { name, ..*option };
        match below.iter_mut().find(|one| one.table == table) {
            Some(one) => one.options.push(option),
            None => below.push(Section {
                table,
                kind: None,
                about: String::new(),
                options: vec![option],
            }),
        }
        false
    });
    for one in &mut below {
        let name = one.table.rsplit('.').next().unwrap_or_default();
        let own = section
            .options
            .iter_mut()
            .find(|option| option.name == name);
        if let Some(own) = own {
            let about = own.about.trim_end_matches("; its keys are:");
            own.about = about;
            one.about = about.to_owned();
        }
    }
    below
}

/// Describes a sink of a library.
fn plugin(library: &PluginLibrary, width: usize) -> String {
    let (major, minor) = library.version();
    let mut text = "[sink]\n\n".to_owned();
    let mode = match library.has_modes() {
        true => "has write modes",
        false => "has no write mode",
    };
    let about = format!(
        "plugin: the sink `{}` of {}, built for version {major}.{minor} of the plugin interface; it {mode}",
        library.name(),
        library.path().display()
    );
    wrapped(&mut text, &about, 2, width);
    text.push_str("\n[sink.options]\n");
    match library.options() {
        Some(options) if options.is_empty() => text.push_str("    it takes none\n"),
        Some(options) => {
            for option in options {
                lines(&mut text, &option.name, &option.value, &option.about, width);
            }
        }
        None => wrapped(
            &mut text,
            "the library does not say which it takes; `mixflow check` names those that are wrong",
            4,
            width,
        ),
    }
    text
}

/// Writes a key with what may be written there, and below it what it is for.
fn lines(text: &mut String, name: &str, value: &str, about: &str, width: usize) {
    let head = match value {
        "" => name.to_owned(),
        value => format!("{name} ({value})"),
    };
    wrapped(text, &head, 4, width);
    wrapped(text, about, 8, width);
}

/// Writes a text in lines that are no wider than `width` if its words are not.
fn wrapped(text: &mut String, words: &str, indent: usize, width: usize) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let wide = word.chars().count();
        if column > 0 && column + 1 + wide > width {
            text.push('\n');
            column = 0;
        }
        if column == 0 {
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += wide;
    }
    if column > 0 {
        text.push('\n');
    }
}
