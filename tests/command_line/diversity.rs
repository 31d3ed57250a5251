//! The images of several runs compared.

use crate::program::Workplace;

/// A workplace with two runs on the int8 LeNet.
fn with_runs() -> Workplace {
    let place = Workplace::new();
    for seed in [1, 2] {
        place.succeed(&format!(
            "evolve --generations 20 --children 60 --seed {seed} --out run{seed}"
        ));
    }
    place
}

#[test]
fn a_run_is_like_itself_and_unlike_others() {
    let place = with_runs();
    let same = place.json("diversity run1 run1 --out same");
    for space in same["spaces"].as_array().unwrap() {
        assert_eq!((&space["between_runs"], &space["ratio"]), (&0.0.into(), &0.0.into()));
    }
    let others = place.json("diversity run1 run2");
    assert_eq!((&others["runs"], &others["classes"]), (&2.into(), &10.into()));
    assert_eq!(others["seeds"], serde_json::json!([1, 2]));
    let pixels = &others["spaces"][0];
    assert_eq!(pixels["space"], "pixels");
    let ratio = pixels["ratio"].as_f64().unwrap();
    let end = |index: usize| pixels["interval"][index].as_f64().unwrap();
    assert!(0.1 < end(0) && end(0) < ratio && ratio < end(1), "{pixels}");
    let table = String::from_utf8(place.read("run1/diversity.csv")).unwrap();
    assert!(table.starts_with("space,class,label,between_runs,between_classes\npixels,0,0,"));
    assert_eq!(table.lines().count(), 1 + 2 * 10);
    let page = String::from_utf8(place.read("run1/diversity.html")).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 20);
    assert!(place.path("same/diversity.html").exists());
    let text = place.succeed("diversity run1 run1");
    assert!(text.contains("the runs give the same images"), "{text}");
}

#[test]
fn runs_that_cannot_be_compared_are_refused() {
    let place = with_runs();
    place.succeed("evolve --model lenet-small --generations 5 --children 20 --out small");
    place.write("file", "precious");
    for (line, words) in [
        ("diversity run1", &["two or more"][..]),
        ("diversity", &["RUN"]),
        ("diversity run1 nowhere", &["nowhere", "no run"]),
        ("diversity run1 run2 small", &["run 3", "lenet-small", "one network"]),
        ("diversity run1 run2 --out file", &["file", "--out"]),
    ] {
        place.refuse(line, words);
    }
}
