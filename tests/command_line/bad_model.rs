//! Models and images that are none.

use std::path::Path;

use prost::Message;
use reference::onnx::{Attribute, Batch, Builder};

use crate::program::{LENET, Workplace, flip, seal};

/// The LeNet blob with some bytes replaced and the checksum made right.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut blob = LENET.to_vec();
    blob[at..at + bytes.len()].copy_from_slice(bytes);
    seal(&mut blob);
    blob
}

#[test]
fn damaged_models_are_refused() {
    let place = Workplace::new();
    let cut = LENET[..LENET.len() - 100].to_vec();
    let longer = [LENET, &[0]].concat();
    let most = u32::MAX.to_le_bytes();
    let nan = f32::NAN.to_le_bytes();
    // Offsets: see `mirage_core::nn::blob`; the first layer begins at 48.
    for (name, bytes, word) in [
        ("cut", cut, "bytes where"),
        ("header", LENET[..20].to_vec(), "mirage quantize"),
        ("magic", LENET[..8].to_vec(), "mirage quantize"),
        ("longer", longer, "bytes where"),
        ("flipped", flip(LENET.to_vec()), "checksum"),
        ("version", changed(8, &7u16.to_le_bytes()), "version 7"),
        ("no-layers", changed(10, &[0, 0]), "mirage quantize"),
        ("many-layers", changed(10, &[255, 255]), "mirage quantize"),
        ("height", changed(16, &most), "out of range"),
        ("no-width", changed(20, &[0; 4]), "out of range"),
        ("channels", changed(24, &most), "out of range"),
        ("scale", changed(28, &nan), "scale"),
        ("kind", changed(48, &[9]), "layer 0"),
        ("window", changed(48 + 4, &[255; 4]), "layer 0"),
        ("stride", changed(48 + 8, &[0; 4]), "layer 0"),
        ("filters", changed(48 + 12, &most), "layer 0"),
    ] {
        place.write(name, bytes);
        place.refuse(&format!("classify --model {name} x.png"), &["--model", name, word]);
        place.refuse(&format!("evolve --model {name} --out run"), &["--model", name, word]);
        assert!(!place.path("run").exists(), "{name}: no folder for a run that cannot begin");
    }
}

#[test]
fn what_is_no_model_is_refused() {
    let place = Workplace::new();
    place.write("empty", "");
    place.write("text", "This is not a network.\n".repeat(1000));
    place.write("folder/file", "");
    place.write("header.onnx", b"\x08\x07\x3a\x00");
    place.write("random.onnx", (0..5000u32).map(|n| (n * n * 7 / 8) as u8).collect::<Vec<_>>());
    for name in ["empty", "text", "folder", "missing", "header.onnx", "random.onnx"] {
        place.refuse(&format!("classify --model {name} x.png"), &["--model", name]);
        place.refuse(&format!("evolve --model {name} --out run"), &["--model", name]);
        place.refuse(&format!("quantize {name} --out o"), &[name]);
    }
    place.refuse("evolve --model lenet_float", &["lenet_float", "lenet-float"]);
    assert!(!place.path("run").exists() && !place.path("o").exists());
}

#[test]
fn damaged_onnx_files_never_panic() {
    let network = include_bytes!("../../host/models/lenet-small.onnx");
    let place = Workplace::new();
    place.write("28.png", grey_png(28, 28));
    // Structure lies at both ends of the file, weights between.
    let ends = (0..24).map(|n| n * 13).chain((1..24).map(|n| network.len() - n * 29));
    for at in ends {
        let mut bytes = network.to_vec();
        bytes[at] ^= 1 << (at % 7);
        place.write("m.onnx", bytes);
        let output = place.command("classify --model m.onnx 28.png").output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => assert!(error.is_empty(), "byte {at}: {error}"),
            _ => crate::program::assert_refused(&output, &format!("byte {at}"), &["m.onnx"]),
        }
    }
}

#[test]
fn files_without_an_end_are_refused() {
    if Path::new("/dev/zero").exists() {
        // Within the address space of a small machine.
        let place = Workplace::new();
        for line in ["classify --model /dev/zero x.png", "quantize /dev/zero --out o"] {
            let script = format!("ulimit -v 8000000; exec \"$MIRAGE\" {line}");
            let words = ["/dev/zero", "another file"];
            place.refuse_command(&mut place.shell(&script), &script, &words);
        }
    }
}

fn grey_png(width: usize, height: usize) -> Vec<u8> {
    use mirage::image::Image;
    Image { width, height, channels: 1, pixels: vec![9; width * height] }.to_png().unwrap()
}

#[test]
fn images_that_cannot_be_classified_are_refused() {
    let place = Workplace::new();
    let good = grey_png(28, 28);
    place.write("good.png", &good);
    place.write("large.png", grey_png(9000, 1));
    let frame = b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0";
    let scan = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0\0\0\xff\xd9";
    place.write("large.jpg", [frame.as_slice(), scan].concat());
    place.write("text.png", "This is not a picture.\n");
    place.write("cut.png", &good[..good.len() - 20]);
    place.write("flipped.png", flip(good));
    place.write("empty.png", "");
    place.write("photo.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0");
    place.write("folder/file", "");
    for (name, word) in [
        ("large.png", "9000 × 1"),
        ("large.jpg", "65535 × 65535"),
        ("text.png", "not a valid PNG or JPEG"),
        ("cut.png", "not a valid PNG"),
        ("flipped.png", "not a valid PNG"),
        ("empty.png", "not a valid PNG"),
        ("photo.jpg", "not a valid JPEG"),
        ("folder", "cannot read"),
        ("missing.png", "cannot read"),
    ] {
        // Nothing is printed of the good one either.
        place.refuse(&format!("classify good.png {name}"), &[name, word]);
    }
    assert!(place.succeed("classify good.png").contains("good.png\n"));
}

/// A network of 2 × 3 grey pixels whose outputs, one per pixel, pass `operators`, each with
/// two inputs of the same.
fn onnx(operators: &[&str]) -> Vec<u8> {
    let mut builder = Builder::new(Batch::Symbolic, [1, 2, 3], 7);
    builder.node("Flatten", "flat", &["data"], &[("axis", Attribute::Int(1))]);
    let mut last = "flat";
    for operator in operators {
        builder.node(operator, operator, &[last, last], &[]);
        last = operator;
    }
    builder.finish(last, 13).encode_to_vec()
}

#[test]
fn descriptions_that_do_not_fit_are_refused() {
    let place = Workplace::new();
    place.write("net.onnx", onnx(&["Add"]));
    place.write("x.png", grey_png(2, 3));
    let line = "classify --model net.onnx x.png";
    place.refuse(line, &["net.onnx", "write net.toml", "order = \"BGR\""]);
    place.write("five.txt", "a\nb\nc\nd\ne\n");
    place.write("mean.npy", "no array");
    for (toml, words) in [
        ("scale = ", ["net.toml, line 1", "scale ="]),
        ("\nsize = 3", ["net.toml, line 2", "unknown field `size`"]),
        ("picture = [1, 3]", ["net.toml", "at least the network's [2, 3]"]),
        ("mean = [1, 2, 3]", ["net.toml", "the network has 1 channels"]),
        ("std = 0", ["net.toml", "positive"]),
        ("mean_image = \"mean.npy\"", ["net.toml", "mean.npy"]),
        ("mean_image = \"none.npy\"", ["net.toml", "none.npy"]),
        ("labels = \"none.txt\"", ["none.txt", "one line per class"]),
        ("labels = \"five.txt\"", ["five.txt: 5 labels", "6 classes"]),
        ("groups.all = \"0-6\"", ["net.toml", "the last class is 5"]),
    ] {
        place.write("net.toml", toml);
        place.refuse(line, &words);
    }
    place.write("net.toml", "");
    assert!(place.succeed(line).contains("x.png\n"));
    place.refuse(&format!("{line} --crops ten"), &["net.onnx", "--crops center"]);
    place.write("net.toml", "picture = [4, 4]\nlabels = \"six.txt\"");
    place.write("six.txt", "n00000001 first\nb\nc\nd\ne\nf\n");
    assert!(place.succeed(&format!("{line} --crops ten")).contains("0  first\n"));
}

#[test]
fn networks_that_cannot_classify_are_refused() {
    let place = Workplace::new();
    place.write("x.png", grey_png(2, 3));
    for (operator, words) in
        [("Nonsense", ["net.onnx", "Nonsense"]), ("ReduceSum", ["net.onnx", "ONNX classifier"])]
    {
        place.write("net.onnx", onnx(&[operator]));
        place.write("net.toml", "");
        place.refuse("classify --model net.onnx x.png", &words);
    }
    let good = onnx(&["Add"]);
    for length in [0, 1, good.len() / 2, good.len() - 1] {
        place.write("net.onnx", &good[..length]);
        place.refuse("classify --model net.onnx x.png", &["net.onnx"]);
    }
    place.write("net.onnx", onnx(&["Sub", "Div"]));
    place.refuse("classify --model net.onnx x.png", &["x.png", "net.onnx", "NaN"]);
}
