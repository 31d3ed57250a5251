use mirage_core::nn::Shape;
use mirage_core::rng::Stream;
use prost::Message;
use tract_onnx::prelude::*;

use super::*;
use crate::train::{FloatNetwork, Pass, spec};

const INPUT: Shape = Shape { height: 12, width: 10, channels: 2 };

fn network(layers: &str) -> FloatNetwork {
    let mut network = FloatNetwork::new(INPUT, &spec::parse(layers).unwrap()).unwrap();
    network.initialize(6);
    let mut stream = Stream::new(6, 6, 6);
    for index in 0..network.layers().len() {
        let biases = network.layers()[index].biases();
        network.parameters_mut()[biases].fill_with(|| stream.unit() - 0.5);
    }
    network
}

/// Networks that have every operator, stride and padding.
const NETWORKS: [&str; 5] = [
    "conv5x5x6, maxpool2, conv3x3x8, dense12 relu, dense10",
    "conv3x3x4/2 same relu, depthwise3x3x2 same relu, avgpool2 same, dense10",
    "conv2x4x4/3 same relu, depthwise3x2/2 relu, avgpool1x2, dense5",
    "conv1x1x3 relu, maxpool3/2 same, avgpool3/2 same, dense10",
    "dense8 relu, dense6 relu, conv1x1x7 relu, dense4",
];

/// Softmax of the logits that the network itself computes.
fn probabilities(network: &FloatNetwork, input: &[f32]) -> Vec<f32> {
    let mut pass = Pass::new(network, 1);
    let mut values = pass.forward(network, input).to_vec();
    mirage_core::math::softmax(&mut values);
    values
}

#[test]
fn tract_computes_what_the_network_computes() {
    for layers in NETWORKS {
        let network = network(layers);
        let bytes = encode(&network, &Preprocessing::PIXEL_OVER_256);
        let fact = f32::fact([1, INPUT.channels, INPUT.height, INPUT.width]);
        let model = onnx()
            .model_for_read(&mut &bytes[..])
            .and_then(|model| model.with_input_fact(0, fact.into()))
            .and_then(|model| model.into_optimized())
            .and_then(|model| model.into_runnable())
            .unwrap();
        let mut stream = Stream::new(1, 0, 0);
        for _ in 0..5 {
            let input: Vec<f32> = (0..INPUT.len()).map(|_| stream.unit()).collect();
            let planes = exchange_axes(&input, INPUT.positions(), INPUT.channels);
            let shape = [1, INPUT.channels, INPUT.height, INPUT.width];
            let tensor = Tensor::from_shape(&shape, &planes).unwrap();
            let result = model.run(tvec!(tensor.into())).unwrap();
            let theirs = result[0].to_plain_array_view::<f32>().unwrap();
            for (ours, theirs) in probabilities(&network, &input).iter().zip(theirs.iter()) {
                assert!((ours - theirs).abs() <= 1e-5, "{layers}: {ours}, tract {theirs}");
            }
        }
    }
}

#[test]
fn what_is_written_reads_back_bit_for_bit() {
    let rule = Preprocessing { scale: 1.0 / 255.0, mean: 0.1307, std: 0.3081 };
    for layers in NETWORKS {
        let network = network(layers);
        let (read, read_rule) = decode(&encode(&network, &rule)).unwrap();
        assert!(read == network, "{layers}");
        assert_eq!(read_rule, rule);
    }
}

/// Changes the file of a small network and gives the error that follows.
fn error_after(change: impl FnOnce(&mut ModelProto)) -> String {
    let bytes = encode(&network(NETWORKS[1]), &Preprocessing::PIXEL_OVER_256);
    let mut model = ModelProto::decode(&bytes[..]).unwrap();
    change(&mut model);
    decode(&model.encode_to_vec()).unwrap_err().to_string()
}

fn graph(model: &mut ModelProto) -> &mut tract_onnx::pb::GraphProto {
    model.graph.as_mut().unwrap()
}

#[test]
fn errors_name_node_and_operator() {
    let message = error_after(|model| graph(model).node[0].op_type = "LSTM".to_owned());
    assert_eq!(
        message,
        "node \"conv1\": LSTM: this operator is not supported in a sequential network"
    );
    let message = error_after(|model| graph(model).node[1].input[0] = "data".to_owned());
    assert!(message.contains("Relu") && message.contains("the one before"), "{message}");
    let message = error_after(|model| {
        let pads = graph(model).node[0].attribute.iter_mut().find(|a| a.name == "pads").unwrap();
        pads.ints = vec![1; 4];
    });
    assert!(message.contains("padding"), "{message}");
    let message = error_after(|model| graph(model).initializer[0].dims[0] = i64::MAX);
    assert!(message.contains("out of range"), "{message}");
    let message = error_after(|model| graph(model).initializer[0].raw_data.truncate(8));
    assert!(message.contains("length"), "{message}");
    let message = error_after(|model| graph(model).initializer.clear());
    assert!(message.contains("must be constants"), "{message}");
    let message = error_after(|model| {
        graph(model).node.truncate(3);
    });
    assert!(message.contains("dense"), "{message}");
    let message = error_after(|model| model.metadata_props.clear());
    assert!(message.contains("preprocessing"), "{message}");
    let message = error_after(|model| model.graph = None);
    assert!(message.contains("input"), "{message}");
    assert!(matches!(decode(b"\xff\xff\xff"), Err(OnnxError::Parse(_))));
    assert!(decode(b"").is_err());
}

#[test]
fn other_writers_are_understood() {
    // MatMul and Add for Gemm, a relu after a max pool, no softmax.
    let network = network("conv5x5x6 relu, maxpool2, dense10");
    let bytes = encode(&network, &Preprocessing::PIXEL_OVER_256);
    let mut model = ModelProto::decode(&bytes[..]).unwrap();
    let nodes = &mut graph(&mut model).node;
    // conv, relu, pool, flatten, gemm, softmax
    nodes[1].op_type = "MaxPool".to_owned();
    nodes[1].attribute = std::mem::take(&mut nodes[2].attribute);
    nodes[2].op_type = "Relu".to_owned();
    nodes.pop();
    let mut add = nodes[4].clone();
    nodes[4].op_type = "MatMul".to_owned();
    nodes[4].attribute.clear();
    let biases = nodes[4].input.pop().unwrap();
    add.op_type = "Add".to_owned();
    add.input = vec![biases, nodes[4].output[0].clone()];
    add.output = vec!["sum".to_owned()];
    nodes.push(add);
    let weights =
        graph(&mut model).initializer.iter_mut().find(|tensor| tensor.name == "dense1_w").unwrap();
    let (units, length) = (weights.dims[0], weights.dims[1]);
    weights.dims = vec![length, units];
    let values: Vec<f32> =
        weights.raw_data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let values = exchange_axes(&values, units as usize, length as usize);
    weights.raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert!(decode(&model.encode_to_vec()).unwrap().0 == network);
}
