//! `mixflow components`.

use std::fmt::Write as _;

use mixflow_core::config::{ARCHIVE_DOC, NOTIFY_DOC, RUN_DOC};
use mixflow_core::registry::ComponentDoc;

use crate::app::App;
use crate::exit::Exit;

pub(crate) fn components(app: &App) -> Exit {
    let mut text = String::new();
    section(&mut text, "sources", app.registry.sources());
    section(&mut text, "transforms", app.registry.transforms());
    section(&mut text, "sinks", app.registry.sinks());
    let tables = [RUN_DOC, ARCHIVE_DOC, NOTIFY_DOC];
    section(&mut text, "tables", tables.iter());
    app.ui.out(&text);
    Exit::Done
}

fn section<'a>(text: &mut String, title: &str, docs: impl Iterator<Item = &'a ComponentDoc>) {
    let _ = writeln!(text, "{title}");
    for doc in docs {
        let _ = writeln!(text, "\n  {}: {}", doc.name, doc.about);
        let width = doc.options.iter().map(|o| o.name.len()).max().unwrap_or(0);
        for option in doc.options {
            let _ = writeln!(
                text,
                "    {:width$}  {} ({})",
                option.name, option.about, option.value
            );
        }
    }
    text.push('\n');
}
