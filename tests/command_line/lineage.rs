//! The tree of a run's images.

use crate::program::Workplace;

#[test]
fn the_tree_of_a_run_is_drawn_and_told() {
    let place = Workplace::new();
    place.succeed("evolve --generations 30 --children 60 --seed 2 --out run");
    let told = place.json("lineage run");
    let families = told["families"].as_array().unwrap();
    let held = families.iter().flat_map(|family| family["classes"].as_array().unwrap());
    let mut held: Vec<u64> = held.map(|class| class.as_u64().unwrap()).collect();
    held.sort_unstable();
    assert_eq!(held, (0..10).collect::<Vec<_>>(), "every class has one founder");
    assert_eq!(told["classes"], 10);
    assert!(told["nearness"].is_null(), "digits have no order");

    assert!(told["nearness_in_confusion"].is_null(), "nobody tells of confusion");

    let newick = String::from_utf8(place.read("run/tree.nwk")).unwrap();
    assert_eq!(newick.lines().count(), families.len());
    assert!((0..10).all(|class| newick.contains(&format!("'{class}'"))), "{newick}");
    let lines = newick.lines();
    for line in lines {
        assert_eq!(line.matches('(').count(), line.matches(')').count(), "{line}");
        assert!(line.ends_with(";"), "{line}");
    }
    let tree = String::from_utf8(place.read("run/tree.svg")).unwrap();
    assert_eq!(tree.matches("<image").count() as u64, told["images"].as_u64().unwrap());
    let text = place.succeed("lineage run");
    assert!(text.contains("look at run/tree.svg"), "{text}");
    let report = String::from_utf8(place.read("run/report.html")).unwrap();
    assert!(report.contains("src=\"data:image/svg+xml;base64,"), "the report has the tree, too");
}

#[test]
fn a_run_that_was_stopped_has_a_tree_too() {
    let place = Workplace::new();
    place.succeed("evolve --generations 30 --children 60 --seed 2 --out whole");
    place.succeed("evolve --generations 12 --children 60 --seed 2 --out run");
    // As if the run were to go on: its last individuals are in the checkpoint alone.
    let manifest = String::from_utf8(place.read("run/run.json")).unwrap();
    place.write("run/run.json", manifest.replace("\"done\"", "\"running\""));
    assert_eq!(place.json("lineage run")["classes"], 10);
}

#[test]
fn another_run_tells_whether_kin_are_confused() {
    let place = Workplace::new();
    for seed in [2, 3] {
        place.succeed(&format!("evolve --generations 30 --children 60 --seed {seed} --out {seed}"));
    }
    let told = place.json("lineage 2 --confusion 3");
    let nearness = &told["nearness_in_confusion"];
    let of = |key: &str| nearness[key].as_f64().unwrap();
    assert!(of("distance") > 0.0 && of("by_chance") > 0.0 && (0.001..=1.0).contains(&of("p")));
    let text = place.succeed("lineage 2 --confusion 3");
    assert!(text.contains("in the classes of next of kin"), "{text}");
    place.succeed("evolve --model lenet-small --generations 3 --children 20 --out small");
    place.refuse("lineage 2 --confusion nowhere", &["--confusion", "nowhere"]);
    place.refuse("lineage 2 --confusion small", &["--confusion small", "lenet-small"]);
}

#[test]
fn what_has_no_tree_is_refused() {
    let place = Workplace::new();
    place.succeed("evolve --generations 3 --children 20 --seed 4 --out run");
    place.refuse("lineage nowhere", &["nowhere", "no run"]);
    let table = String::from_utf8(place.read("run/lineage.csv")).unwrap();
    place.write("run/lineage.csv", &table[..table.len() / 2]);
    place.refuse("lineage run", &["lineage.csv", "bytes"]);
    place.write("run/lineage.csv", table.replacen("none", "?", 1));
    place.refuse("lineage run", &["lineage.csv", "line 2"]);
}

#[test]
fn a_damaged_checkpoint_is_told() {
    let place = Workplace::new();
    place.succeed("evolve --generations 30 --children 20 --out run");
    place.write("run/checkpoint.bin", "");
    for line in ["lineage run", "transfer run --onto lenet-float", "ablate run"] {
        let output = place.command(line).output().unwrap();
        let warning = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {warning}");
        for word in ["20 generations", "`mirage evolve --resume --out run`"] {
            assert!(warning.contains(word), "{line}: {warning}");
        }
    }
    place.command("evolve --resume --out run").output().unwrap();
    let output = place.command("lineage run").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
