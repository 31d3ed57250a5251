//! From pixel bytes to what a network reads.

use std::fmt;

use thiserror::Error;

/// The rule x = (pixel · `scale` − `mean`) / `std`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// What a pixel byte is multiplied with, positive.
    pub scale: f32,
    /// What is then taken away.
    pub mean: f32,
    /// What the rest is divided by, positive.
    pub std: f32,
}

/// Why a text is no preprocessing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "preprocessing {text:?} is not understood: write \"x = pixel/256, no mean\" or \"x = (pixel/255 - 0.1307)/0.3081\""
)]
pub struct PreprocessingError {
    /// The text.
    pub text: String,
}

impl Preprocessing {
    /// x = pixel / 256, as Caffe's LeNet has it: a byte shifted by 128 is this input
    /// quantized without error.
    pub const PIXEL_OVER_256: Self = Self { scale: 1.0 / 256.0, mean: 0.0, std: 1.0 };

    /// What the network reads for a pixel.
    #[must_use]
    pub fn apply(&self, pixel: u8) -> f32 {
        (f32::from(pixel) * self.scale - self.mean) / self.std
    }

    /// [`apply`](Self::apply) for every pixel there is.
    #[must_use]
    pub fn table(&self) -> [f32; 256] {
        std::array::from_fn(|pixel| self.apply(pixel as u8))
    }

    /// Reads "x = pixel/256, no mean" or "x = (pixel/255 - 0.1307)/0.3081": a pixel,
    /// optionally divided, less a mean, divided again. Spaces do not matter.
    ///
    /// # Errors
    /// If the text has another form or a divisor is not positive.
    pub fn parse(text: &str) -> Result<Self, PreprocessingError> {
        let rule = text.split(',').next().unwrap_or_default();
        let rule: String = rule.chars().filter(|c| !c.is_whitespace()).collect();
        let error = || PreprocessingError { text: text.to_owned() };
        let rule = rule.strip_prefix("x=").ok_or_else(error)?;
        let remark = text.split_once(',').map_or("no mean", |(_, remark)| remark.trim());
        if remark != "no mean" {
            return Err(error());
        }
        Self::parse_rule(rule).ok_or_else(error)
    }

    fn parse_rule(rule: &str) -> Option<Self> {
        let (inner, std) = match rule.strip_prefix('(') {
            Some(rest) => {
                let (inner, after) = rest.split_once(')')?;
                let std = if after.is_empty() { 1.0 } else { divisor(after)? };
                (inner, std)
            }
            None => (rule, 1.0),
        };
        let inner = inner.strip_prefix("pixel")?;
        let (division, mean) = match inner.split_once('-') {
            Some((division, mean)) => (division, mean.parse().ok()?),
            None => (inner, 0.0f32),
        };
        let divided_by = if division.is_empty() { 1.0 } else { divisor(division)? };
        Self { scale: 1.0 / divided_by, mean, std }.checked()
    }

    /// The rule itself, or `None` if a number is not finite or a factor not positive.
    #[must_use]
    pub fn checked(self) -> Option<Self> {
        let positive = |x: f32| x > 0.0 && x.is_finite();
        (positive(self.scale) && positive(self.std) && self.mean.is_finite()).then_some(self)
    }
}

/// The number after a slash.
fn divisor(text: &str) -> Option<f32> {
    text.strip_prefix('/')?.parse().ok()
}

/// The text that [`Preprocessing::parse`] reads, for scales that are one over an integer.
impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divided_by = (1.0 / self.scale).round();
        match (self.mean == 0.0, self.std == 1.0) {
            (true, true) => write!(f, "x = pixel/{divided_by}, no mean"),
            (_, true) => write!(f, "x = (pixel/{divided_by} - {})", self.mean),
            (_, _) => write!(f, "x = (pixel/{divided_by} - {})/{}", self.mean, self.std),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_texts_are_read_and_written() {
        let caffe = "x = pixel/256, no mean";
        assert_eq!(Preprocessing::parse(caffe), Ok(Preprocessing::PIXEL_OVER_256));
        assert_eq!(Preprocessing::PIXEL_OVER_256.to_string(), caffe);
        let torch = "x = (pixel/255 - 0.1307)/0.3081";
        let rule = Preprocessing::parse(torch).unwrap();
        assert_eq!(rule, Preprocessing { scale: 1.0 / 255.0, mean: 0.1307, std: 0.3081 });
        assert_eq!(rule.to_string(), torch);
        assert!((rule.apply(255) - 2.821_486).abs() < 1e-5);
        assert_eq!(Preprocessing::parse("x=pixel").unwrap().apply(7), 7.0);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "x = pixel/0",
            "x = pixel/-2",
            "x = pixel/nan",
            "pixel/256",
            "x = (pixel/255",
            "x = (pixel/255 - 0.1)*3",
            "x = pixel*2",
            "x = pixel/256, minus the mean image",
            "data [N,3,227,227], BGR",
        ] {
            assert!(Preprocessing::parse(text).is_err(), "{text}");
        }
    }
}
