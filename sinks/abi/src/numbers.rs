//! The numbers that stand for kinds of errors and for write modes. One never
//! changes its meaning.

use mixflow_core::sink::WriteMode;
use mixflow_core::{Error, ErrorKind, Result};

/// The numbers of write modes, as the header has them.
const MODES: [WriteMode; 4] = [
    WriteMode::Create,
    WriteMode::Append,
    WriteMode::Replace,
    WriteMode::ReplaceWindow,
];

/// Returns the number of a write mode.
pub fn mode_number(mode: WriteMode) -> u32 {
    match mode {
        WriteMode::Create => 0,
        WriteMode::Append => 1,
        WriteMode::Replace => 2,
        WriteMode::ReplaceWindow => 3,
    }
}

/// Returns the write mode of a number. Fails if there is none, such as one of a
/// newer version.
pub fn mode_of(number: u32) -> Result<WriteMode> {
    let known = MODES.into_iter().find(|mode| mode_number(*mode) == number);
    known.ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            format!("there is no write mode with the number {number}"),
        )
    })
}

/// The kinds of errors, by their numbers. A number never changes its meaning.
const KINDS: [ErrorKind; 17] = [
    ErrorKind::Other,
    ErrorKind::Config,
    ErrorKind::Auth,
    ErrorKind::Quota,
    ErrorKind::Destination,
    ErrorKind::Request,
    ErrorKind::Network,
    ErrorKind::Incomplete,
    ErrorKind::Data,
    ErrorKind::Io,
    ErrorKind::Closed,
    ErrorKind::Interrupted,
    ErrorKind::Panic,
    ErrorKind::TableExists,
    ErrorKind::TableNotFound,
    ErrorKind::Locked,
    ErrorKind::Query,
];

/// Returns the number of a kind.
pub fn number_of(kind: ErrorKind) -> u32 {
    let position = KINDS.iter().position(|known| *known == kind);
    u32::try_from(position.unwrap_or(0)).unwrap_or(0)
}

/// Returns the kind of a number; of one that is not known, `Other`.
pub fn kind_of(number: u32) -> ErrorKind {
    let kind = usize::try_from(number).ok().and_then(|n| KINDS.get(n));
    kind.copied().unwrap_or(ErrorKind::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number_of_its_own() {
        for (n, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(number_of(kind) as usize, n);
            assert_eq!(kind_of(n as u32), kind);
        }
        assert_eq!(kind_of(99), ErrorKind::Other);
        for kind in ErrorKind::ALL {
            assert_eq!(kind_of(number_of(*kind)), *kind, "it has no number");
        }
    }
}
