//! `mixflow check`.

use crate::app::App;
use crate::args::CheckArgs;
use crate::exit::Exit;

pub(crate) fn check(app: &App, args: &CheckArgs) -> Exit {
    let overrides = match super::overrides(app, &args.changes) {
        Ok(overrides) => overrides,
        Err(exit) => return exit,
    };
    let mut worst = Exit::Done;
    for file in &args.files {
        let Some(pipeline) = app.load(file, &overrides) else {
            worst = Exit::Usage;
            continue;
        };
        for warning in pipeline.warnings() {
            app.ui.warning(&warning);
        }
        app.ui.status(&format!(
            "{}: ok, {} to {}",
            file.display(),
            pipeline.source_type,
            pipeline.sink_type
        ));
    }
    worst
}
