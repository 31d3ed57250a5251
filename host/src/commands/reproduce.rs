//! `mirage reproduce`: the paper's experiments, measured beside what it reports.

use std::io;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use thiserror::Error;
use toml::{Table, Value};

use super::columns::{Column, table};
use super::{Answer, CropsName, OutputError, default_threads, print, progress};
use crate::experiment::plan::MAX_CHILDREN;
use crate::interrupt::Interrupt;
use crate::model::Crops;
use crate::reproduce::context::{Context, Told};
use crate::reproduce::outcome::{Results, Row};
use crate::reproduce::table::{self as figures, Figure, Overrides, TableError};
use crate::reproduce::{Order, ReproduceError, reproduce};
use crate::words::{counted, quoted};

/// Most seeds of an experiment.
const MAX_SEEDS: i64 = 1000;

/// Arguments of `mirage reproduce`.
#[derive(Args, Debug)]
pub struct ReproduceArgs {
    /// Figures of the paper by their names in the list, `all`, or `list` [default: list]
    #[arg(value_name = "FIGURE")]
    figures: Vec<String>,
    /// A quick look: fewer seeds, less of what takes long
    #[arg(long)]
    quick: bool,
    /// How many seeds: 1, 2, 3 and so on [default: the figure's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_SEEDS))]
    seeds: Option<u32>,
    /// Generations of each run [default: the figure's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generations: Option<u32>,
    /// Children per generation [default: the figure's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CHILDREN)))]
    children: Option<u32>,
    /// What to fool instead of the figure's networks: a name of `mirage models list`, or the path of an int8 model or ONNX network
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    /// What of a colour picture the network looks at; center is ten times as fast [default: the figure's]
    #[arg(long, value_enum)]
    crops: Option<CropsName>,
    /// Worker threads; they change the speed, not the result [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The folder with MNIST, for experiments that need digits [default: where `mirage data pull` puts it]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The folder of runs and results; what is done in it already is used again
    #[arg(long, value_name = "DIR", default_value = "reproduction")]
    out: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why `mirage reproduce` failed.
#[derive(Debug, Error)]
pub enum ReproduceCommandError {
    /// A figure is not known, or has no such setting.
    #[error("{0}")]
    Table(#[from] TableError),
    /// A model for all figures.
    #[error("--model: no network suits all figures; name those to reproduce with it")]
    ModelForAll,
    /// `list` or `all` beside other figures.
    #[error("{0}: it stands for itself; leave the other figures out")]
    Alone(String),
    /// The system does not say when to stop.
    #[error("cannot listen for Ctrl-C: {0}")]
    Signals(io::Error),
    /// An experiment could not be done.
    #[error("{0}")]
    Reproduce(#[from] ReproduceError),
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

/// Runs `mirage reproduce`.
///
/// # Errors
/// [`ReproduceCommandError`].
pub fn run(args: &ReproduceArgs) -> Result<Answer, ReproduceCommandError> {
    let names: Vec<&str> = args.figures.iter().map(String::as_str).collect();
    let (figures, all): (Vec<&Figure>, bool) = match names[..] {
        [] | ["list"] => {
            list(args.json)?;
            return Ok(Answer::Yes);
        }
        ["all"] => (figures::figures().iter().collect(), true),
        _ => (named(&names)?, false),
    };
    if all && args.model.is_some() {
        return Err(ReproduceCommandError::ModelForAll);
    }
    let order = Order {
        figures,
        all,
        quick: args.quick,
        overrides: args.overrides(),
        options: args.options(),
    };
    let interrupt = Interrupt::by_signals().map_err(ReproduceCommandError::Signals)?;
    let line = progress::line();
    let context = Context {
        out: &args.out,
        data: args.data.as_deref(),
        threads: args.threads.map_or_else(|| default_threads().get(), usize::from),
        interrupt,
        tell: &|label, told| match told {
            Told::Evolution(news) => progress::show_of(&line, label, news),
            Told::Ascent(now) => {
                line.set_message(format!("{label}: {}", progress::ascent_in_words(now)));
            }
            Told::Retraining(now) => {
                line.set_message(format!("{label}: {}", progress::retraining_in_words(now)));
            }
            Told::Work(what) => line.set_message(format!("{label}: {what}")),
        },
    };
    let results = reproduce(&order, &context);
    line.finish_and_clear();
    let results = match results {
        Err(ReproduceError::Interrupted) => {
            let out = quoted(&args.out.display().to_string());
            complain!(
                "stopped; what is done is kept: go on with `{} --out {out}`",
                order.whole_command()
            );
            return Ok(Answer::Interrupted);
        }
        results => results?,
    };
    if args.json {
        print(&format!("{}\n", serde_json::json!(results)))?;
    } else {
        let page = args.out.join("index.html");
        print(&format!("{}\nlook at {}\n", in_words(&results), page.display()))?;
    }
    Ok(if results.hold() { Answer::Yes } else { Answer::No })
}

/// The figures of these names, each once, in the order in which they were named.
fn named(names: &[&str]) -> Result<Vec<&'static Figure>, ReproduceCommandError> {
    let mut found: Vec<&Figure> = Vec::new();
    for name in names {
        if ["all", "list"].contains(name) {
            return Err(ReproduceCommandError::Alone((*name).to_owned()));
        }
        let figure = Figure::named(name)?;
        if found.iter().all(|known| known.name != figure.name) {
            found.push(figure);
        }
    }
    Ok(found)
}

impl ReproduceArgs {
    fn crops(&self) -> Option<&'static str> {
        self.crops.map(|crops| Crops::from(crops).name())
    }

    /// What was asked for instead of the table's settings.
    fn overrides(&self) -> Overrides {
        let mut values = Table::new();
        for (key, value) in self.numbers() {
            values.extend(value.map(|value| (key.to_owned(), Value::from(i64::from(value)))));
        }
        let crops = self.crops();
        values.extend(crops.map(|crops| ("crops".to_owned(), Value::from(crops))));
        let model = self.model.as_ref();
        values.extend(model.map(|model| ("models".to_owned(), Value::from(vec![model.clone()]))));
        Overrides { values }
    }

    fn numbers(&self) -> [(&'static str, Option<u32>); 3] {
        [("seeds", self.seeds), ("generations", self.generations), ("children", self.children)]
    }

    /// The options that results depend on, as they are typed.
    fn options(&self) -> String {
        let mut options = String::new();
        if self.quick {
            options += " --quick";
        }
        for (name, value) in self.numbers() {
            if let Some(value) = value {
                options += &format!(" --{name} {value}");
            }
        }
        if let Some(model) = &self.model {
            options += &format!(" --model {}", quoted(model));
        }
        if let Some(crops) = self.crops() {
            options += &format!(" --crops {crops}");
        }
        if let Some(data) = &self.data {
            options += &format!(" --data {}", quoted(&data.display().to_string()));
        }
        options
    }
}

/// What is told of a figure in the list.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    title: &'static str,
    source: &'static str,
    paper: &'static str,
    experiment: &'static Table,
    quick: &'static Table,
}

fn list(json: bool) -> Result<(), OutputError> {
    let figures = figures::figures();
    if json {
        let listed = |figure: &'static Figure| Listed {
            name: &figure.name,
            title: &figure.title,
            source: &figure.source,
            paper: &figure.paper,
            experiment: &figure.experiment,
            quick: &figure.quick,
        };
        let listed: Vec<Listed> = figures.iter().map(listed).collect();
        return print(&format!("{}\n", serde_json::json!({ "figures": listed })));
    }
    let columns = [
        Column { name: "figure", width: 18, right: false },
        Column { name: "what", width: 24, right: false },
        Column { name: "the paper reports", width: 34, right: false },
    ];
    let row =
        |figure: &Figure| vec![figure.name.clone(), figure.title.clone(), figure.brief.clone()];
    let rows: Vec<Vec<String>> = figures.iter().map(row).collect();
    print(&format!("{}\n`mirage reproduce FIGURE… --quick`, or `all`\n", table(&columns, &rows)))
}

/// The table of results for a person, in 80 columns.
fn in_words(results: &Results) -> String {
    let column = |name, width, right| Column { name, width, right };
    let columns = [
        column("experiment", 18, false),
        column("paper", 12, false),
        column("ours", 18, false),
        column("seeds", 5, true),
        column("images", 7, true),
        column("verdict", 10, false),
    ];
    let rows: Vec<Vec<String>> = results.experiments.iter().map(cells).collect();
    format!(
        "{}\n{}{}; medians over seeds, unless a row says otherwise\n",
        table(&columns, &rows),
        reasons(&results.experiments),
        counted(results.experiments.len() as u64, "result"),
    )
}

/// Why verdicts are what they are, each reason once, with the figures that it is of.
fn reasons(rows: &[Row]) -> String {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for row in rows.iter().filter(|row| row.reason.is_some()) {
        let line = row.verdict_in_words();
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, names)) if names.contains(&row.name.as_str()) => {}
            Some((_, names)) => names.push(&row.name),
            None => lines.push((line, vec![&row.name])),
        }
    }
    let line = |(line, names): &(String, Vec<&str>)| format!("{}: {line}\n", names.join(", "));
    lines.iter().map(line).collect()
}

fn cells(row: &Row) -> Vec<String> {
    vec![
        format!("{} {}", row.name, row.subject),
        row.brief.clone(),
        if row.ours.is_empty() { "-".to_owned() } else { row.ours.clone() },
        row.seeds.len().to_string(),
        amount(row.evaluations),
        row.verdict.in_words().to_owned(),
    ]
}

/// A large number in seven letters.
fn amount(count: u64) -> String {
    match count {
        0..1_000_000 => count.to_string(),
        1_000_000..1_000_000_000 => format!("{:.1} M", count as f64 / 1e6),
        _ => format!("{:.1} G", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        let texts = [0, 999_999, 1_200_000, 999_949_999, 4_000_000_000].map(amount);
        assert_eq!(texts, ["0", "999999", "1.2 M", "999.9 M", "4.0 G"]);
    }

    #[test]
    fn figures_are_named_once_and_alone() {
        let names = |list: &[&str]| named(list).map(|figures| figures.len());
        assert_eq!(names(&["mnist-cppn", "mnist-direct", "mnist-cppn"]).unwrap(), 2);
        assert!(names(&["mnist-cppn", "all"]).unwrap_err().to_string().contains("all"));
        assert!(names(&["mnist"]).unwrap_err().to_string().contains("mnist-cppn"));
    }
}
