//! Images of one network shown to others.

use prost::Message;
use reference::onnx::Attribute::Int;
use reference::onnx::{Batch, Builder};

use crate::program::Workplace;

/// A workplace with images that the int8 LeNet is certain of.
fn with_run() -> Workplace {
    let place = Workplace::new();
    place.succeed("evolve --generations 40 --children 100 --seed 3 --out run");
    place
}

#[test]
fn a_network_agrees_with_itself_and_nearly_with_its_twin() {
    let place = with_run();
    let result = place.json("transfer run --onto lenet,lenet-float,lenet-small --csv table.csv");
    let onto = |index: usize| result["runs"][0]["onto"][index].clone();
    let [itself, twin, other] = [0, 1, 2].map(onto);
    assert_eq!((&itself["images"], &itself["same_top"]), (&10.into(), &10.into()));
    assert_eq!(itself["own_mean_confidence"], itself["mean_confidence"]);
    for image in itself["judgements"].as_array().unwrap() {
        assert_eq!(image["own_confidence"], image["confidence"]);
        assert_eq!(image["own_top"], image["top"]);
    }
    // The float network that the int8 one was made from sees nearly the same.
    assert!(twin["same_top"].as_u64().unwrap() >= 9, "{twin}");
    let difference =
        twin["mean_confidence"].as_f64().unwrap() - twin["own_mean_confidence"].as_f64().unwrap();
    assert!(difference != 0.0 && difference.abs() < 0.1, "{twin}");
    assert!(other["mean_confidence"].as_f64() < twin["mean_confidence"].as_f64(), "{other}");

    let table = String::from_utf8(place.read("table.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 3 * 10, "{table}");
    assert!(
        table.starts_with("run,model,onto,class,label,own_top,own_confidence,top,confidence\n")
    );
    let row = format!("run,lenet,lenet,7,7,{}", itself["judgements"][7]["own_top"]);
    assert!(table.contains(&row), "{table}");
    let text = place.succeed("transfer run --onto lenet");
    assert!(text.contains("10 (100.0 %)"), "{text}");
}

#[test]
fn runs_on_one_network_are_one_row_of_the_matrix() {
    let place = with_run();
    place.succeed("evolve --generations 40 --children 100 --seed 4 --out again");
    place.succeed("evolve --model lenet-small --generations 20 --children 60 --out small");
    let result = place.json("transfer run again small --onto lenet,lenet-small");
    let matrix = result["matrix"].as_array().unwrap();
    let names: Vec<_> = matrix.iter().map(|entry| [&entry["own"], &entry["onto"]]).collect();
    let [large, small] = ["lenet", "lenet-small"];
    assert_eq!(names, [[large, large], [large, small], [small, large], [small, small]]);
    assert_eq!((&matrix[0]["runs"], &matrix[0]["images"]), (&2.into(), &20.into()));
    // A network agrees with itself.
    for entry in [&matrix[0], &matrix[3]] {
        assert_eq!(entry["same_top"], 1.0);
        assert_eq!(entry["own_mean_confidence"], entry["mean_confidence"]);
    }
    let mean = |key: &str| {
        let of = |run: usize| result["runs"][run]["onto"][1][key].as_f64().unwrap();
        f64::midpoint(of(0), of(1))
    };
    let share = matrix[1]["same_top"].as_f64().unwrap();
    assert!((share - mean("same_top") / 10.0).abs() < 1e-9);
    let confidence = matrix[1]["mean_confidence"].as_f64().unwrap();
    assert!((confidence - mean("mean_confidence")).abs() < 1e-9 && confidence < 1.0);
    let text = place.succeed("transfer run again small --onto lenet,lenet-small");
    assert!(text.contains("means over the runs on a network"), "{text}");
}

#[test]
fn networks_of_other_preprocessing_see_the_same_picture() {
    // Two networks that are the same but for what happens to a pixel on its way in: one
    // takes pixel/255, the other twice that less 1.5, which it undoes.
    let network = |factor: f32, bias: f32| {
        let mut builder = Builder::new(Batch::Symbolic, [1, 12, 12], 3);
        builder.floats("factor", &[], &[factor]);
        builder.floats("bias", &[], &[bias]);
        builder.node("Mul", "scaled", &["data", "factor"], &[]);
        builder.node("Add", "moved", &["scaled", "bias"], &[]);
        builder.node("Flatten", "flat", &["moved"], &[("axis", Int(1))]);
        builder.random("w", &[10, 144], 1.0);
        builder.floats("b", &[10], &[0.0; 10]);
        builder.node("Gemm", "logits", &["flat", "w", "b"], &[("transB", Int(1))]);
        builder.node("Softmax", "prob", &["logits"], &[("axis", Int(1))]);
        builder.finish("prob", 13).encode_to_vec()
    };
    let place = Workplace::new();
    place.write("plain.onnx", network(1.0, 0.0));
    place.write("plain.toml", "");
    place.write("moved.onnx", network(0.5, 0.75));
    place.write("moved.toml", "scale = 0.00784313725490196\nmean = 1.5");
    place.succeed("evolve --model plain.onnx --generations 10 --children 30 --out run");
    let result = place.json("transfer run --onto moved.onnx");
    let onto = &result["runs"][0]["onto"][0];
    assert_eq!((&onto["images"], &onto["same_top"]), (&10.into(), &10.into()), "{onto}");
    let of = |key: &str| onto[key].as_f64().unwrap();
    assert!((of("mean_confidence") - of("own_mean_confidence")).abs() < 1e-4, "{onto}");
}

#[test]
fn runs_and_networks_that_do_not_go_together_are_refused() {
    let place = with_run();
    place.copy("run", "unlike");
    let manifest = String::from_utf8(place.read("run/run.json")).unwrap();
    place.write("unlike/run.json", manifest.replace("\"lenet\"", "\"lenet-small\""));
    for (line, words) in [
        ("transfer nowhere --onto lenet", &["nowhere", "no run"][..]),
        ("transfer run --onto nothing", &["--onto", "nothing"]),
        ("transfer unlike --onto lenet", &["unlike", "model"]),
        ("transfer run --onto lenet --crops ten", &["--onto lenet", "ten crops"]),
        ("transfer run --onto lenet --csv no/table.csv", &["--csv no/table.csv"]),
        ("transfer run", &["--onto"]),
        ("transfer --onto lenet", &["RUN"]),
    ] {
        place.refuse(line, words);
    }
}
