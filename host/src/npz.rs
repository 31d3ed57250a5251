//! NumPy archives: several arrays in one file.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use npyz::npz::NpzWriter;
use npyz::zip::write::FileOptions;
use npyz::{AutoSerialize, WriteOptions, WriterBuilder};

/// The quickest kind of Deflate: noise does not shrink, and patterns do in any case.
const FASTEST: i32 = 1;

/// An archive that is being written.
pub struct Archive<'a>(NpzWriter<BufWriter<&'a mut File>>);

/// Writes an archive that `fill` adds arrays to.
///
/// # Errors
/// If `fill` fails, or the file cannot be written.
pub fn write(file: &mut File, fill: impl FnOnce(&mut Archive) -> io::Result<()>) -> io::Result<()> {
    let mut archive = Archive(NpzWriter::new(BufWriter::new(file)));
    let result = fill(&mut archive).and_then(|()| archive.0.zip_writer().finish()?.flush());
    if result.is_err() {
        // Dropped, it would try again to end the file, and print that it cannot.
        std::mem::forget(archive);
    }
    result
}

impl Archive<'_> {
    /// Adds one array; the date of every entry is 1 January 1980, so that equal arrays give
    /// equal files.
    ///
    /// # Errors
    /// If there are not as many values as the shape says, or the file cannot be written.
    pub fn add<T: AutoSerialize>(
        &mut self,
        name: &str,
        shape: &[u64],
        values: impl Iterator<Item = T>,
    ) -> io::Result<()> {
        let options = FileOptions::default()
            .last_modified_time(npyz::zip::DateTime::default())
            .compression_level(Some(FASTEST));
        let zip = self.0.zip_writer();
        zip.start_file(format!("{name}.npy"), options)?;
        // Compressing value by value is slow.
        let mut bytes = BufWriter::with_capacity(1 << 16, zip);
        let mut writer =
            WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd()?;
        writer.extend(values)?;
        writer.finish()?;
        bytes.flush()
    }
}
