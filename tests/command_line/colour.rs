//! Colour pictures, and networks that look at crops of them.

use prost::Message;
use reference::onnx::Attribute::{Int, Ints};
use reference::onnx::{Batch, Builder};

use crate::program::Workplace;
use crate::resume::{assert_same, kill_and_resume};

/// A workplace with `net.onnx`, a small network of ten classes, with a body and a dense
/// head and random weights, and what a user writes beside it.
fn with_network() -> Workplace {
    let mut builder = Builder::new(Batch::Symbolic, [3, 24, 24], 5);
    let attributes = [("kernel_shape", Ints(&[5; 2])), ("strides", Ints(&[2; 2]))];
    builder.layer("Conv", "conv", "data", &[8, 3, 5, 5], &attributes);
    builder.node("Relu", "relu", &["conv"], &[]);
    builder.node("Flatten", "flat", &["relu"], &[("axis", Int(1))]);
    builder.layer("Gemm", "dense", "flat", &[10, 800], &[("transB", Int(1))]);
    builder.node("Softmax", "prob", &["dense"], &[("axis", Int(1))]);
    let place = Workplace::new();
    place.write("net.onnx", builder.finish("prob", 13).encode_to_vec());
    let text = "picture = [32, 30]\norder = 'BGR'\nmean = [0.4, 0.5, 0.45]\n\
                [groups]\nodd = '1, 3, 5, 7, 9'";
    place.write("net.toml", text);
    place
}

#[test]
fn threads_change_nothing() {
    let place = with_network();
    for (name, options) in [
        ("ten", "--encoding cppn"),
        ("center", "--encoding cppn --crops center --colour hls"),
        ("direct", "--encoding direct --crops center"),
    ] {
        for threads in [1, 2, 3] {
            place.succeed(&format!(
                "evolve --model net.onnx --generations 5 --children 33 {options} \
                 --threads {threads} --out {name}{threads}"
            ));
        }
        assert_same(&place, &format!("{name}1"), &format!("{name}2"));
        assert_same(&place, &format!("{name}1"), &format!("{name}3"));
    }
    assert_ne!(place.digest("ten1"), place.digest("center1"));
}

#[test]
fn killed_and_resumed_gives_the_undisturbed_run() {
    let line = "evolve --model net.onnx --generations 40 --children 30 --checkpoint-generations 2";
    kill_and_resume(&with_network(), line);
}

#[test]
fn what_a_colour_run_leaves_says_how_it_was_made() {
    let place = with_network();
    let line = "evolve --model net.onnx --generations 1 --children 4 --out run";
    let summary = place.json(line);
    assert_eq!(summary["preset"], "imagenet-cppn");
    assert_eq!(summary["groups"][0]["name"], "odd");
    let manifest = place.manifest("run");
    assert_eq!(manifest["model"]["picture"], serde_json::json!([32, 30, 3]));
    for setting in [["colour", "hsv"], ["crops", "ten"], ["node capacity", "256"]] {
        let settings = manifest["settings"].as_array().unwrap();
        assert!(settings.contains(&serde_json::json!(setting)), "{setting:?} in {settings:?}");
    }
    let resume = "evolve --resume --out run";
    for (option, word) in [
        ("--colour hls", "--colour"),
        ("--crops center", "--crops"),
        ("--encoding direct", "--encoding"),
        ("--preset mnist-cppn", "--preset"),
    ] {
        place.refuse(&format!("{resume} {option}"), &[word, "run"]);
    }
    // Pictures prepared otherwise are another run.
    place.write("net.toml", "picture = [32, 30]\nscale = 1");
    place.refuse(&format!("{resume} --generations 2"), &["net.onnx", "otherwise", "TOML"]);
    place.refuse("report run", &["net.onnx", "otherwise", "TOML"]);
}

#[test]
fn presets_and_models_that_do_not_fit_are_refused() {
    let place = with_network();
    for (options, words) in [
        ("--model net.onnx --preset mnist-cppn", ["mnist-cppn draws grey", "imagenet"]),
        ("--preset imagenet-direct", ["imagenet-direct draws colour", "mnist"]),
        ("--colour hsv", ["--colour", "mnist-cppn draws grey"]),
        ("--crops ten", ["--crops ten", "28×28"]),
        ("--serve nowhere", ["--serve", "port"]),
        ("--model caffenet", ["caffenet", "mirage models pull caffenet"]),
    ] {
        place.refuse(&format!("evolve {options}"), &words);
    }
}
