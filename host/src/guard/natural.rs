//! Natural images: what a network was made for.
//!
//! They serve three ends, each its own images: to fit a Gaussian, to find thresholds, and
//! to be held against fooling images. No image serves two, as a guard knows those that it
//! was made with better than others.

use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

use crate::data::idx::{CLASSES, Dataset, DatasetError, Split};
use crate::image::{Image, ImageError};
use crate::model::Model;

/// Images of MNIST's training set, the first, that Gaussians are fitted to.
pub const MNIST_FITTED: usize = 10_000;

/// Least photographs: twenty for each end, below which 95 % of them mean nothing.
pub const LEAST: usize = 60;

/// Why there are no natural images.
#[derive(Debug, Error)]
pub enum NaturalError {
    /// MNIST is not here.
    #[error("--data: {0}; or name other natural images with --natural")]
    Mnist(#[from] DatasetError),
    /// The network takes other pictures than MNIST's.
    #[error(
        "--natural: model {model} takes pictures of {width}×{height}×{channels} and knows {classes} classes, and MNIST is not for it; name photographs with --natural: a folder, or a file of lines `path class`"
    )]
    NotMnist {
        /// The model.
        model: String,
        /// Columns of its pictures.
        width: usize,
        /// Rows of its pictures.
        height: usize,
        /// Channels of its pictures.
        channels: usize,
        /// Its classes.
        classes: usize,
    },
    /// The list or the folder cannot be read.
    #[error("--natural {}: {source}; name a folder of photographs, or a file of lines `path class`", path.display())]
    Read {
        /// The list or the folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the list is none.
    #[error("--natural {}, line {line}: {reason}; write `path class`, or `path` alone in every line", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// There are too few images.
    #[error("--natural {}: {found} images, and at least {LEAST} are needed: a third to fit, a third to find thresholds, a third to test; name more", path.display())]
    TooFew {
        /// The list or the folder.
        path: PathBuf,
        /// Images in it.
        found: usize,
    },
    /// An image cannot be read.
    #[error("--natural: {0}")]
    Image(#[from] ImageError),
    /// An image cannot be brought to the size of the model's pictures.
    #[error("--natural: {}: {reason}; scale it first", path.display())]
    Size {
        /// The image.
        path: PathBuf,
        /// What the resampler said.
        reason: String,
    },
}

/// Natural images, as pictures of a model, for each end.
#[derive(Clone, Debug)]
pub struct Natural {
    /// Where they come from, for people.
    pub source: String,
    /// Those that Gaussians are fitted to.
    pub fit: Sample,
    /// Those that thresholds are found with.
    pub threshold: Sample,
    /// Those that fooling images are held against.
    pub test: Sample,
}

/// Some pictures.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Pixel bytes, one picture behind the other.
    pub pictures: Vec<u8>,
    /// The class of each, if known.
    pub classes: Option<Vec<usize>>,
}

impl Natural {
    /// Those for a model: photographs of a folder, or of a file of lines `path class` or
    /// `path`, whose paths count from the file's folder; or else MNIST's, from `data`.
    ///
    /// Of MNIST the first [`MNIST_FITTED`] training images are fitted to, and the test images
    /// take turns in the other two ends: its second half is harder than the first. Photographs
    /// take turns in all three, those of a folder in the order of their names.
    ///
    /// # Errors
    /// [`NaturalError`].
    pub fn of(
        model: &Model,
        photographs: Option<&Path>,
        data: &Path,
    ) -> Result<Self, NaturalError> {
        match photographs {
            Some(path) if path.is_dir() => Self::photographs(model, path, folder(path)?),
            Some(path) => Self::photographs(model, path, list(model, path)?),
            None => Self::mnist(model, data),
        }
    }

    fn mnist(model: &Model, data: &Path) -> Result<Self, NaturalError> {
        let (shape, classes) = (model.shape(), model.classes());
        let fits =
            |set: &Dataset| (set.images.rows, set.images.columns) == (shape.height, shape.width);
        let is_grey = shape.channels == 1 && classes == CLASSES;
        let sets = if is_grey {
            Some([Dataset::load(data, Split::Train)?, Dataset::load(data, Split::Test)?])
        } else {
            None
        };
        let Some([train, test]) = sets.filter(|sets| sets.iter().all(fits)) else {
            let (width, height, channels) = (shape.width, shape.height, shape.channels);
            let model = model.name().to_owned();
            return Err(NaturalError::NotMnist { model, width, height, channels, classes });
        };
        let take = |set: &Dataset, indices: &mut dyn Iterator<Item = usize>| {
            let mut sample = Sample::default();
            let classes = sample.classes.insert(Vec::new());
            for (index, image) in indices.filter_map(|index| Some((index, set.images.get(index)?)))
            {
                sample.pictures.extend(image);
                classes.push(usize::from(set.labels[index]));
            }
            sample
        };
        Ok(Self {
            source: "MNIST".to_owned(),
            fit: take(&train, &mut (0..MNIST_FITTED)),
            threshold: take(&test, &mut (0..test.len()).step_by(2)),
            test: take(&test, &mut (1..test.len()).step_by(2)),
        })
    }

    fn photographs(
        model: &Model,
        source: &Path,
        list: Vec<(PathBuf, Option<usize>)>,
    ) -> Result<Self, NaturalError> {
        if list.len() < LEAST {
            return Err(NaturalError::TooFew { path: source.to_owned(), found: list.len() });
        }
        let shape = model.shape();
        let mut samples =
            [(); 3].map(|()| Sample { classes: Some(Vec::new()), ..Sample::default() });
        for (index, (path, class)) in list.into_iter().enumerate() {
            let sample = &mut samples[index % 3];
            let image = Image::open(&path)?.with_channels(shape.channels);
            let image = image
                .fitted(shape.width, shape.height, model.resize())
                .map_err(|reason| NaturalError::Size { path, reason })?;
            sample.pictures.extend(image.pixels);
            sample.classes = sample.classes.take().zip(class).map(|(mut classes, class)| {
                classes.push(class);
                classes
            });
        }
        let [fit, threshold, test] = samples;
        Ok(Self { source: source.display().to_string(), fit, threshold, test })
    }
}

/// The PNG and JPEG files of a folder, by name.
fn folder(path: &Path) -> Result<Vec<(PathBuf, Option<usize>)>, NaturalError> {
    let read = |source| NaturalError::Read { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let file = entry.map_err(read)?.path();
        let ending = file.extension().unwrap_or_default().to_ascii_lowercase();
        if ["png", "jpg", "jpeg"].iter().any(|known| ending == *known) {
            files.push((file, None));
        }
    }
    files.sort();
    Ok(files)
}

/// The lines of a list.
fn list(model: &Model, path: &Path) -> Result<Vec<(PathBuf, Option<usize>)>, NaturalError> {
    let read = |source| NaturalError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(read)?;
    let base = path.parent().unwrap_or(Path::new(""));
    let mut list = Vec::new();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (index, line) in lines {
        let unfit =
            |reason: String| NaturalError::Line { path: path.to_owned(), line: index + 1, reason };
        let (file, class) = match line.trim().rsplit_once(char::is_whitespace) {
            None => (line.trim(), None),
            Some((file, class)) => match class.parse::<usize>() {
                Ok(class) if class < model.classes() => (file.trim_end(), Some(class)),
                Ok(class) => {
                    let last = model.classes() - 1;
                    return Err(unfit(format!("class {class}, and the last is {last}")));
                }
                // A path with a space, and no class.
                Err(_) => (line.trim(), None),
            },
        };
        let has_class = list.first().map(|(_, class): &(_, Option<usize>)| class.is_some());
        if has_class.is_some_and(|has| has != class.is_some()) {
            return Err(unfit("some lines have a class and some have none".to_owned()));
        }
        list.push((base.join(file), class));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` pictures of one grey each, as files in a folder.
    fn with_greys(count: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..count {
            let image =
                Image { width: 28, height: 28, channels: 1, pixels: vec![index as u8; 784] };
            let path = folder.path().join(format!("{index:03}.png"));
            fs::write(path, image.to_png().unwrap()).unwrap();
        }
        folder
    }

    fn greys(sample: &Sample) -> Vec<u8> {
        sample.pictures.chunks(784).map(|picture| picture[5]).collect()
    }

    #[test]
    fn photographs_take_turns() {
        let (model, place) = (Model::load("lenet").unwrap(), with_greys(61));
        let natural = Natural::of(&model, Some(place.path()), Path::new("")).unwrap();
        let every_third = |first: u8| (first..61).step_by(3).collect::<Vec<_>>();
        for (sample, first) in [(&natural.fit, 0), (&natural.threshold, 1), (&natural.test, 2)] {
            assert_eq!((greys(sample), &sample.classes), (every_third(first), &None));
        }
        // In the order of a list, with classes.
        let list = place.path().join("list.txt");
        let lines: Vec<String> = (0..60).map(|i| format!("{:03}.png {}", 59 - i, i % 10)).collect();
        fs::write(&list, lines.join("\n") + "\n\n").unwrap();
        let natural = Natural::of(&model, Some(&list), Path::new("")).unwrap();
        assert_eq!(greys(&natural.test)[..3], [57, 54, 51]);
        assert_eq!(natural.test.classes.unwrap()[..3], [2, 5, 8]);
    }

    #[test]
    fn what_is_no_natural_image_is_refused() {
        let (model, place) = (Model::load("lenet").unwrap(), with_greys(59));
        let list = place.path().join("list.txt");
        let refusal =
            |path: &Path| Natural::of(&model, Some(path), Path::new("")).unwrap_err().to_string();
        let error = refusal(place.path());
        assert!(error.contains("59 images") && error.contains("60"), "{error}");
        for (text, words) in [
            ("000.png 10", "line 1: class 10, and the last is 9"),
            ("000.png 1\n001.png", "line 2: some lines have a class"),
            (&"none.png 1\n".repeat(60), "none.png"),
            (&"list.txt 1\n".repeat(60), "list.txt"),
        ] {
            fs::write(&list, text).unwrap();
            let error = refusal(&list);
            assert!(error.contains(words) && error.contains("--natural"), "{words}: {error}");
        }
        assert!(refusal(Path::new("no/such/list")).contains("no/such/list"));
        let error = Natural::of(&model, None, place.path()).unwrap_err().to_string();
        assert!(error.contains("--data") && error.contains("--natural"), "{error}");
    }
}
