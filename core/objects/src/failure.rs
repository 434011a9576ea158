//! What a service says, as our own errors.

use mixflow_core::error::{Error, ErrorKind};
use object_store::Error as StoreError;

/// What is said on a machine that trusts nobody: this client has no authorities of its
/// own.
const NO_ROOTS: &str = "No CA certificates";

/// Makes an error of what a store says. `attempt` is what was attempted.
///
/// Repeats nothing secret.
pub fn from_store(error: StoreError, attempt: impl Into<String>) -> Error {
    let (kind, hint) = match &error {
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => (
            ErrorKind::Auth,
            Some(
                "check the credentials in the environment, such as `AWS_ACCESS_KEY_ID`, and what they may do",
            ),
        ),
        StoreError::InvalidPath { .. } => (ErrorKind::Config, None),
        _ => (ErrorKind::Destination, None),
    };
    let reason = said(&error);
    let hint = match reason.contains(NO_ROOTS) {
        true => Some("install the package `ca-certificates`"),
        false => hint,
    };
    let said = Error::new(kind, attempt).because(reason);
    match hint {
        Some(hint) => said.hint(hint),
        None => said,
    }
}

/// Returns what an error and its causes say, in a line, without what addresses
/// have behind `?`: on Azure that may be a signature.
fn said(error: &StoreError) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let level = error.to_string();
        // Each level repeats what is below it, or does not.
        if !text.contains(&level) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&level);
        }
        next = error.source();
    }
    let words = text
        .split_whitespace()
        .map(|word| match word.split_once('?') {
            Some((before, _)) if before.contains("://") => format!("{before}?…"),
            _ => word.to_owned(),
        });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_not_repeated_and_refusals_are_about_credentials() {
        let error = StoreError::PermissionDenied {
            path: "a".to_owned(),
            source: "GET https://a.blob.core.windows.net/c?sv=1&sig=s3cr3t: 403".into(),
        };
        let error = from_store(error, "cannot read `az://c/a`");
        assert_eq!(error.kind(), ErrorKind::Auth);
        let line = error.in_a_line();
        assert!(
            line.contains("https://a.blob.core.windows.net/c?…"),
            "{line}"
        );
        assert!(!line.contains("s3cr3t"), "{line}");
    }

    #[test]
    fn a_machine_without_authorities_is_told_what_it_lacks() {
        let error = StoreError::Generic {
            store: "S3",
            source: "builder error: No CA certificates were loaded from the system".into(),
        };
        let error = from_store(error, "cannot use `s3://a`");
        assert_eq!(
            error.hint_text(),
            Some("install the package `ca-certificates`")
        );
    }
}
