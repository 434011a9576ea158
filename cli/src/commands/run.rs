//! `mixflow run`.

use crate::app::App;
use crate::args::RunArgs;
use crate::exit::Exit;

pub(crate) fn run(app: &App, args: &RunArgs) -> Exit {
    let overrides = match super::overrides(app, &args.changes) {
        Ok(overrides) => overrides,
        Err(exit) => return exit,
    };
    let mut worst = Exit::Done;
    let mut reports = Vec::new();
    for file in &args.files {
        if args.files.len() > 1 {
            app.ui.status(&format!("running {}", file.display()));
        }
        let exit = match app.load(file, &overrides) {
            Some(pipeline) => {
                let report = app.run(&pipeline);
                let exit = Exit::after(&report);
                reports.push(report);
                exit
            }
            None => Exit::Usage,
        };
        worst = worst.max(exit);
        // Who interrupts means all of it.
        if exit == Exit::Interrupted {
            break;
        }
    }
    worst.max(app.write_report(&reports))
}
