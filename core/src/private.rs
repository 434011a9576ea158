//! Folders and files that nobody else may look into: what they hold is
//! personal data.

use std::fs;
use std::io;
use std::path::Path;

/// Creates a folder, and those above it that are missing, for its owner alone.
///
/// One that is there already is made private if it is the caller's.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        builder.mode(0o700).create(path)?;
        let open = fs::metadata(path)?.permissions().mode() & 0o077;
        // Somebody else's folder that may be written to still serves.
        if open != 0
            && let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        {
            log::warn!("cannot make `{}` private: {error}", path.display());
        }
        Ok(())
    }
    #[cfg(not(unix))]
    builder.create(path)
}

/// Lets a file that `options` create be read and written by its owner alone.
pub fn file(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}
