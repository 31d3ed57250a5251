//! Tables of text for a terminal, whose cells are wrapped at words.

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// What it is called.
    pub(super) name: &'static str,
    /// Its width in letters; a longer word is cut in two.
    pub(super) width: usize,
    /// Whether its cells end on one line, as numbers do, instead of beginning on it.
    pub(super) right: bool,
}

/// Between two columns.
const GAP: &str = "  ";

/// The table: the names of the columns, a line, and the rows, each of as many cells, with an
/// empty line between rows of several lines.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let names: Vec<String> = columns.iter().map(|column| column.name.to_owned()).collect();
    let rules = columns.iter().map(|column| "-".repeat(column.width)).collect::<Vec<_>>();
    let mut text = row(columns, &names) + &rules.join(GAP) + "\n";
    for (index, cells) in rows.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text += &row(columns, cells);
    }
    text
}

fn row(columns: &[Column], cells: &[String]) -> String {
    let wrapped: Vec<Vec<String>> =
        columns.iter().zip(cells).map(|(column, cell)| wrap(cell, column.width)).collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    let mut text = String::new();
    for line in 0..height {
        let cell = |(column, lines): (&Column, &Vec<String>)| {
            let (width, part) = (column.width, lines.get(line).map_or("", String::as_str));
            if column.right { format!("{part:>width$}") } else { format!("{part:width$}") }
        };
        let cells: Vec<String> = columns.iter().zip(&wrapped).map(cell).collect();
        text += cells.join(GAP).trim_end();
        text.push('\n');
    }
    text
}

/// Lines of at most `width` letters; at least one. A number and its sign stay together.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let text = text.replace(" %", "\u{a0}%").replace("≥ ", "≥\u{a0}");
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().expect("there is a first line");
            let used = line.chars().count();
            let space = usize::from(used > 0);
            if used + space + word.len() <= width {
                line.extend(std::iter::repeat_n(' ', space));
                line.extend(&word);
                break;
            }
            if used > 0 {
                lines.push(String::new());
                continue;
            }
            line.extend(word.drain(..width.max(1)));
            lines.push(String::new());
        }
    }
    lines.into_iter().map(|line| line.replace('\u{a0}', " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_wrapped_at_words() {
        assert_eq!(wrap("the median is 99.99 %", 10), ["the median", "is 99.99 %"]);
        assert_eq!(wrap("a classification", 6), ["a", "classi", "ficati", "on"]);
        assert_eq!(wrap("at ≥ 99 % of", 6), ["at", "≥ 99 %", "of"]);
        assert_eq!(wrap("", 6), [""]);
        assert_eq!(wrap("≥≥≥ ≥", 5), ["≥≥≥ ≥"]);
    }

    #[test]
    fn columns_stand_beneath_their_names() {
        let column = |name, width, right| Column { name, width, right };
        let columns = [column("what", 6, false), column("n", 3, true)];
        let rows =
            [vec!["one two".to_owned(), "12".to_owned()], vec!["x".to_owned(), "3".to_owned()]];
        assert_eq!(
            table(&columns, &rows),
            "what      n\n------  ---\none      12\ntwo\n\nx         3\n"
        );
    }
}
