//! Networks described in words.
//!
//! A description is a name (`lenet`, `lenet-small`) or layers between commas:
//!
//! | layer | meaning |
//! |---|---|
//! | `conv5x5x8` | convolution, window 5 × 5, 8 filters |
//! | `depthwise3x3`, `depthwise3x3x2` | depthwise convolution, 1 or 2 filters per channel |
//! | `maxpool2`, `avgpool7x7` | pooling; the stride is the size of the window |
//! | `dense10` | dense layer of 10 units |
//!
//! A window may be followed by its stride, as in `conv3x3x8/2` or `maxpool3/2`; after
//! a space may come `relu`, and `same` or `valid` (the default) for the padding, as in
//! `conv5x5x8/2 same relu, maxpool2, dense10`.

use mirage_core::nn::{Op, Padding, Window};
use thiserror::Error;

/// Caffe's LeNet, `examples/mnist/lenet_train_test.prototxt`: LeCun et al. 1998 with
/// max pooling and a ReLU.
pub const LENET: &str = "conv5x5x20, maxpool2, conv5x5x50, maxpool2, dense500 relu, dense10";
/// LeNet-5's sizes (LeCun et al. 1998) with max pooling and ReLUs: a tenth of the
/// parameters, for small devices.
pub const LENET_SMALL: &str =
    "conv5x5x6 relu, maxpool2, conv5x5x16 relu, maxpool2, dense120 relu, dense84 relu, dense10";

/// Why a text describes no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "cannot read layer {layer:?}; write lenet, lenet-small, or layers such as \
     \"conv5x5x8/2 same relu, depthwise3x3, maxpool2, avgpool4, dense10\""
)]
pub struct SpecError {
    /// The layer that is not understood.
    pub layer: String,
}

/// Reads a description: what each layer computes, and whether it has a ReLU.
///
/// Whether the layers fit each other is checked by
/// [`FloatNetwork::new`](super::FloatNetwork::new).
///
/// # Errors
/// The first layer that is not understood.
pub fn parse(text: &str) -> Result<Vec<(Op, bool)>, SpecError> {
    let text = match text.trim() {
        "lenet" => LENET,
        "lenet-small" => LENET_SMALL,
        layers => layers,
    };
    let layer = |layer: &str| {
        parse_layer(layer).ok_or_else(|| SpecError { layer: layer.trim().to_owned() })
    };
    text.split(',').map(layer).collect()
}

fn parse_layer(text: &str) -> Option<(Op, bool)> {
    let mut words = text.split_whitespace();
    let kind = words.next()?;
    let (mut padding, mut relu) = (None, false);
    for word in words {
        match word {
            "relu" if !relu => relu = true,
            "same" if padding.is_none() => padding = Some(Padding::Same),
            "valid" if padding.is_none() => padding = Some(Padding::Valid),
            _ => return None,
        }
    }
    let numbers_at = kind.find(|c: char| c.is_ascii_digit())?;
    let (name, numbers) = kind.split_at(numbers_at);
    let (sizes, stride) = match numbers.split_once('/') {
        Some((sizes, stride)) => (sizes, Some(number(stride)?)),
        None => (numbers, None),
    };
    let sizes = sizes.split('x').map(number).collect::<Option<Vec<_>>>()?;
    let window = |height, width, (stride_y, stride_x)| Window {
        height,
        width,
        stride_y: stride.unwrap_or(stride_y),
        stride_x: stride.unwrap_or(stride_x),
        padding: padding.unwrap_or(Padding::Valid),
    };
    let op = match (name, sizes[..].as_ref()) {
        ("conv", &[h, w, filters]) => Op::Conv { window: window(h, w, (1, 1)), filters },
        ("depthwise", &[h, w]) => Op::DepthwiseConv { window: window(h, w, (1, 1)), multiplier: 1 },
        ("depthwise", &[h, w, multiplier]) => {
            Op::DepthwiseConv { window: window(h, w, (1, 1)), multiplier }
        }
        ("maxpool", &[size]) => Op::MaxPool(window(size, size, (size, size))),
        ("maxpool", &[h, w]) => Op::MaxPool(window(h, w, (h, w))),
        ("avgpool", &[size]) => Op::AveragePool(window(size, size, (size, size))),
        ("avgpool", &[h, w]) => Op::AveragePool(window(h, w, (h, w))),
        ("dense", &[units]) if stride.is_none() && padding.is_none() => Op::Dense { units },
        _ => return None,
    };
    Some((op, relu))
}

/// A number of at least 1, without sign.
fn number(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&number| digits && number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::FloatNetwork;
    use mirage_core::nn::Shape;

    const MNIST: Shape = Shape { height: 28, width: 28, channels: 1 };

    #[test]
    fn names_are_the_published_networks() {
        let parameters = |text| {
            FloatNetwork::<f32>::new(MNIST, &parse(text).unwrap()).unwrap().parameters().len()
        };
        assert_eq!(parameters("lenet"), 431_080);
        assert_eq!(parameters(" lenet-small "), 44_426);
    }

    #[test]
    fn every_part_of_the_grammar() {
        let window = |height, width, stride, padding| Window {
            height,
            width,
            stride_y: stride,
            stride_x: stride,
            padding,
        };
        let layers = parse(
            "conv5x3x8/2 same relu,depthwise3x3x2 relu same, maxpool3/2,avgpool4 valid, dense10",
        );
        let expected = [
            (Op::Conv { window: window(5, 3, 2, Padding::Same), filters: 8 }, true),
            (Op::DepthwiseConv { window: window(3, 3, 1, Padding::Same), multiplier: 2 }, true),
            (Op::MaxPool(window(3, 3, 2, Padding::Valid)), false),
            (Op::AveragePool(window(4, 4, 4, Padding::Valid)), false),
            (Op::Dense { units: 10 }, false),
        ];
        assert_eq!(layers.unwrap(), expected);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, layer) in [
            ("", ""),
            ("conv5x5", "conv5x5"),
            ("conv5x5x8,, dense10", ""),
            ("dense10 same", "dense10 same"),
            ("dense10/2", "dense10/2"),
            ("dense0", "dense0"),
            ("dense+5", "dense+5"),
            ("conv5x5x8 relu relu", "conv5x5x8 relu relu"),
            ("lenet, dense10", "lenet"),
            ("maxpool99999999999999999999", "maxpool99999999999999999999"),
        ] {
            assert_eq!(parse(text).unwrap_err().layer, layer, "{text}");
        }
    }
}
