//! `mixflow plan --output`.

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
    for of in files.iter().flat_map(|file| app.each(file, overrides)) {
        let Some(loaded) = app.load_with_facts(&of.file, &of.overrides) else {
            return Exit::Usage;
        };
        match draft(app, &of.file, loaded) {
            Ok(draft) => drafts.push(draft),
            Err(error) => return app.fail(&error),
        }
    }
    app.exit_of(write_to(app, drafts, output, fresh))
}

fn write_to(app: &App, drafts: Vec<Draft>, output: &Path, fresh: bool) -> Result<()> {
    let nonce = fresh.then(mixflow::launch::run_id);
    let plan = PlanFile::new(drafts, nonce.as_deref());
    let text = plan.to_json()?;
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
    let units = counted(plan.units().count() as u64, "unit");
    app.ui
        .status(&format!("{units} in `{place}`, as plan {}", plan.plan_id));
    Ok(())
}

/// Plans a pipeline.
fn draft(app: &App, file: &Path, loaded: Loaded) -> Result<Draft> {
    let Loaded {
        pipeline, portable, ..
    } = loaded;
    let table = portable.map_err(|keys| plain_secrets(file, &keys))?;
    for warning in pipeline.warnings() {
        app.ui.warning(&warning);
    }
    let _tidying = Tidying::begin();
    let plan = plan(&pipeline, held(app, &pipeline)?, &interrupt::token())?;
    for warning in &plan.warnings {
        app.ui.warning(warning);
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
