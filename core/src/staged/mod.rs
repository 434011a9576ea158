//! Files that appear whole or not at all, for sinks that write files.
//!
//! A [`StagedFile`] is written beside its target under another name, synced,
//! and renamed at [`commit`](StagedFile::commit). Dropping it leaves the target
//! as it was.

mod durable;
mod file;
mod folder;
mod marks;
mod target;

#[cfg(test)]
mod tests;

pub use durable::{cannot, link_or_copy, publish_new, sync_folder};
pub use file::{FileMode, StagedFile};
pub use folder::StagedFolder;
pub use marks::sweep;
pub use target::{check_folder, folder_of};
