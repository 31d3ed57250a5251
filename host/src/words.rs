//! Small pieces of text: counts as people say them, words as shells read them.

/// `1 generation`, `2 generations`.
pub(crate) fn counted(count: impl Into<u64>, noun: &str) -> String {
    let count = count.into();
    format!("{count} {}", plural(count, noun))
}

/// A noun as it follows a count, with an s, es, or ies, unless that is 1.
pub(crate) fn plural(count: impl Into<u64>, noun: &str) -> String {
    match (count.into(), noun.strip_suffix('y')) {
        (1, _) => noun.to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        _ if noun.ends_with('s') => format!("{noun}es"),
        _ => format!("{noun}s"),
    }
}

/// `text` as one word of a POSIX shell.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,+=@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let texts = [0_u32, 1, 2].map(|count| counted(count, "image"));
        assert_eq!(texts, ["0 images", "1 image", "2 images"]);
        assert_eq!(counted(2_u32, "class"), "2 classes");
        assert_eq!(counted(2_u32, "copy"), "2 copies");
    }

    #[test]
    fn a_shell_reads_one_word() {
        assert_eq!(quoted("models/a b's.onnx"), r"'models/a b'\''s.onnx'");
        assert_eq!(quoted("lenet"), "lenet");
        assert_eq!(quoted(""), "''");
    }
}
