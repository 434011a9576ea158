//! `mixflow plan --output`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use mixflow::ledger_of;
use mixflow::plans::{Draft, PlanFile, unit_schema};
use mixflow_core::config::Override;
use mixflow_core::engine::{Pipeline, plan};
use mixflow_core::ledger::Held;
use mixflow_core::staged::{FileMode, StagedFile, cannot};
use mixflow_core::{Error, ErrorKind, Result};

use crate::app::{App, Loaded};
use crate::exit::Exit;
use crate::interrupt::{self, Tidying};
use crate::ui::counted;

/// Writes the units of pipeline files, for other machines.
pub(super) fn write(
    app: &App,
    files: &[PathBuf],
    output: &Path,
    fresh: bool,
    overrides: &[Override],
) -> Exit {
    let mut drafts = Vec::new();
    let mut warnings = BTreeMap::new();
    for of in files.iter().flat_map(|file| app.each(file, overrides)) {
        let Ok(loaded) = app.load_one(&of) else {
            return Exit::Usage;
        };
        match draft(app, &of.file, loaded, &mut warnings) {
            Ok(draft) => drafts.push(draft),
            Err(error) => return app.fail(&error),
        }
    }
    warn(app, &warnings);
    app.exit_of(write_to(app, drafts, output, fresh))
}

fn write_to(app: &App, drafts: Vec<Draft>, output: &Path, fresh: bool) -> Result<()> {
    let nonce = fresh.then(mixflow::launch::run_id);
    let plan = PlanFile::new(drafts, nonce.as_deref());
    let (id, units) = (plan.plan_id.clone(), plan.units().count());
    let text = plan.into_json()?;
    if output == Path::new("-") {
        app.ui.out(&text);
        return Ok(());
    }
    let place = output.display();
    let written = || -> Result<()> {
        let staged = StagedFile::begin(output, FileMode::Replace)?;
        let mut file = staged.handle()?;
        file.write_all(text.as_bytes())
            .map_err(cannot("write to the file"))?;
        staged.commit()
    };
    written().map_err(|error| error.context(format!("cannot write the plan `{place}`")))?;
    let units = counted(units as u64, "unit");
    app.ui
        .status(&format!("{units} in `{place}`, as plan {id}"));
    Ok(())
}

/// Tells each warning once, whatever it is of: of 1,000 projects most are the same.
fn warn(app: &App, warnings: &BTreeMap<String, Vec<String>>) {
    for (warning, pipelines) in warnings {
        match pipelines.as_slice() {
            [_] => app.ui.warning(warning),
            [first, others @ ..] => {
                let more = others.len();
                app.ui
                    .warning(&format!("{warning} (`{first}` and {more} more)"));
            }
            [] => {}
        }
    }
}

/// Plans a pipeline, and notes what a person should know.
fn draft(
    app: &App,
    file: &Path,
    loaded: Loaded,
    warnings: &mut BTreeMap<String, Vec<String>>,
) -> Result<Draft> {
    let Loaded {
        pipeline, portable, ..
    } = loaded;
    let table = portable.map_err(|keys| plain_secrets(file, &keys))?;
    let _tidying = Tidying::begin();
    let plan = plan(&pipeline, held(app, &pipeline)?, &interrupt::token())?;
    let all = pipeline.warnings();
    for warning in all.into_iter().chain(plan.warnings.iter().cloned()) {
        let of = warnings.entry(warning).or_default();
        of.push(pipeline.name.clone());
    }
    let info = pipeline.source.info();
    let days = info
        .partitions_are_days
        .then(|| info.from_date.zip(info.to_date));
    Ok(Draft {
        schema: unit_schema(&pipeline),
        name: pipeline.name,
        table,
        plan,
        days: days.flatten(),
    })
}

/// Returns what the destination holds, for a pipeline whose days go by that. For
/// any other the plan is the same whatever is there, so that it is the same again.
fn held(app: &App, pipeline: &Pipeline) -> Result<Held> {
    let catches_up = pipeline
        .source
        .info()
        .calendar
        .is_some_and(|days| days.catches_up);
    if !catches_up {
        return Ok(Held::default());
    }
    Ok(Held {
        ledger: ledger_of(pipeline, app.state_folder())?.into(),
        earlier: pipeline.sinks.first().sink.earlier(),
    })
}

fn plain_secrets(file: &Path, keys: &[String]) -> Error {
    let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    let file = file.display();
    Error::new(
        ErrorKind::Config,
        format!("cannot write a plan of `{file}`: it would have a secret in it"),
    )
    .because(format!("plain text stands under {}", keys.join(", ")))
    .hint("write `{ env = \"NAME\" }`, `{ file = \"PATH\" }` or `{ command = [\"…\"] }`: each machine finds the secret for itself")
}
