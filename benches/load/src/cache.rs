//! The kernel's page cache.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use rustix::fs::{Advice, fadvise};

/// Lets the kernel forget the pages of a file that are on disk already. Pages that a process has mapped stay.
///
/// # Errors
/// When the file cannot be opened or the kernel does not care.
pub(crate) fn forget(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed).context("the page cache cannot be dropped")
}
