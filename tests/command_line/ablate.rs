//! Images without the copies of what is repeated in them.

use crate::program::Workplace;

/// A workplace with images that the int8 LeNet is certain of.
fn with_run() -> Workplace {
    let place = Workplace::new();
    place.succeed("evolve --generations 60 --children 100 --seed 2 --out run");
    place
}

#[test]
fn copies_are_removed_and_told() {
    let place = with_run();
    let result = place.json("ablate run --draws 3 --seed 4");
    assert_eq!((&result["images"], &result["draws"]), (&10.into(), &3.into()), "{result}");
    let ablated = result["ablated"].as_array().unwrap();
    assert_eq!(result["repeated"], ablated.len());
    assert!(!ablated.is_empty(), "an image with stripes, of seed 2");
    let table = String::from_utf8(place.read("run/ablation.csv")).unwrap();
    assert!(table.starts_with("class,label,copies,left,confidence,control\n"), "{table}");
    let levels = ablated.iter().flat_map(|image| image["levels"].as_array().unwrap());
    assert_eq!(table.lines().count(), 1 + levels.count());
    for image in ablated {
        let (copies, levels) = (image["copies"].as_u64().unwrap(), &image["levels"]);
        assert!(copies >= 2 && levels.as_array().unwrap().len() as u64 == copies + 1, "{image}");
        assert_eq!(
            (&levels[0]["left"], &levels[copies as usize]["left"]),
            (&copies.into(), &0.into())
        );
        // What the run says of the whole image.
        assert!(levels[0]["confidence"].as_f64().unwrap() >= 0.9);
    }
    let page = String::from_utf8(place.read("run/ablation.html")).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 3 * ablated.len());
    // Again gives the same, and another seed something else.
    assert_eq!(place.json("ablate run --draws 3 --seed 4"), result);
    assert_eq!(String::from_utf8(place.read("run/ablation.html")).unwrap(), page);
    assert_ne!(place.json("ablate run --draws 3 --seed 5")["ablated"], result["ablated"]);
    let text = place.succeed("ablate run");
    assert!(text.contains("one copy left") && text.contains("look at run/ablation.html"), "{text}");
}

#[test]
fn what_cannot_be_ablated_is_refused() {
    let place = with_run();
    place.succeed("evolve --model lenet-small --generations 1 --children 2 --out unsure");
    place.copy("run", "unlike");
    let manifest = String::from_utf8(place.read("run/run.json")).unwrap();
    place.write("unlike/run.json", manifest.replace("\"lenet\"", "\"lenet-small\""));
    for (line, words) in [
        ("ablate nowhere", &["nowhere", "no run"][..]),
        ("ablate unlike", &["unlike", "model"]),
        ("ablate run --model nothing", &["--model", "nothing"]),
        ("ablate unsure --least 1", &["--least 1", "unsure"]),
    ] {
        place.refuse(line, words);
    }
    for line in ["ablate run --least 2", "ablate run --least x", "ablate run --draws 0", "ablate"] {
        let output = place.command(line).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {output:?}");
    }
    // A page cannot be where a folder is; the run is as it was.
    std::fs::create_dir(place.path("run/ablation.csv")).unwrap();
    place.refuse("ablate run", &["ablation.csv"]);
}
