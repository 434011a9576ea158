//! Ways out of an error, as they are typed.

use mixflow_core::Error;
use mixflow_core::remedy::Remedy;

/// Returns what to do about an error: by the flags of the command line where
/// there are some for it.
pub(crate) fn hint(error: &Error) -> Option<String> {
    let Some(remedy) = error.remedy() else {
        return error.hint_text().map(str::to_owned);
    };
    Some(match remedy {
        Remedy::AllowShrink => "look at why rows are gone; if that is right, run it with `--set sink.allow_shrink=true` (`fetch` has `--allow-shrink`)".to_owned(),
        Remedy::Wait => "run it later, or with `--wait`".to_owned(),
        Remedy::MoreMemory => "give it more with `--memory 4GB`, or ask for less at once".to_owned(),
        Remedy::NameDatabase => {
            "name the database with `--db`, or fetch something into it first".to_owned()
        }
        Remedy::GiveParameter(name) => format!(
            "give it one with `--param {name}=VALUE`; where a `$` in it is no parameter, put it between quotes"
        ),
        Remedy::ListTables => "`mixflow tables` lists them".to_owned(),
        Remedy::DropOrChoose { table, database } => format!(
            "drop it first (`mixflow drop {table} --db {database}`), choose another name, or set `mode` to `append`, `replace` or `replace_window` (`fetch` has `--append`, `--replace` and `--replace-window`)"
        ),
        // One that the library knows and this does not yet.
        other => other.to_string(),
    })
}

/// Returns the error with what to do about it as it is typed.
pub(crate) fn as_typed(error: Error) -> Error {
    match hint(&error) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
