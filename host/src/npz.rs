//! NumPy archives: several arrays in one file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use npyz::npz::NpzWriter;
use npyz::zip::ZipArchive;
use npyz::zip::write::FileOptions;
use npyz::{AutoSerialize, Deserialize, NpyFile, WriteOptions, WriterBuilder};

/// The quickest kind of Deflate: noise does not shrink, and patterns do in any case.
const FASTEST: i32 = 1;

/// Most bytes before an array's values.
const MAX_HEADER: u64 = 4096;

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

/// An archive that is being read.
pub struct Reader(ZipArchive<BufReader<File>>);

/// Opens an archive.
///
/// # Errors
/// If it cannot be read, or is none.
pub fn open(path: &Path) -> io::Result<Reader> {
    let archive = ZipArchive::new(BufReader::new(File::open(path)?));
    Ok(Reader(archive.map_err(io::Error::other)?))
}

impl Reader {
    /// The values of an array of this shape, in C order.
    ///
    /// # Errors
    /// If there is no such array, its type or shape is another, or the bytes do not have
    /// their checksum.
    pub fn get<T: Deserialize>(&mut self, name: &str, shape: &[u64]) -> io::Result<Vec<T>> {
        let most = shape.iter().product::<u64>() * size_of::<T>() as u64 + MAX_HEADER;
        let entry = self.0.by_name(&format!("{name}.npy"));
        let mut bytes = Vec::new();
        // To its end, which is where the checksum is compared.
        entry.map_err(io::Error::other)?.take(most).read_to_end(&mut bytes)?;
        let array = NpyFile::new(bytes.as_slice())?;
        if array.shape() != shape {
            let found = array.shape();
            return Err(io::Error::other(format!("{name} has shape {found:?}, not {shape:?}")));
        }
        array.into_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let bytes: Vec<u8> = (0..200).collect();
        let fill = |archive: &mut Archive| {
            archive.add("bytes", &[10, 20], bytes.iter().copied())?;
            archive.add("numbers", &[2], [0.5_f32, -1.0].into_iter())
        };
        write(&mut File::create(&path).unwrap(), fill).unwrap();
        let mut archive = open(&path).unwrap();
        assert_eq!(archive.get::<u8>("bytes", &[10, 20]).unwrap(), bytes);
        assert_eq!(archive.get::<f32>("numbers", &[2]).unwrap(), [0.5, -1.0]);
        assert!(archive.get::<f32>("numbers", &[3]).is_err());
        assert!(archive.get::<u8>("numbers", &[2]).is_err());
        assert!(archive.get::<u8>("others", &[2]).is_err());

        let mut damaged = std::fs::read(&path).unwrap();
        // Within the first array's values, behind two headers.
        damaged[250] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        assert!(open(&path).unwrap().get::<u8>("bytes", &[10, 20]).is_err());
        std::fs::write(&path, &damaged[..damaged.len() - 30]).unwrap();
        assert!(open(&path).is_err());
    }
}
