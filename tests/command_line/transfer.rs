//! Images of one network shown to others.

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
