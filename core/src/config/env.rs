//! The environment, as far as a pipeline may see it.

use std::fmt;
use std::sync::Arc;

/// Looks up environment variables.
///
/// A value rather than a global, so that core never reads the process's own
/// environment and tests need not change it.
#[derive(Clone)]
pub struct Env(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Env {
    /// Creates an environment that asks `lookup`.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Env {
        Env(Arc::new(lookup))
    }

    /// Creates an environment without variables.
    pub fn empty() -> Env {
        Env::new(|_| None)
    }

    /// Creates an environment of fixed variables.
    pub fn fixed<const N: usize>(variables: [(&str, &str); N]) -> Env {
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Env::new(move |name| {
            variables
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        })
    }

    /// Returns the value of a variable, if it is set.
    pub fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets.
        f.write_str("Env")
    }
}
