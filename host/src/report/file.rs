//! Whole files or none.

use std::io::{self, Write};
use std::path::Path;

use super::ReportError;

/// Replaces `path` by `bytes`: a reader sees the old file or the new one, never a part.
///
/// The bytes are not forced to the disk: a report can be made again from the run.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".report-");
        // Temporary files are private by default; a report is an ordinary file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source| ReportError::Write { path: path.to_owned(), source })
}
