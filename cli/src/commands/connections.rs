//! `mixflow connections`.

use clap::{Args as ClapArgs, Subcommand};
use mixflow::connections::Connections;
use mixflow_core::config::{Override, OverrideValue};
use mixflow_core::{Error, ErrorKind, Result};

use super::check::ask;
use super::tables::{show, texts};
use crate::app::App;
use crate::args::ShowArgs;
use crate::defaults::warning_of;
use crate::exit::Exit;

/// `mixflow connections`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionsCommand {
    /// List the connections of ~/.config/mixflow/connections.toml; shows no secret
    List(ListArgs),
    /// Ask Mixpanel whether connections work: at most three small requests each
    Test(TestArgs),
}

/// `mixflow connections list`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    show: ShowArgs,
}

/// `mixflow connections test`.
#[derive(Debug, ClapArgs)]
pub(crate) struct TestArgs {
    /// Names of connections [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) fn connections(app: &App, command: &ConnectionsCommand) -> Exit {
    let connections = match read(app) {
        Ok(connections) => connections,
        Err(error) => return app.fail(&error),
    };
    match command {
        ConnectionsCommand::List(args) => app.exit_of(list(app, &connections, args)),
        ConnectionsCommand::Test(args) => test(app, &connections, args),
    }
}

fn read(app: &App) -> Result<Connections> {
    let path = app.connections_file().ok_or_else(|| {
        Error::new(ErrorKind::Config, "cannot find the connections")
            .because("there is no home folder")
            .hint("set XDG_CONFIG_HOME")
    })?;
    Connections::read(&path)
}

fn list(app: &App, connections: &Connections, args: &ListArgs) -> Result<()> {
    if let Some(warning) = warning_of(connections) {
        app.ui.warning(&warning);
    }
    let all = connections.all();
    if all.is_empty() {
        let path = connections.path().display();
        app.ui.note(&format!("there is none in `{path}`"));
    }
    let rows: Vec<_> = all.iter().map(|one| one.described()).collect();
    let column = |n: usize| texts(rows.iter().map(move |row| row[n].as_deref()));
    show(
        &args.show,
        vec![
            (
                "connection",
                texts(all.iter().map(|one| Some(one.name.as_str()))),
            ),
            ("project_id", column(0)),
            ("region", column(1)),
            ("account", column(2)),
            ("secret", column(3)),
            ("base_url", column(4)),
        ],
    )
}

fn test(app: &App, connections: &Connections, args: &TestArgs) -> Exit {
    let names: Vec<&str> = match args.names.as_slice() {
        [] => connections
            .all()
            .iter()
            .map(|one| one.name.as_str())
            .collect(),
        names => names.iter().map(String::as_str).collect(),
    };
    // Before any request.
    let known = names
        .iter()
        .try_for_each(|name| connections.get(name).map(|_| ()));
    if let Err(error) = known {
        return app.fail(&error);
    }
    if names.is_empty() {
        let path = connections.path().display();
        let error = Error::new(ErrorKind::Config, "there is no connection to test");
        let error = error.because(format!("`{path}` has none, or is not there"));
        return app.fail(
            &error.hint("write a table `[prod]` with `project_id`, `region` and `auth` into it"),
        );
    }
    let mut worst = Exit::Done;
    for name in names {
        app.ui.out(&format!("{:<11} {name}\n", "connection"));
        let exit = one(app, name);
        worst = worst.max(exit);
        // Who interrupts means all of it.
        if exit == Exit::Interrupted {
            break;
        }
    }
    worst
}

/// Asks for one event of one day, as `check --online` does.
fn one(app: &App, name: &str) -> Exit {
    let set = |key: &str, value: &str| {
        let value = OverrideValue::Text(value.to_owned());
        Override::set(key, value, format!("the connection `{name}`"))
    };
    let changes = [
        set("source.type", "mixpanel_events"),
        set("source.connection", name),
        set("source.from", "yesterday"),
        set("source.to", "yesterday"),
        set("sink.type", "jsonl"),
    ];
    match app.build("the connections", name, "", &changes) {
        Ok(pipeline) => ask(app, &pipeline),
        Err(_) => Exit::Usage,
    }
}
