//! A network with one class more, for the images of runs.

use mirage::image::Image;

use crate::program::Workplace;

/// A run against the built-in float LeNet, and a list of images of strokes: upright ones and
/// level ones, said to be ones and sevens.
fn with_images() -> Workplace {
    let place = Workplace::new();
    place.succeed("evolve --model lenet-float --generations 12 --children 60 --out run");
    place.succeed("evolve --model lenet-float --generations 12 --children 60 --seed 2 --out run2");
    let mut list = String::new();
    for number in 0..24 {
        let (at, is_upright) = (8 + number / 2, number % 2 == 0);
        let pixel = |n: usize| {
            let (y, x) = (n / 28, n % 28);
            let (along, across) = if is_upright { (y, x) } else { (x, y) };
            u8::from((4..24).contains(&along) && (at..at + 3).contains(&across)) * 255
        };
        let image =
            Image { width: 28, height: 28, channels: 1, pixels: (0..28 * 28).map(pixel).collect() };
        place.write(&format!("images/stroke {number}.png"), image.to_png().unwrap());
        list += &format!("stroke {number}.png {}\n", if is_upright { 1 } else { 7 });
    }
    place.write("images/list.txt", list + "\n");
    place
}

const HEAD: &str = "retrain head --model lenet-float --images images/list.txt --fooling run,run2";

#[test]
fn a_network_with_one_class_more_works_like_any_other() {
    let place = with_images();
    let told = place.json(&format!("{HEAD} --out new.onnx"));
    assert_eq!((&told["images"], &told["images_held_out"]), (&24.into(), &5.into()));
    assert_eq!(told["classes"], 11);
    let share = |key: &str| told[key].as_f64().unwrap();
    assert!(share("recognised_share") >= 0.5, "{told}");
    assert!(share("called_fooling_share") <= 0.2, "{told}");
    assert!(share("accuracy_after") <= share("accuracy_before"), "{told}");

    let names = String::from_utf8(place.read("new.labels.txt")).unwrap();
    assert_eq!(names.lines().collect::<Vec<_>>()[9..], ["9", "fooling"]);
    // Pictures are prepared as before: what is not called fooling is called what it was.
    let top = |model: &str, image: &str| {
        let mut command = place.command(&format!("classify --json --model {model}"));
        let output = command.arg(place.path(image)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(top("new.onnx", "run/champions/3.png").contains("fooling"));
    let run = place.json("evolve --model new.onnx --generations 3 --children 20 --out again");
    assert_eq!(run["classes"], 11);

    // The same again is the same file; and not by accident.
    place.refuse(&format!("{HEAD} --out new.onnx"), &["new.onnx exists", "--force"]);
    let again = place.json(&format!("{HEAD} --out new.onnx --force --threads 1"));
    assert_eq!(again["sha256"], told["sha256"]);
    let text = place.succeed(&format!("{HEAD} --out other.onnx"));
    assert!(text.contains("5 images held out"), "{text}");
}

#[test]
fn what_makes_no_head_is_refused() {
    let place = with_images();
    place.write("none.txt", "");
    place.write("bad.txt", "images/stroke 1.png ten\n");
    place.write("far.txt", "\nimages/stroke 1.png 10\n");
    place.write("gone.txt", "images/gone.png 1\n");
    let with = |from: &str, to: &str| HEAD.replace(from, to) + " --out new.onnx";
    for (line, words) in [
        (with("lenet-float", "lenet"), &["--model", "int8"][..]),
        (with("lenet-float", "nothing"), &["--model", "nothing"]),
        (with("images/list.txt", "none.txt"), &["--images", "0", "two"]),
        (with("images/list.txt", "no.txt"), &["--images no.txt"]),
        (with("images/list.txt", "bad.txt"), &["bad.txt, line 1", "ten", "below 10"]),
        (with("images/list.txt", "far.txt"), &["far.txt, line 2", "10"]),
        (with("images/list.txt", "gone.txt"), &["--images", "gone.png"]),
        (with("run,run2", "run,./run"), &["--fooling ./run", "twice"]),
        (with("run,run2", "nowhere"), &["--fooling", "nowhere", "no run"]),
        (format!("{HEAD} --held-out 1 --out new.onnx"), &["--held-out"]),
        (format!("{HEAD} --out new.q8"), &["--out new.q8", ".onnx"]),
        (format!("{HEAD} --out no/new.onnx"), &["--out", "no such folder"]),
    ] {
        place.refuse(&line, words);
    }
    assert!(!place.path("new.onnx").exists());
}
