//! The logits of an ONNX network, and what its last layer makes them of.
//!
//! Both are outputs of the same network that ends earlier: nothing is computed in another
//! way than in the whole one.

use mirage_core::image::Shape;
use tract_onnx::pb::{ModelProto, NodeProto, ValueInfoProto};

use super::super::crops::{Crop, Crops};
use super::super::description::Description;
use super::super::input::Input;
use super::network::{BATCH, OnnxNetwork, Session};
use super::output::{Output, SHAPING};
use super::split::{Search, keep_first_output, name_constants};

/// The tensor that features are made of where a network has them at many places.
const POOLED: &str = "features of mirage";

/// A network that tells the logits and the features of the middle of pictures.
#[derive(Debug)]
pub(in super::super) struct OnnxFeatures {
    input: Input,
    middle: Crop,
    logits: OnnxNetwork,
    features: OnnxNetwork,
}

impl OnnxFeatures {
    /// Takes a network, whose output means `output`, apart.
    ///
    /// # Errors
    /// In one line, why there are no logits or features.
    pub(in super::super) fn new(
        proto: ModelProto,
        description: &Description,
        output: Output,
    ) -> Result<Self, String> {
        let logits = OnnxNetwork::from_proto(ending(proto.clone(), |search, last| {
            logits(search, last, output).map(|name| (name, None))
        })?)?;
        let features = OnnxNetwork::from_proto(ending(proto, |search, last| {
            features(search, &logits_or(search, last))
        })?)?;
        let input = Input::new(description, logits.input())?;
        let middle = Crops::Center.of(input.picture(), logits.input())[0];
        Ok(Self { input, middle, logits, features })
    }

    /// Shape of pictures.
    pub(in super::super) fn picture(&self) -> Shape {
        self.input.picture()
    }

    pub(in super::super) fn classes(&self) -> usize {
        self.logits.classes()
    }

    /// Features of a picture.
    pub(in super::super) fn features(&self) -> usize {
        self.features.classes()
    }

    pub(in super::super) fn session(&self) -> FeatureSession<'_> {
        FeatureSession {
            network: self,
            logits: self.logits.session(),
            features: self.features.session(),
            inputs: vec![0.0; BATCH * self.logits.input().len()],
        }
    }
}

/// An [`OnnxFeatures`] in use by one thread.
pub(in super::super) struct FeatureSession<'a> {
    network: &'a OnnxFeatures,
    logits: Session<'a>,
    features: Session<'a>,
    inputs: Vec<f32>,
}

impl FeatureSession<'_> {
    /// The logits of whole pictures, and their features if they are wanted; the lengths match.
    pub(in super::super) fn run(
        &mut self,
        pictures: &[u8],
        logits: &mut [f32],
        mut features: Option<&mut [f32]>,
    ) -> Result<(), String> {
        let OnnxFeatures { input, middle, .. } = self.network;
        let (classes, width) = (self.network.classes(), self.network.features());
        let values = self.network.logits.input().len();
        let batches = pictures.chunks(BATCH * input.picture().len());
        for (index, (pictures, logits)) in
            batches.zip(logits.chunks_mut(BATCH * classes)).enumerate()
        {
            let pictures = pictures.chunks_exact(input.picture().len());
            let inputs = &mut self.inputs[..pictures.len() * values];
            for (picture, values) in pictures.clone().zip(inputs.chunks_exact_mut(values)) {
                input.write(picture, *middle, values);
            }
            self.logits.run(inputs, logits)?;
            if let Some(features) = &mut features {
                let rows = &mut features[index * BATCH * width..][..pictures.len() * width];
                self.features.run(inputs, rows)?;
            }
        }
        Ok(())
    }
}

/// The network that ends in the tensor that `find` names, given its last: or in what a node,
/// which it may give too, makes of it.
fn ending(
    mut proto: ModelProto,
    find: impl FnOnce(&Search, &str) -> Result<(String, Option<NodeProto>), String>,
) -> Result<ModelProto, String> {
    let graph = proto.graph.as_mut().ok_or("no graph")?;
    name_constants(graph);
    let last = graph.output.first().ok_or("no output")?.name.clone();
    let (mut name, more) = find(&Search::new(graph), &last)?;
    if let Some(node) = more {
        name.clone_from(&node.output[0]);
        graph.node.push(node);
    }
    graph.output = vec![ValueInfoProto { name, ..ValueInfoProto::default() }];
    keep_first_output(&mut proto);
    Ok(proto)
}

/// What goes into the softmax that makes the output, if one does.
fn before_softmax(search: &Search, last: &str) -> Option<String> {
    let mut node = search.maker(last)?;
    while node.op_type == "Log" || SHAPING.contains(&node.op_type.as_str()) {
        node = search.maker(node.input.first()?)?;
    }
    let is_softmax = ["Softmax", "LogSoftmax"].contains(&node.op_type.as_str());
    if is_softmax { node.input.first().cloned() } else { None }
}

/// The tensor of the logits, of an output that means `output`.
fn logits(search: &Search, last: &str, output: Output) -> Result<String, String> {
    match (before_softmax(search, last), output) {
        (Some(name), Output::Probabilities | Output::LogProbabilities) => Ok(name),
        (_, Output::Logits) => Ok(last.to_owned()),
        (_, meaning) => {
            Err(format!("its {meaning} come from no softmax, so that there are no logits"))
        }
    }
}

fn logits_or(search: &Search, last: &str) -> String {
    before_softmax(search, last).unwrap_or_else(|| last.to_owned())
}

/// The tensor that the last layer with weights, which leads to `name`, is given; where that
/// is a convolution, the node that makes one row of it.
///
/// A kernel of one pixel sees the same features at every place, and what follows averages
/// over the places: so is done here. One that is larger takes each place by itself.
fn features(search: &Search, name: &str) -> Result<(String, Option<NodeProto>), String> {
    let mut name = name.to_owned();
    while let Some(node) = search.maker(&name) {
        let weights = node.input.get(1).and_then(|name| search.constants.get(name.as_str()));
        match (node.op_type.as_str(), weights) {
            ("Gemm" | "MatMul", Some(_)) => return Ok((node.input[0].clone(), None)),
            ("Conv", Some(weights)) => {
                let is_pixel = weights.dims.iter().skip(2).all(|&side| side == 1);
                let kind = if is_pixel { "GlobalAveragePool" } else { "Flatten" };
                let (input, output) = (vec![node.input[0].clone()], vec![POOLED.to_owned()]);
                let (op_type, name) = (kind.to_owned(), POOLED.to_owned());
                let row = NodeProto { op_type, name, input, output, ..NodeProto::default() };
                return Ok((node.input[0].clone(), Some(row)));
            }
            _ => {}
        }
        let mut data = node.input.iter().filter(|name| search.is_data(name));
        match (data.next(), data.next()) {
            (Some(before), None) => name.clone_from(before),
            _ => {
                let what = format!("{} that makes {name:?}", node.op_type);
                return Err(format!(
                    "before its last layer it branches ({what}): it has no features that its logits are made of"
                ));
            }
        }
    }
    Err("no layer with weights leads to its logits".to_owned())
}

#[cfg(test)]
mod tests {
    use reference::onnx::Attribute::{Int, Ints};
    use reference::onnx::{Batch, Builder};

    use super::*;

    fn taken_apart(builder: Builder, last: &str, output: Output) -> Result<OnnxFeatures, String> {
        OnnxFeatures::new(builder.finish(last, 13), &Description::default(), output)
    }

    /// Pictures of 5 × 5 pixels in three colours.
    fn builder() -> Builder {
        let mut builder = Builder::new(Batch::Symbolic, [3, 5, 5], 3);
        builder.layer("Conv", "conv", "data", &[4, 3, 3, 3], &[]);
        builder.node("Relu", "relu", &["conv"], &[]);
        builder
    }

    fn run(network: &OnnxFeatures, pictures: &[u8]) -> (Vec<f32>, Vec<f32>) {
        let count = pictures.len() / network.picture().len();
        let mut logits = vec![f32::NAN; count * network.classes()];
        let mut features = vec![f32::NAN; count * network.features()];
        network.session().run(pictures, &mut logits, Some(&mut features)).unwrap();
        (logits, features)
    }

    fn pictures(count: usize) -> Vec<u8> {
        (0..count * 75).map(|index| (index * index * 31 % 256) as u8).collect()
    }

    #[test]
    fn logits_are_the_last_layer_of_the_features() {
        let weights: Vec<f32> = (0..8).map(|index| index as f32 * 0.5 - 1.0).collect();
        for (ending, output) in [
            (&["Softmax"][..], Output::Probabilities),
            (&["Softmax", "Log"], Output::LogProbabilities),
            (&["LogSoftmax"], Output::LogProbabilities),
            (&[], Output::Logits),
        ] {
            let mut builder = builder();
            builder.node("GlobalAveragePool", "mean", &["relu"], &[]);
            builder.node("Flatten", "flat", &["mean"], &[]);
            builder.floats("weights", &[4, 2], &weights);
            builder.node("MatMul", "dense", &["flat", "weights"], &[]);
            builder.floats("bias", &[2], &[0.25, -3.0]);
            builder.node("Add", "sum", &["dense", "bias"], &[]);
            let mut last = "sum";
            for kind in ending {
                builder.node(kind, kind, &[last], &[]);
                last = kind;
            }
            let network = taken_apart(builder, last, output).unwrap();
            assert_eq!((network.classes(), network.features()), (2, 4));
            let (logits, features) = run(&network, &pictures(BATCH + 3));
            for (logits, features) in logits.chunks(2).zip(features.chunks(4)) {
                for (class, &logit) in logits.iter().enumerate() {
                    let terms = features
                        .iter()
                        .zip(&weights[class..].iter().step_by(2).collect::<Vec<_>>())
                        .map(|(f, w)| f * **w)
                        .sum::<f32>();
                    let expected = terms + [0.25, -3.0][class];
                    assert!((logit - expected).abs() < 1e-4, "{ending:?}: {logit} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_network_that_ends_in_a_convolution_has_the_means_of_what_that_sees() {
        let with_last = |kernel: usize| {
            let mut builder = builder();
            let dims = [2, 4, kernel, kernel];
            builder.layer(
                "Conv",
                "last",
                "relu",
                &dims,
                &[("kernel_shape", Ints(&[kernel as i64; 2]))],
            );
            builder.node("GlobalAveragePool", "pool", &["last"], &[]);
            builder.node("Flatten", "flat", &["pool"], &[]);
            builder.node("Softmax", "prob", &["flat"], &[("axis", Int(1))]);
            taken_apart(builder, "prob", Output::Probabilities).unwrap()
        };
        let (pixel, whole) = (with_last(1), with_last(3));
        assert_eq!((pixel.features(), whole.features()), (4, 4 * 9));
        let (_, means) = run(&pixel, &pictures(2));
        let (_, places) = run(&whole, &pictures(2));
        for (mean, places) in means.iter().zip(places.chunks(9)) {
            assert!((mean - places.iter().sum::<f32>() / 9.0).abs() < 1e-5);
        }
    }

    #[test]
    fn a_network_without_logits_or_features_is_refused() {
        let mut flat = builder();
        flat.node("GlobalAveragePool", "mean", &["relu"], &[]);
        flat.node("Flatten", "flat", &["mean"], &[]);
        let mut sigmoid = flat.clone();
        sigmoid.node("Sigmoid", "prob", &["flat"], &[]);
        let mut twice = flat.clone();
        twice.node("Mul", "square", &["flat", "flat"], &[]);
        let mut bare = Builder::new(Batch::Symbolic, [3, 5, 5], 3);
        bare.node("GlobalAveragePool", "mean", &["data"], &[]);
        bare.node("Flatten", "flat", &["mean"], &[]);
        for (builder, last, output, words) in [
            (sigmoid, "prob", Output::Independent, "no softmax"),
            (flat, "flat", Output::Probabilities, "no softmax"),
            (twice, "square", Output::Logits, "branches (Mul that makes \"square\")"),
            (bare, "flat", Output::Logits, "no layer with weights"),
        ] {
            let error = taken_apart(builder, last, output).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
