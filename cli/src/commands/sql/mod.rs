//! `mixflow sql`: a shell over a database.

mod dots;
mod lines;
mod names;

use std::io::{self, IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::Args as ClapArgs;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_duckdb::Store;
use mixflow_sink_duckdb::sql::statements;

use super::hints::hinted;
use super::query::path;
use crate::app::App;
use crate::args::{DbArg, Format, OutputArgs};
use crate::interrupt::{CtrlCEnds, EndsAtSignals};
use crate::output;
use crate::ui::counted;
use dots::Dot;
use lines::{Line, Lines};
use names::Names;

/// `mixflow sql`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SqlArgs {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// What DuckDB may use before it works on disk
    #[arg(long, value_name = "SIZE", default_value = "1GB")]
    pub(crate) memory: String,
}

/// How to get what is not shown.
const ALL: &str = "`.output rows.csv` or `.format jsonl` before the query";

pub(crate) fn sql(app: &App, args: &SqlArgs) -> Result<()> {
    let path = path(app, &args.db)?;
    // A database that is not there is told before anything is typed.
    let tables = Store::open_for_queries(&path, Some(&args.memory))?.list_tables()?;
    let mut shell = Shell {
        app,
        path,
        memory: args.memory.clone(),
        format: Format::Table,
        output: None,
    };
    if !io::stdin().is_terminal() {
        return shell.batch();
    }
    let tables = counted(tables.len() as u64, "table");
    let path = shell.path.display();
    app.ui.status(&format!(
        "{path}: {tables}; `.help` says what there is, Ctrl-D leaves"
    ));
    shell.interactive()
}

struct Shell<'a> {
    app: &'a App,
    path: PathBuf,
    memory: String,
    format: Format,
    /// Where the next answer goes, if not to the terminal.
    output: Option<PathBuf>,
}

impl Shell<'_> {
    /// Asks what is typed, until the end of it.
    fn interactive(&mut self) -> Result<()> {
        let (names, _looking) = Names::looked_for(self.path.clone());
        let history = self
            .app
            .state_folder()
            .map(|folder| folder.join("sql_history"));
        let mut lines = Lines::new(names, history, self.app.ui.has_color_on_stdout())?;
        loop {
            let text = match lines.next()? {
                Line::Text(text) => text,
                Line::Dropped => continue,
                Line::End => return Ok(()),
            };
            if let Some(dot) = Dot::of(&text) {
                match dot {
                    Ok(Dot::Quit) => return Ok(()),
                    dot => self.tell(|shell| shell.dot(dot?)),
                };
                continue;
            }
            for statement in statements(&text).0 {
                if !self.tell(|shell| shell.ask(statement)) {
                    break;
                }
            }
        }
    }

    /// Asks what comes from a pipe; the first failure ends it.
    fn batch(&mut self) -> Result<()> {
        let signals = EndsAtSignals::from_now();
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(|error| {
            Error::new(ErrorKind::Io, "cannot read the queries from stdin").with_source(error)
        })?;
        let (whole, rest) = statements(&text);
        for statement in whole
            .into_iter()
            .chain(Some(rest).filter(|rest| !rest.is_empty()))
        {
            let store = self.store()?;
            signals.by(store.interrupter());
            self.answer(&store, statement)?;
        }
        Ok(())
    }

    /// Does something, or says why not; returns whether it was done.
    fn tell(&mut self, does: impl FnOnce(&mut Self) -> Result<()>) -> bool {
        match does(self) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.app.ui.status("interrupted");
                false
            }
            Err(error) => {
                self.app.ui.error(&error);
                false
            }
        }
    }

    /// Opens the database; only for a question, so that a run may write between
    /// two of them.
    fn store(&self) -> Result<Store> {
        Store::open_for_queries(&self.path, Some(&self.memory))
    }

    fn ask(&mut self, sql: &str) -> Result<()> {
        let store = self.store()?;
        let _ctrl_c = CtrlCEnds::question(store.interrupter());
        self.answer(&store, sql)
    }

    fn answer(&mut self, store: &Store, sql: &str) -> Result<()> {
        let output = self.output.take();
        let named = output.as_deref().and_then(output::format_of);
        let how = OutputArgs {
            format: named.unwrap_or(self.format),
            output,
        };
        let answered = || {
            let mut query = store.query(sql)?;
            let is_plan = query.is_plan();
            let batches = query.batches()?;
            if is_plan && how.format == Format::Table && how.output.is_none() {
                self.app.ui.out(&output::plan(batches)?);
                return Ok(());
            }
            output::write_hinting(&how, ALL, &batches.schema(), batches)
        };
        answered().map_err(|error| hinted(error, sql))?;
        if let Some(path) = &how.output {
            self.app.ui.status(&format!("wrote {}", path.display()));
        }
        Ok(())
    }

    fn dot(&mut self, dot: Dot) -> Result<()> {
        match dot {
            Dot::Help => self.app.ui.out(dots::HELP),
            Dot::Format(format) => self.format = format,
            Dot::Output(path) => self.output = Some(path),
            Dot::Tables => self.ask(dots::TABLES)?,
            Dot::Schema(table) => {
                let table = self.store()?.table(&table)?;
                self.ask(&dots::schema(&table))?;
            }
            Dot::Properties(table) => {
                let store = self.store()?;
                let _ctrl_c = CtrlCEnds::question(store.interrupter());
                super::catalog::show_all(&store, &table)?;
            }
            // Whoever reads lines has ended with it.
            Dot::Quit => {}
        }
        Ok(())
    }
}
