//! `mixflow gaps`.

use clap::Args as ClapArgs;
use jiff::civil::Date;

use super::status::{days, project_column};
use super::tables::{counts, dates, show};
use crate::app::App;
use crate::args::{DaysArgs, ShowArgs};
use crate::exit::Exit;

/// `mixflow gaps`.
#[derive(Debug, ClapArgs)]
pub(crate) struct GapsArgs {
    #[command(flatten)]
    pub(crate) days: DaysArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

pub(crate) fn gaps(app: &App, args: &GapsArgs) -> Exit {
    let (all, worst) = match days(app, &args.days) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let gaps: Vec<(Date, Date)> = all.iter().flat_map(|of| of.days.gaps()).collect();
    let length = |(first, last): &(Date, Date)| u64::try_from((*last - *first).get_days() + 1).ok();
    let projects = project_column(&all, |of| of.days.gaps().len());
    let columns = [
        ("first", dates(gaps.iter().map(|(first, _)| Some(*first)))),
        ("last", dates(gaps.iter().map(|(_, last)| Some(*last)))),
        ("days", counts(gaps.iter().map(length))),
    ];
    let shown = show(&args.show, projects.into_iter().chain(columns).collect());
    match app.exit_of(shown).max(worst) {
        Exit::Done if !gaps.is_empty() => Exit::Partial,
        exit => exit,
    }
}
