//! The champions as exact pixels: one PNG per class, and one NumPy archive.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rayon::prelude::*;

use super::{ReportError, picture};
use crate::experiment::record::{Champion, RunRecord};
use crate::npz;

/// Writes `champions/<class>.png`, named by class index, and `champions.npz`.
///
/// The pictures have their native size, so that a classifier gives them the
/// confidence of the run, with the run's crops. The archive holds, for K champions and C classes, in class
/// order:
///
/// | array | type | shape |
/// |---|---|---|
/// | `images` | u8 | K × H × W (grey) or K × H × W × 3 |
/// | `classes` | i64 | K |
/// | `confidences` | f32 | K |
/// | `scores` | f32 | K × C |
///
/// # Errors
/// [`ReportError`] if the record is inconsistent or a file cannot be written.
pub fn write(record: &RunRecord, folder: &Path) -> Result<(), ReportError> {
    super::check(record)?;
    let pictures = folder.join("champions");
    fs::create_dir_all(&pictures)
        .map_err(|source| ReportError::Write { path: pictures.clone(), source })?;
    let write_picture = |champion: &Champion| {
        let path = pictures.join(format!("{}.png", champion.class));
        super::replace(&path, |file| file.write_all(&picture(record, &champion.picture).to_png()?))
    };
    let (pictures, arrays) = rayon::join(
        || record.champions.par_iter().try_for_each(write_picture),
        || super::replace(&folder.join("champions.npz"), |file| write_arrays(record, file)),
    );
    pictures.and(arrays)
}

/// Writes the contents of `champions.npz`.
fn write_arrays(record: &RunRecord, file: &mut File) -> io::Result<()> {
    let champions = &record.champions;
    let count = champions.len() as u64;
    let [height, width, channels] = record.manifest.model.picture.map(|n| n as u64);
    let mut images = vec![count, height, width];
    if channels != 1 {
        images.push(channels);
    }
    let classes = record.manifest.model.labels.len() as u64;
    npz::write(file, |archive| {
        let pixels = champions.iter().flat_map(|c| c.picture.iter().copied());
        archive.add("images", &images, pixels)?;
        archive.add("classes", &[count], champions.iter().map(|c| c.class as i64))?;
        archive.add("confidences", &[count], champions.iter().map(|c| c.confidence))?;
        let scores = champions.iter().flat_map(|c| c.scores.iter().copied());
        archive.add("scores", &[count, classes], scores)
    })
}

#[cfg(test)]
mod tests {
    use npyz::npz::NpzArchive;

    use super::super::sample;
    use super::*;
    use crate::image::Image;

    fn read<T: npyz::Deserialize>(npz: &mut NpzArchive<File>, name: &str) -> (Vec<u64>, Vec<T>) {
        let array = npz.by_name(name).unwrap().unwrap();
        (array.shape().to_vec(), array.into_vec().unwrap())
    }

    #[test]
    fn archive_and_pictures_hold_the_champions() {
        for record in [sample::digits(), sample::colour(3)] {
            let folder = tempfile::tempdir().unwrap();
            write(&record, folder.path()).unwrap();
            let champions = &record.champions;
            let path = folder.path().join("champions.npz");
            let mut npz = NpzArchive::new(File::open(&path).unwrap()).unwrap();
            let (shape, images) = read::<u8>(&mut npz, "images");
            let [h, w, c] = record.manifest.model.picture.map(|n| n as u64);
            let k = champions.len() as u64;
            assert_eq!(shape, if c == 1 { vec![k, h, w] } else { vec![k, h, w, 3] });
            assert_eq!(
                images,
                champions.iter().flat_map(|c| c.picture.to_vec()).collect::<Vec<_>>()
            );
            let (_, classes) = read::<i64>(&mut npz, "classes");
            assert_eq!(classes, champions.iter().map(|c| c.class as i64).collect::<Vec<_>>());
            let (_, confidences) = read::<f32>(&mut npz, "confidences");
            assert_eq!(confidences, champions.iter().map(|c| c.confidence).collect::<Vec<_>>());
            let (shape, _) = read::<f32>(&mut npz, "scores");
            assert_eq!(shape, [k, record.manifest.model.labels.len() as u64]);

            for champion in champions {
                let name = format!("champions/{}.png", champion.class);
                let image = Image::open(&folder.path().join(name)).unwrap();
                assert_eq!(image.pixels, *champion.picture);
            }
            let first = fs::read(&path).unwrap();
            write(&record, folder.path()).unwrap();
            assert_eq!(first, fs::read(&path).unwrap());
        }
    }

    #[test]
    fn no_champions_is_an_empty_archive() {
        let mut record = sample::digits();
        record.champions.clear();
        let folder = tempfile::tempdir().unwrap();
        write(&record, folder.path()).unwrap();
        let file = File::open(folder.path().join("champions.npz")).unwrap();
        let (shape, images) = read::<u8>(&mut NpzArchive::new(file).unwrap(), "images");
        assert_eq!((shape, images.len()), (vec![0, 28, 28], 0));
    }

    #[test]
    fn bad_records_and_folders_are_refused() {
        let mut record = sample::digits();
        let missing = Path::new("/proc/mirage");
        let message = write(&record, missing).unwrap_err().to_string();
        assert!(message.contains("/proc/mirage"), "{message}");
        record.champions[2].picture = record.champions[2].picture[1..].into();
        let message = write(&record, missing).unwrap_err().to_string();
        assert!(message.contains("class 2 has 783 pixel bytes where the run has 784"), "{message}");
        record.champions[2].class = 10;
        let message = write(&record, missing).unwrap_err().to_string();
        assert!(message.contains("class 10 of 10"), "{message}");
    }
}
