//! What a component reads its options from.

use toml::Spanned;
use toml::de::DeValue;

use super::document::Document;

/// Reads a component's options out of the document.
pub struct Reader<'d, 't> {
    pub(super) document: &'d mut Document<'t>,
    pub(super) path: &'d str,
    pub(super) value: Spanned<DeValue<'t>>,
}

impl Reader<'_, '_> {
    /// Reads the options; on errors these are kept and `None` is returned.
    pub fn read<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        self.document.read(self.path, self.value.clone())
    }
}
