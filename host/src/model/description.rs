//! What a network's file does not say of itself: how pictures become inputs, and what its
//! classes are called.
//!
//! For a network of the user's, `NAME.onnx`, this is `NAME.toml` beside it. Every key may
//! be left out; an empty file takes the defaults.
//!
//! ```toml
//! name = "SqueezeNet v1.0"
//! picture = [256, 256]     # height and width of pictures, from which crops of the
//!                          # network's input are cut; default: the input's
//! resize = "squash"        # scale both sides, or "cover" (default): keep the proportions
//!                          # and cut off what stands out
//! order = "BGR"            # of the channels that the network reads; default "RGB"
//! scale = 1                # x = (pixel · scale − mean) / std; default 1/255
//! mean = [104, 117, 123]   # one number, or one per channel in that order; default 0
//! std = 1                  # likewise; default 1
//! mean_image = "mean.npy"  # in place of `mean`: channels × picture, in that order
//! labels = "classes.txt"   # one class per line
//!
//! [groups]                 # sets of classes that reports compare with the rest
//! "dogs and cats" = "151-268, 281-285"
//! ```
//!
//! Paths count from the folder of the TOML file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::labels::Classes;
use crate::image::Resize;
use crate::train::Preprocessing;

/// What a network's file does not say of itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Description {
    /// What the network is called, for people.
    pub name: Option<String>,
    /// Height and width of pictures; `None`: those of the network's input.
    pub picture: Option<[usize; 2]>,
    /// How images of another size become pictures.
    pub resize: Resize,
    /// The order of the channels that the network reads.
    pub order: Order,
    /// What a pixel byte is multiplied with, positive.
    pub scale: f32,
    /// What is then taken away.
    pub mean: PerChannel,
    /// What the rest is divided by, positive.
    pub std: PerChannel,
    /// A `.npy` file with what is taken away in place of [`mean`](Self::mean): channels in
    /// the network's order × height × width of the picture.
    pub mean_image: Option<PathBuf>,
    /// A text file with the name of a class in every line.
    pub labels: Option<PathBuf>,
    /// Sets of classes that reports compare with the rest.
    pub groups: BTreeMap<String, Classes>,
}

/// The order of the channels that a network of colour images reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Order {
    /// Red first.
    #[default]
    #[serde(rename = "RGB")]
    Rgb,
    /// Blue first, as in Caffe.
    #[serde(rename = "BGR")]
    Bgr,
}

impl Order {
    /// `RGB` or `BGR`.
    fn name(self) -> &'static str {
        match self {
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
        }
    }
}

/// One number for all channels, or one for each in the network's order.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "neither a number nor one number per channel")]
pub enum PerChannel {
    /// The same for all.
    All(f32),
    /// Each its own.
    Each(Vec<f32>),
}

impl PerChannel {
    /// The numbers of `channels` channels; `None` if there is another number of them.
    pub(super) fn values(&self, channels: usize) -> Option<Vec<f32>> {
        match self {
            Self::All(value) => Some(vec![*value; channels]),
            Self::Each(values) => (values.len() == channels).then(|| values.clone()),
        }
    }

    fn as_slice(&self) -> &[f32] {
        match self {
            Self::All(value) => std::slice::from_ref(value),
            Self::Each(values) => values,
        }
    }

    fn is_all(&self, value: f32) -> bool {
        self.as_slice().iter().all(|&own| own == value)
    }
}

/// `0.5`, or `(104, 117, 123)`.
impl fmt::Display for PerChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(value) => write!(f, "{value}"),
            Self::Each(values) => {
                let texts: Vec<String> = values.iter().map(f32::to_string).collect();
                write!(f, "({})", texts.join(", "))
            }
        }
    }
}

impl Default for Description {
    fn default() -> Self {
        Self {
            name: None,
            picture: None,
            resize: Resize::default(),
            order: Order::default(),
            scale: 1.0 / 255.0,
            mean: PerChannel::All(0.0),
            std: PerChannel::All(1.0),
            mean_image: None,
            labels: None,
            groups: BTreeMap::new(),
        }
    }
}

/// The rule of a file that states its own.
impl From<Preprocessing> for Description {
    fn from(Preprocessing { scale, mean, std }: Preprocessing) -> Self {
        let (mean, std) = (PerChannel::All(mean), PerChannel::All(std));
        Self { scale, mean, std, ..Self::default() }
    }
}

impl Description {
    /// Reads a description. Paths in it count from `base`.
    ///
    /// # Errors
    /// In one line, what is wrong and where in `what`, which is the name of the file.
    pub fn parse(text: &str, base: &Path, what: &str) -> Result<Self, String> {
        let description: Self = toml::from_str(text).map_err(|error| {
            let reason = error.message().replace('\n', " ");
            let Some(span) = error.span() else { return format!("{what}: {reason}") };
            let above = text[..span.start].matches('\n').count();
            let line = text.lines().nth(above).unwrap_or_default().trim();
            format!("{what}, line {}: {line}: {reason}", above + 1)
        })?;
        description.check().map_err(|reason| format!("{what}: {reason}"))?;
        Ok(description.relative_to(base))
    }

    /// The description with paths that count from `base`.
    #[must_use]
    pub fn relative_to(mut self, base: &Path) -> Self {
        for path in [&mut self.mean_image, &mut self.labels].into_iter().flatten() {
            *path = base.join(&*path);
        }
        self
    }

    /// The text of a TOML file that says the same.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // JSON's texts are TOML's too.
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let path = |path: &PathBuf| text(&path.to_string_lossy());
        let numbers = |values: &PerChannel| match values {
            PerChannel::All(value) => value.to_string(),
            PerChannel::Each(values) => format!("{values:?}"),
        };
        let mut lines = Vec::new();
        lines.extend(self.name.as_deref().map(|name| format!("name = {}", text(name))));
        lines.extend(self.picture.map(|sides| format!("picture = {sides:?}")));
        lines.push(format!("resize = {}", text(self.resize.name())));
        lines.push(format!("order = {}", text(self.order.name())));
        lines.push(format!("scale = {}", self.scale));
        match &self.mean_image {
            Some(image) => lines.push(format!("mean_image = {}", path(image))),
            None => lines.push(format!("mean = {}", numbers(&self.mean))),
        }
        lines.push(format!("std = {}", numbers(&self.std)));
        lines.extend(self.labels.iter().map(|labels| format!("labels = {}", path(labels))));
        lines.push("[groups]".to_owned());
        let groups = self.groups.iter();
        lines.extend(
            groups.map(|(name, set)| format!("{} = {}", text(name), text(&set.to_string()))),
        );
        lines.join("\n") + "\n"
    }

    /// How pixels of so many channels become inputs: `BGR, pixel - (104, 117, 123)`.
    #[must_use]
    pub fn in_words(&self, channels: usize) -> String {
        if channels == 1 { self.rule() } else { self.to_string() }
    }

    /// How a pixel byte becomes an input: `pixel - (104, 117, 123)`.
    fn rule(&self) -> String {
        // Exact: a run knows by these words what it was made with.
        let divisor = (1.0 / self.scale).round();
        let pixel = match self.scale {
            1.0 => "pixel".to_owned(),
            scale if 1.0 / divisor == scale => format!("pixel/{divisor}"),
            scale => format!("pixel*{scale}"),
        };
        let mean = match &self.mean_image {
            Some(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
            None => (!self.mean.is_all(0.0)).then(|| self.mean.to_string()),
        };
        match (mean, self.std.is_all(1.0)) {
            (None, true) => pixel,
            (None, false) => format!("{pixel}/{}", self.std),
            (Some(mean), true) => format!("{pixel} - {mean}"),
            (Some(mean), false) => format!("({pixel} - {mean})/{}", self.std),
        }
    }

    /// Checks what does not depend on the network.
    fn check(&self) -> Result<(), String> {
        let positive = |x: &f32| *x > 0.0 && x.is_finite();
        if !positive(&self.scale) {
            return Err(format!("scale = {}: give a positive number", self.scale));
        }
        if !self.mean.as_slice().iter().all(|mean| mean.is_finite()) {
            return Err(format!("mean = {}: give finite numbers", self.mean));
        }
        if !self.std.as_slice().iter().all(positive) {
            return Err(format!("std = {}: give positive numbers", self.std));
        }
        if self.mean_image.is_some() && !self.mean.is_all(0.0) {
            return Err("both mean and mean_image: keep one of them".to_owned());
        }
        Ok(())
    }
}

/// The order of channels and the rule: `BGR, pixel - (104, 117, 123)`.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.order.name(), self.rule())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Description, String> {
        Description::parse(text, Path::new("folder"), "net.toml")
    }

    /// What is written of a description, read again.
    fn again(description: &Description) -> Description {
        Description::parse(&description.to_toml(), Path::new(""), "net.toml").unwrap()
    }

    #[test]
    fn an_empty_file_takes_the_defaults() {
        assert_eq!(parse("# nothing\n"), Ok(Description::default()));
        assert_eq!(Description::default().to_string(), "RGB, pixel/255");
    }

    #[test]
    fn every_key_is_read() {
        let text = r#"
            name = "Net"
            picture = [256, 240]
            resize = "squash"
            order = "BGR"
            scale = 1
            mean = [104, 117.5, 123]
            std = 2
            labels = "classes.txt"
            [groups]
            "dogs and cats" = "151-268, 281-285"
        "#;
        let description = parse(text).unwrap();
        assert_eq!(description.name.as_deref(), Some("Net"));
        assert_eq!(description.picture, Some([256, 240]));
        assert_eq!(description.resize, Resize::Squash);
        assert_eq!(description.mean.values(3).unwrap(), [104.0, 117.5, 123.0]);
        assert_eq!(description.mean.values(1), None);
        assert_eq!(description.std.values(2).unwrap(), [2.0, 2.0]);
        assert_eq!(description.labels.as_deref(), Some(Path::new("folder/classes.txt")));
        assert_eq!(description.groups["dogs and cats"].largest(), 285);
        assert_eq!(description.to_string(), "BGR, (pixel - (104, 117.5, 123))/2");
        // What is written is read as the same.
        assert_eq!(again(&description), description);
        let image = parse("mean_image = \"/m/mean.npy\"\nscale = 1").unwrap();
        assert_eq!(image.mean_image.as_deref(), Some(Path::new("/m/mean.npy")));
        assert_eq!(image.to_string(), "RGB, pixel - mean.npy");
        assert_eq!(again(&image), image);
        let odd = Description {
            name: Some("a \"b\"\n\\ é".to_owned()),
            scale: 1.0 / 255.0,
            mean: PerChannel::Each(vec![0.485, 0.456, 1e-10]),
            ..Description::default()
        };
        assert_eq!(again(&odd), odd);
    }

    #[test]
    fn errors_name_file_line_and_key() {
        for (text, words) in [
            ("\nsize = 3", "net.toml, line 2: size = 3: unknown field `size`"),
            ("order = \"GBR\"", "line 1: order = \"GBR\": unknown variant"),
            ("scale = \"one\"", "line 1: scale = \"one\": invalid type"),
            ("scale = 1\nmean = [1, \"a\"]", "line 2: mean = [1, \"a\"]: neither a number"),
            ("picture = [256]", "line 1: picture = [256]"),
            ("[groups]\nall = \"1-\"", "line 2: all = \"1-\": \"1-\" is no set of classes"),
            ("scale 1", "line 1: scale 1: "),
            ("scale = 0", "net.toml: scale = 0"),
            ("mean = nan", "net.toml: mean = NaN"),
            ("std = [1, -1, 1]", "net.toml: std = (1, -1, 1)"),
            ("mean = 1\nmean_image = \"m.npy\"", "net.toml: both mean and mean_image"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(words) && !message.contains('\n'), "{text}: {message}");
        }
    }
}
