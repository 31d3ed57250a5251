//! The networks that mirage knows by name: what they are, where they lie in the folder of
//! data, where they come from, and how pictures are prepared for them. All of it is data,
//! in `registry.toml`.

use std::path::PathBuf;
use std::sync::LazyLock;

use serde::Deserialize;

use super::Description;
use super::file::BUILT_IN;
use crate::data::{self, NoDataDir};

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    toml::from_str(include_str!("registry.toml")).expect("registry.toml is checked by the tests")
});

/// All that is known.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registry {
    network: Vec<Network>,
    companion: Vec<Companion>,
    built_in: Vec<BuiltIn>,
}

/// A network that can be fetched.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// What it is called on the command line.
    pub name: String,
    /// What it is, in a few words.
    pub title: String,
    /// Who made it, and the licence if it has one.
    pub origin: String,
    /// Its place in the folder of data.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Where it can be had, the first to be tried first; may be empty.
    pub urls: Vec<String>,
    /// Height and width of the network's input.
    pub input: [usize; 2],
    /// Channels of the network's input: 1 (grey) or 3 (colour).
    pub channels: usize,
    /// Number of classes.
    pub classes: usize,
    /// How pictures are prepared for it: the keys of a description beside a file of one's
    /// own, with paths that count from the folder of data.
    pub preprocessing: Description,
}

/// A file that belongs to networks, such as the names of their classes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Companion {
    /// Its place in the folder of data, by which [`Network::preprocessing`] names it.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Where it can be had, the first to be tried first; may be empty.
    pub urls: Vec<String>,
}

/// A network that is part of the program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltIn {
    /// What it is called on the command line.
    pub name: String,
    /// What it is, in a few words.
    pub title: String,
}

impl BuiltIn {
    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let found = BUILT_IN.iter().find(|(name, _)| *name == self.name);
        found.map_or(0, |(_, bytes)| bytes.len() as u64)
    }
}

impl Network {
    /// Where it lies once it has been pulled.
    ///
    /// # Errors
    /// [`NoDataDir`], as [`data::data_dir`].
    pub fn path(&self) -> Result<PathBuf, NoDataDir> {
        data::data_dir().map(|folder| folder.join(&self.path))
    }

    /// The files that its preprocessing names.
    pub fn companions(&self) -> impl Iterator<Item = &'static Companion> {
        REGISTRY.companion.iter().filter(|companion| {
            let Description { labels, mean_image, .. } = &self.preprocessing;
            [labels, mean_image].into_iter().flatten().any(|path| *path == *companion.path)
        })
    }
}

/// The networks that can be fetched.
#[must_use]
pub fn networks() -> &'static [Network] {
    &REGISTRY.network
}

/// The networks that are part of the program.
#[must_use]
pub fn built_in() -> &'static [BuiltIn] {
    &REGISTRY.built_in
}

/// The names of all networks, those of the program first.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let built_in = built_in().iter().map(|network| network.name.as_str());
    built_in.chain(networks().iter().map(|network| network.name.as_str())).collect()
}

/// The network of this name, if one can be fetched.
#[must_use]
pub fn find(name: &str) -> Option<&'static Network> {
    networks().iter().find(|network| network.name == name)
}

/// How pictures are prepared for the network whose file has this SHA-256, hexadecimal,
/// and the folder that the paths in it count from.
#[must_use]
pub fn description(sha256: &str) -> Option<(Description, PathBuf)> {
    let network = networks().iter().find(|network| network.sha256 == sha256)?;
    // Without a folder of data there are no files in it: what paths count from is no matter.
    Some((network.preprocessing.clone(), data::data_dir().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::Order;
    use super::*;
    use reference::data::external;

    use crate::files;

    #[test]
    fn entries_are_complete_and_distinct() {
        let built_in: Vec<_> = built_in().iter().map(|network| network.name.as_str()).collect();
        assert_eq!(built_in, BUILT_IN.map(|(name, _)| name));
        let names: BTreeSet<_> =
            networks().iter().map(|n| n.name.as_str()).chain(built_in).collect();
        assert_eq!(names.len(), networks().len() + BUILT_IN.len());
        let files: Vec<_> = networks()
            .iter()
            .map(|n| (&n.path, &n.sha256, &n.urls, n.bytes))
            .chain(REGISTRY.companion.iter().map(|c| (&c.path, &c.sha256, &c.urls, c.bytes)))
            .collect();
        for (path, sha256, urls, bytes) in &files {
            assert!(Path::new(path).is_relative() && !path.contains(".."), "{path}");
            assert_eq!(sha256.len(), 64, "{path}");
            assert!(sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{path}");
            assert!(*bytes > 0, "{path}");
            let name = path.rsplit('/').next().unwrap();
            assert!(urls.iter().all(|u| u.starts_with("https://") && u.ends_with(name)), "{path}");
        }
        let distinct: BTreeSet<_> = files.iter().map(|(path, ..)| path).collect();
        assert_eq!(distinct.len(), files.len());
        let distinct: BTreeSet<_> = files.iter().map(|(_, sha256, ..)| sha256).collect();
        assert_eq!(distinct.len(), files.len());
    }

    #[test]
    fn every_file_that_preprocessing_names_is_a_companion() {
        for network in networks() {
            let Description { labels, mean_image, .. } = &network.preprocessing;
            let named: Vec<_> = [labels, mean_image]
                .into_iter()
                .flatten()
                .filter_map(|path| path.to_str())
                .collect();
            let companions: Vec<_> = network.companions().map(|c| c.path.as_str()).collect();
            assert_eq!(companions, named, "{}", network.name);
        }
    }

    #[test]
    fn networks_are_found_by_name_and_by_hash() {
        let caffenet = find("caffenet").unwrap();
        let (preprocessing, _) = description(&caffenet.sha256).unwrap();
        assert_eq!(preprocessing.order, Order::Bgr);
        assert!(find("caffe").is_none() && find("lenet").is_none());
        assert!(description("").is_none());
    }

    #[test]
    fn files_without_an_address_are_those_at_hand() {
        let files = networks().iter().map(|n| (&n.path, &n.sha256, &n.urls, n.bytes));
        let files =
            files.chain(REGISTRY.companion.iter().map(|c| (&c.path, &c.sha256, &c.urls, c.bytes)));
        for (path, sha256, _, bytes) in files.filter(|(_, _, urls, _)| urls.is_empty()) {
            let test = "files_without_an_address_are_those_at_hand";
            let Some(file) = external(test, path) else { return };
            let content = std::fs::read(file).unwrap();
            assert_eq!((content.len() as u64, &files::sha256(&content)), (bytes, sha256), "{path}");
        }
    }
}
