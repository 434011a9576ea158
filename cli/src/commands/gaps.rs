//! `mixflow gaps`.

use clap::Args as ClapArgs;
use jiff::civil::Date;

use super::status::days;
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
    let gaps = match days(app, &args.days) {
        Ok((_, days)) => days.gaps(),
        Err(exit) => return exit,
    };
    let length = |(first, last): &(Date, Date)| u64::try_from((*last - *first).get_days() + 1).ok();
    let shown = show(
        &args.show,
        vec![
            ("first", dates(gaps.iter().map(|(first, _)| Some(*first)))),
            ("last", dates(gaps.iter().map(|(_, last)| Some(*last)))),
            ("days", counts(gaps.iter().map(length))),
        ],
    );
    match app.exit_of(shown) {
        Exit::Done if !gaps.is_empty() => Exit::Partial,
        exit => exit,
    }
}
