//! An ONNX network that turns float tensors into float tensors, run by tract.
//!
//! The body runs one input at a time: tract is fastest with a concrete batch of one. The
//! dense head runs over [`BATCH`] inputs at a time, always: an output's last bits depend on
//! the shape that was multiplied, so that every shape is fixed and an input's output
//! depends on that input alone.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use mirage_core::image::Shape;
use mirage_core::limits::MAX_SIDE;
use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::{
    Datum, Framework, InferenceFact, InferenceModelExt, IntoRunnable, Tensor, TractError,
    TypedModel, TypedRunnableModel, tvec,
};

use tract_onnx::tract_core::plan;

use super::operators;
use super::split::{forget_unused_padding, keep_first_output, split_head};

/// Inputs that pass the dense head together.
pub const BATCH: usize = 20;

/// A network with one image as input and one value per class as output.
pub struct OnnxNetwork {
    input: Shape,
    classes: usize,
    body: Stage,
    head: Option<Stage>,
}

/// A part of a network, ready to run over a fixed number of rows.
struct Stage {
    plan: Arc<TypedRunnableModel>,
    input: Vec<usize>,
    /// Values that one row becomes.
    outputs: usize,
}

impl std::fmt::Debug for OnnxNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxNetwork")
            .field("input", &self.input)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}

impl OnnxNetwork {
    /// Checks and optimises a network.
    ///
    /// # Errors
    /// In one line, what is wrong with it: it has no graph, more than one input, an input
    /// other than float [N, 1 or 3, height, width], an operator that tract does not know
    /// (named, with its node), or an output other than [N, classes] with two classes.
    pub fn from_proto(proto: ModelProto) -> Result<Self, String> {
        guard(|| Self::build(proto, split_head))?
    }

    /// The same without a head of its own: for one input at a time, which
    /// [`from_proto`](Self::from_proto) makes wait for others.
    ///
    /// # Errors
    /// As for `from_proto`.
    pub fn whole(proto: ModelProto) -> Result<Self, String> {
        guard(|| Self::build(proto, |_| None))?
    }

    fn build(
        mut proto: ModelProto,
        split: impl FnOnce(&mut ModelProto) -> Option<ModelProto>,
    ) -> Result<Self, String> {
        let (framework, input) = open(&mut proto)?;
        let head = split(&mut proto);
        let image = vec![1, input.channels, input.height, input.width];
        let body = Stage::new(&framework, proto, image)?;
        let head = match head {
            Some(head) => Some(Stage::new(&framework, head, vec![BATCH, body.outputs])?),
            None => None,
        };
        let classes = head.as_ref().unwrap_or(&body).outputs;
        if classes < 2 {
            return Err(format!("an output of {classes} values is no score of classes"));
        }
        Ok(Self { input, classes, body, head })
    }

    /// Shape of one input.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Values that one input becomes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How long each node takes, the body's over one input and the head's over [`BATCH`].
    ///
    /// # Errors
    /// If tract fails.
    pub fn profile(&self) -> Result<[Vec<NodeTime>; 2], String> {
        let failed = |error: TractError| one_line(&error);
        let head = self.head.as_ref().map(Stage::profile).transpose().map_err(failed)?;
        Ok([self.body.profile().map_err(failed)?, head.unwrap_or_default()])
    }

    /// The network as one thread runs it, with its own memory.
    pub fn session(&self) -> Session<'_> {
        let features = self.head.as_ref().map_or(0, |head| BATCH * head.row());
        Session { network: self, features: vec![0.0; features] }
    }
}

/// Checks a network as far as its file tells, and leaves only its first output. Returns what
/// reads it, and the shape of its input.
pub(super) fn open(proto: &mut ModelProto) -> Result<(Onnx, Shape), String> {
    let mut framework = tract_onnx::onnx().with_ignore_value_info(true);
    operators::register(&mut framework);
    let input = input_shape(proto)?;
    check_operators(proto, &framework)?;
    keep_first_output(proto);
    forget_unused_padding(proto);
    Ok((framework, input))
}

/// A network or part of one for inputs of the shape `input`, rows first: decluttered, with
/// the operators here.
pub(super) fn typed(
    framework: &Onnx,
    proto: ModelProto,
    input: &[usize],
) -> Result<TypedModel, TractError> {
    let fact = InferenceFact::dt_shape(f32::datum_type(), input);
    let model = framework.model_for_proto_model(&proto)?.with_input_fact(0, fact)?;
    drop(proto);
    let mut model = model.into_typed()?;
    operators::replace_convolutions(&mut model)?;
    model.declutter()?;
    operators::replace(&mut model)?;
    Ok(model)
}

/// Optimises a network for running it.
pub(super) fn runnable(mut model: TypedModel) -> Result<Arc<TypedRunnableModel>, TractError> {
    model.optimize()?;
    model.into_runnable()
}

/// What is wrong with a network that tract refuses.
pub(super) fn refused(error: &TractError) -> String {
    format!("tract cannot run this network: {}", one_line(error))
}

impl Stage {
    /// Optimises a part of a network for inputs of the shape `input`, rows first.
    fn new(framework: &Onnx, proto: ModelProto, input: Vec<usize>) -> Result<Self, String> {
        let plan = typed(framework, proto, &input).and_then(runnable);
        let plan = plan.map_err(|error| refused(&error))?;
        let output = plan.model().output_fact(0).map_err(|error| one_line(&error))?;
        match output.shape.as_concrete() {
            Some(&[rows, outputs, ref rest @ ..])
                if rows == input[0]
                    && rest.iter().all(|&size| size == 1)
                    && output.datum_type == f32::datum_type() =>
            {
                Ok(Self { plan, input, outputs })
            }
            _ => Err(format!("its output is {output:?} instead of float [N, classes]")),
        }
    }

    /// Values of one row of input.
    fn row(&self) -> usize {
        self.input[1..].iter().product()
    }

    /// Runs all rows; `outputs` may take only the first few.
    fn run(&self, inputs: &[f32], outputs: &mut [f32]) -> Result<(), String> {
        let run = || -> Result<(), TractError> {
            let input = Tensor::from_shape(&self.input, inputs)?;
            let results = self.plan.run(tvec!(input.into()))?;
            let result = results[0].try_as_plain_ram()?;
            outputs.copy_from_slice(&result.as_slice::<f32>()?[..outputs.len()]);
            Ok(())
        };
        guard(run)?.map_err(|error| one_line(&error))
    }

    /// The time that each node takes to run over zeros.
    fn profile(&self) -> Result<Vec<NodeTime>, TractError> {
        let mut times = Vec::new();
        let input = Tensor::zero::<f32>(&self.input)?;
        self.plan.spawn()?.run_plan_with_eval(
            tvec!(input.into()),
            |context, state, node, inputs| {
                let start = Instant::now();
                let result = plan::eval(context, state, node, inputs);
                let (operator, name) = (node.op.name().into_owned(), node.name.clone());
                times.push(NodeTime { operator, name, time: start.elapsed() });
                result
            },
        )?;
        Ok(times)
    }
}

/// How long one node of a network took.
#[derive(Clone, Debug)]
pub struct NodeTime {
    /// What it does, as tract calls it.
    pub operator: String,
    /// Its name.
    pub name: String,
    /// For one input in the body, for [`BATCH`] in the head.
    pub time: Duration,
}

/// An [`OnnxNetwork`] in use by one thread.
#[derive(Debug)]
pub struct Session<'a> {
    network: &'a OnnxNetwork,
    /// What the body made of a batch of inputs.
    features: Vec<f32>,
}

impl Session<'_> {
    /// The network's output, as it is, for any number of inputs: `inputs` [N, channels,
    /// height, width], `outputs` [N, classes]. An input's output depends on nothing else,
    /// bit for bit.
    ///
    /// # Errors
    /// If the lengths do not match each other, or tract fails.
    pub fn run(&mut self, inputs: &[f32], outputs: &mut [f32]) -> Result<(), String> {
        let OnnxNetwork { body, head, classes, .. } = self.network;
        let count = outputs.len() / classes;
        if inputs.len() != count * body.row() || outputs.len() != count * classes {
            let (values, outputs) = (inputs.len(), outputs.len());
            return Err(format!("{values} input and {outputs} output values do not match it"));
        }
        let Some(head) = head else {
            let images = inputs.chunks_exact(body.row());
            return images
                .zip(outputs.chunks_exact_mut(*classes))
                .try_for_each(|(image, output)| body.run(image, output));
        };
        let batches = inputs.chunks(BATCH * body.row()).zip(outputs.chunks_mut(BATCH * classes));
        for (images, outputs) in batches {
            let mut rows = self.features.chunks_exact_mut(head.row());
            for (image, row) in images.chunks_exact(body.row()).zip(&mut rows) {
                body.run(image, row)?;
            }
            rows.for_each(|row| row.fill(0.0));
            head.run(&self.features, outputs)?;
        }
        Ok(())
    }
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls tract, which panics on some damaged networks: such a panic becomes an error, and
/// prints nothing.
pub(super) fn guard<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                report(panic);
            }
        }));
    });
    let outer = IS_GUARDED.replace(true);
    // Nothing that the call was changing is used after a panic.
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    IS_GUARDED.set(outer);
    result.map_err(|_| "tract cannot run this network: it is damaged or not supported".to_owned())
}

/// The shape of the one input that is not a constant: [N, channels, height, width].
fn input_shape(proto: &ModelProto) -> Result<Shape, String> {
    use tract_onnx::pb::tensor_shape_proto::dimension::Value::DimValue;
    use tract_onnx::pb::type_proto::Value::TensorType;

    let graph = proto.graph.as_ref().ok_or("no graph")?;
    let is_constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let mut inputs = graph.input.iter().filter(|input| !is_constant(&input.name));
    let (Some(input), None) = (inputs.next(), inputs.next()) else {
        return Err("the network needs exactly one input".to_owned());
    };
    let Some(TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(format!("input {:?} is no tensor", input.name));
    };
    let dimensions = tensor.shape.as_ref().map(|shape| shape.dim.as_slice()).unwrap_or_default();
    let fixed = |index: usize| match dimensions.get(index).and_then(|d| d.value.as_ref()) {
        Some(DimValue(size)) => usize::try_from(*size).ok().filter(|s| (1..=MAX_SIDE).contains(s)),
        _ => None,
    };
    let is_float = tensor.elem_type == DataType::Float as i32;
    match (dimensions.len(), fixed(1), fixed(2), fixed(3)) {
        (4, Some(channels @ (1 | 3)), Some(height), Some(width)) if is_float => {
            Ok(Shape { height, width, channels })
        }
        _ => Err(format!(
            "input {:?} is not float [N, 1 or 3, height, width] with fixed sizes of at most {MAX_SIDE}",
            input.name
        )),
    }
}

/// Checks that tract knows every operator.
fn check_operators(proto: &ModelProto, framework: &Onnx) -> Result<(), String> {
    let nodes = proto.graph.iter().flat_map(|graph| &graph.node);
    for node in nodes {
        if !framework.op_register.0.contains_key(&node.op_type) {
            let name = [&node.name].into_iter().chain(&node.output).find(|name| !name.is_empty());
            let name = name.map_or("", String::as_str);
            return Err(format!("operator {} of node {name:?} is not supported", node.op_type));
        }
    }
    Ok(())
}

/// A tract error, whose causes fill many lines, as one.
pub(super) fn one_line(error: &TractError) -> String {
    let causes: Vec<String> = error.chain().map(|cause| cause.to_string()).collect();
    causes.join(": ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use reference::onnx::Attribute::{Int, Ints};
    use reference::onnx::{self, Batch, Builder};
    use reference::rng::SplitMix64;

    use tract_onnx::pb::{NodeProto, ValueInfoProto};

    use super::*;

    /// Numbers that look random, one set per seed.
    fn inputs(network: &OnnxNetwork, count: usize, seed: u64) -> Vec<f32> {
        let mut random = SplitMix64 { x: seed };
        let unit = move || (random.draw() >> 40) as f32 / (1 << 24) as f32;
        let mut unit = unit;
        (0..count * network.input().len()).map(|_| unit() * 255.0 - 120.0).collect()
    }

    fn run(network: &OnnxNetwork, inputs: &[f32]) -> Vec<f32> {
        let count = inputs.len() / network.input().len();
        let mut outputs = vec![f32::NAN; count * network.classes()];
        network.session().run(inputs, &mut outputs).expect("lengths that match");
        outputs
    }

    #[test]
    fn an_output_depends_on_its_input_alone() {
        for proto in [onnx::alexnet(16, 1), onnx::zoo_caffenet(16, 2)] {
            let network = OnnxNetwork::from_proto(proto).expect("a network that is whole");
            assert!(network.head.is_some());
            let (length, classes) = (network.input().len(), network.classes());
            let many = inputs(&network, 2 * BATCH + 3, 3);
            let all = run(&network, &many);
            for (index, expected) in all.chunks(classes).enumerate() {
                let image = &many[index * length..][..length];
                assert!(run(&network, image) == expected, "alone, {index}");
            }
            for shift in 1..BATCH {
                let rows = run(&network, &many[shift * length..]);
                assert!(rows == all[shift * classes..], "moved by {shift}");
            }
        }
    }

    /// A small network of every kind of layer that the tests here need.
    fn small(batch: Batch, image: [usize; 3]) -> Builder {
        let mut builder = Builder::new(batch, image, 7);
        builder.layer("Conv", "conv", "data", &[4, image[0], 3, 3], &[("strides", Ints(&[2, 2]))]);
        builder.node("Relu", "relu", &["conv"], &[]);
        builder
    }

    /// `small`, a Reshape of its 4×5×5 outputs to rows, and dense layers.
    fn dense(batch: Batch, rows: i64) -> ModelProto {
        let mut builder = small(batch, [1, 11, 11]);
        builder.integers("rows", &[rows, 100]);
        builder.node("Reshape", "flat", &["relu", "rows"], &[]);
        builder.random("w1", &[100, 24], 0.1);
        builder.random("b1", &[24], 0.1);
        builder.node("MatMul", "fc1", &["flat", "w1"], &[]);
        builder.node("Add", "sum1", &["fc1", "b1"], &[]);
        builder.node("Tanh", "tanh1", &["sum1"], &[]);
        builder.layer("Gemm", "fc2", "tanh1", &[10, 24], &[("transB", Int(1))]);
        builder.integers("rows2", &[rows, 10]);
        builder.node("Reshape", "flat2", &["fc2", "rows2"], &[]);
        builder.node("LogSoftmax", "log", &["flat2"], &[("axis", Int(1))]);
        builder.finish("log", 13)
    }

    #[test]
    fn a_batch_may_be_named_fixed_or_left_out() {
        let reference = OnnxNetwork::from_proto(dense(Batch::Symbolic, -1)).expect("a network");
        let images = inputs(&reference, BATCH + 1, 8);
        let expected = run(&reference, &images);
        for (batch, rows) in
            [(Batch::Fixed(1), 1), (Batch::Fixed(1), 0), (Batch::Absent, -1), (Batch::Symbolic, 1)]
        {
            let network = OnnxNetwork::from_proto(dense(batch, rows)).expect("a network");
            assert!(network.head.is_some(), "{batch:?}, {rows} rows");
            assert!(run(&network, &images) == expected, "{batch:?}, {rows} rows");
        }
    }

    #[test]
    fn a_head_that_mixes_rows_stays_with_its_body() {
        let mut builder = small(Batch::Symbolic, [3, 9, 9]);
        builder.node("Flatten", "flat", &["relu"], &[]);
        builder.layer("Gemm", "fc", "flat", &[5, 64], &[("transB", Int(1))]);
        builder.node("Softmax", "columns", &["fc"], &[("axis", Int(0))]);
        builder.node("Add", "sum", &["fc", "columns"], &[]);
        let network = OnnxNetwork::from_proto(builder.finish("sum", 13)).expect("a network");
        assert!(network.head.is_none());
        let images = inputs(&network, 3, 9);
        let outputs = run(&network, &images);
        assert!(run(&network, &images[network.input().len()..]) == outputs[5..]);
    }

    #[test]
    fn only_the_first_of_several_outputs_counts() {
        let one = dense(Batch::Symbolic, -1);
        let mut several = one.clone();
        let graph = several.graph.as_mut().expect("a graph");
        let last = graph.output[0].name.clone();
        graph.node.push(NodeProto {
            op_type: "Softmax".to_owned(),
            input: vec![last],
            output: vec!["more".to_owned()],
            ..NodeProto::default()
        });
        for name in ["relu", "more"] {
            let name = name.to_owned();
            graph.output.push(ValueInfoProto { name, ..ValueInfoProto::default() });
        }
        let load = |proto| OnnxNetwork::from_proto(proto).expect("a network");
        let (one, several) = (load(one), load(several));
        assert!(several.head.is_some());
        let images = inputs(&one, 3, 9);
        assert!(run(&several, &images) == run(&one, &images));
    }

    #[test]
    fn a_network_without_dense_layers_may_end_in_planes_of_one_pixel() {
        let mut builder = small(Batch::Fixed(1), [3, 9, 9]);
        builder.node("GlobalAveragePool", "mean", &["relu"], &[]);
        builder.node("Softmax", "prob", &["mean"], &[]);
        let network = OnnxNetwork::from_proto(builder.finish("prob", 12)).expect("a network");
        assert_eq!((network.classes(), network.head.is_none()), (4, true));
        for row in run(&network, &inputs(&network, 3, 9)).chunks(4) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let mut unknown = small(Batch::Symbolic, [3, 9, 9]);
        unknown.node("Sparkle", "odd one", &["relu"], &[]);
        let mut two = small(Batch::Symbolic, [3, 9, 9]);
        two.input("other", DataType::Float, vec![None; 4]);
        let mut whole = small(Batch::Symbolic, [3, 9, 9]).finish("relu", 13);
        whole.graph = None;
        let mut misfit = small(Batch::Symbolic, [3, 9, 9]);
        misfit.layer("Conv", "next", "relu", &[4, 7, 3, 3], &[]);
        let mut one = small(Batch::Symbolic, [3, 9, 9]);
        one.node("Flatten", "flat", &["relu"], &[]);
        one.layer("Gemm", "fc", "flat", &[1, 64], &[("transB", Int(1))]);
        let mut hollow = dense(Batch::Symbolic, -1);
        let graph = hollow.graph.as_mut().expect("a graph");
        graph.initializer.retain(|tensor| tensor.name != "w1");
        for (proto, words) in [
            (whole, "no graph"),
            (small(Batch::Symbolic, [2, 9, 9]).finish("relu", 13), "[N, 1 or 3, height, width]"),
            (two.finish("relu", 13), "exactly one input"),
            (unknown.finish("odd one", 13), "operator Sparkle of node \"odd one\""),
            (misfit.finish("next", 13), "next"),
            (small(Batch::Symbolic, [3, 9, 9]).finish("relu", 13), "[N, classes]"),
            (one.finish("fc", 13), "1 values"),
            (hollow, "w1"),
        ] {
            let error = OnnxNetwork::from_proto(proto).expect_err(words);
            assert!(error.contains(words) && !error.contains('\n'), "{words}: {error}");
        }
    }

    #[test]
    fn lengths_must_match() {
        let network = OnnxNetwork::from_proto(dense(Batch::Symbolic, -1)).expect("a network");
        for (inputs, outputs) in [(121, 11), (120, 10), (242, 10), (0, 10)] {
            let result = network.session().run(&vec![0.0; inputs], &mut vec![0.0; outputs]);
            assert!(result.is_err(), "{inputs} {outputs}");
        }
        assert_eq!(network.session().run(&[], &mut []), Ok(()));
    }

    #[test]
    fn a_panic_inside_is_an_error() {
        let array = [0_u8; 2];
        let index = std::hint::black_box(2);
        assert!(guard(|| array[index]).is_err());
        assert_eq!(guard(|| 1), Ok(1));
    }
}
