//! Who descends from whom: how many lines the images of a run come from, and whether next of
//! kin are classes that are near to each other.
//!
//! Section “Evolving regular images to match ImageNet” of the paper.

use serde::Deserialize;

use super::ReproduceError;
use super::bootstrap;
use super::context::{Context, RUNS, Series};
use super::outcome::{Finding, Outcome};
use super::table::Figure;
use crate::experiment::folder::Folder;
use crate::experiment::phylogeny::{Nearness, Phylogeny};
use crate::experiment::record::{Champion, RunRecord};
use crate::experiment::run;
use crate::model::Model;
use crate::report;
use crate::report::exhibit::Exhibit;

/// The settings.
#[derive(Debug, Deserialize)]
pub struct Lineage {
    /// The preset of the runs.
    preset: String,
    #[serde(flatten)]
    series: Series,
}

/// What is kept of a run.
struct Tree {
    /// Individuals that hold a class.
    images: f32,
    /// Individuals that are no one's child, of which they descend.
    founders: f32,
    /// The share of the classes whose images have the founder of most classes.
    largest_family: f32,
    /// Next of kin of every class.
    kin: Vec<Vec<usize>>,
    /// The elites, without their pictures.
    elites: Vec<Champion>,
}

impl Lineage {
    pub(super) fn run(
        &self,
        figure: &Figure,
        context: &Context,
    ) -> Result<Outcome, ReproduceError> {
        self.series.each(context, |model| self.against(figure, model, context))
    }

    fn against(
        &self,
        figure: &Figure,
        model: &Model,
        context: &Context,
    ) -> Result<Outcome, ReproduceError> {
        let mut finding = Finding {
            subject: model.name().to_owned(),
            model: model.name().to_owned(),
            model_sha256: model.sha256().to_owned(),
            ..Finding::default()
        };
        let (mut trees, mut rows) = (Vec::new(), Vec::new());
        for plan in self.series.plans(&self.preset, model)? {
            let (name, record) = context.evolve(&plan, model, &figure.name)?;
            let folder = Folder::new(context.path(&name));
            let (_, individuals) = run::record_with_lineage(model, &folder, context.threads)?;
            let phylogeny = Phylogeny::of_elites(&individuals, &record.champions, model.classes());
            report::tree::write(&record, &phylogeny, folder.path())?;
            let tree = Tree::of(&record, &phylogeny);
            let family = tree.largest_family * model.classes() as f32;
            let order = Nearness::in_order(&tree.kin).map_or_else(
                || "–".to_owned(),
                |order| format!("{:.0}, {:.0} (p = {})", order.distance, order.by_chance, order.p),
            );
            rows.push(vec![
                format!("seed {}", plan.seed),
                individuals.len().to_string(),
                tree.images.to_string(),
                tree.founders.to_string(),
                format!("{family:.0} of {}", model.classes()),
                order,
            ]);
            trees.push(tree);
            finding.evolved(name, &record);
        }
        measure(&mut finding, &trees);
        let head = [
            "run",
            "ever held a class",
            "images today",
            "founders",
            "largest family",
            "kin, chance",
        ];
        let table = Exhibit::Table {
            caption: format!(
                "How many held a class, how many different images hold one in the end, and from how many founders they descend; where classes have an order, how far next of kin are apart in it, and how far they would be by chance (a permutation test). Each run's tree is the file tree.svg in its folder under {RUNS}."
            ),
            head: head.map(str::to_owned).to_vec(),
            rows,
        };
        Ok(Outcome { findings: vec![finding], exhibits: vec![table] })
    }
}

impl Tree {
    fn of(record: &RunRecord, phylogeny: &Phylogeny) -> Self {
        let mut images = 0_usize;
        for founder in &phylogeny.founders {
            founder.visit(&mut |clade| images += usize::from(!clade.classes.is_empty()));
        }
        let families = phylogeny.founders.iter().map(|founder| founder.all_classes().len());
        let classes = record.manifest.model.labels.len();
        let without_picture =
            |elite: &Champion| Champion { picture: Vec::new().into(), ..elite.clone() };
        Self {
            images: images as f32,
            founders: phylogeny.founders.len() as f32,
            largest_family: families.max().unwrap_or(0) as f32 / classes.max(1) as f32,
            kin: phylogeny.kin(classes),
            elites: record.champions.iter().map(without_picture).collect(),
        }
    }
}

fn measure(finding: &mut Finding, trees: &[Tree]) {
    let over = |number: fn(&Tree) -> f32| -> Vec<f32> { trees.iter().map(number).collect() };
    finding.measure("images", bootstrap::median(&over(|tree| tree.images)));
    finding.measure("founders", bootstrap::median(&over(|tree| tree.founders)));
    finding.measure("largest_family", bootstrap::median(&over(|tree| tree.largest_family)));
    let order: Vec<Nearness> =
        trees.iter().filter_map(|tree| Nearness::in_order(&tree.kin)).collect();
    measure_nearness(finding, "order", &order);
    // A run's own images share what they inherited: the next run's tell.
    let others = trees.iter().cycle().skip(1);
    let pairs = trees.iter().zip(others).filter(|_| trees.len() > 1);
    let confusion: Vec<Nearness> = pairs
        .filter_map(|(tree, other)| Nearness::in_confusion(&tree.kin, &other.elites))
        .collect();
    measure_nearness(finding, "confusion", &confusion);
    finding.ours = format!(
        "{} images from {} founders; the largest family has {:.0} % of the classes",
        finding.value("images"),
        finding.value("founders"),
        finding.value("largest_family") * 100.0,
    );
    if !order.is_empty() {
        finding.ours += &format!(
            "; next of kin are {:.0} classes apart, by chance {:.0} (p = {})",
            finding.value("order_distance"),
            finding.value("order_by_chance"),
            finding.value("order_p"),
        );
    }
}

/// How near next of kin are by some measure, in the runs where that can be told.
fn measure_nearness(finding: &mut Finding, name: &str, all: &[Nearness]) {
    let mut over = |what: &str, number: fn(&Nearness) -> f64| {
        let numbers: Vec<f32> = all.iter().map(|nearness| number(nearness) as f32).collect();
        finding.measure(&format!("{name}_{what}"), bootstrap::median(&numbers));
    };
    over("distance", |nearness| nearness.distance);
    over("by_chance", |nearness| nearness.by_chance);
    over("p", |nearness| nearness.p);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_counted_over_runs() {
        let tree = |images, founders, largest_family| Tree {
            images,
            founders,
            largest_family,
            kin: Vec::new(),
            elites: Vec::new(),
        };
        let mut finding = Finding::default();
        measure(&mut finding, &[tree(9.0, 2.0, 0.5), tree(10.0, 1.0, 1.0), tree(8.0, 3.0, 0.8)]);
        let values = ["images", "founders", "largest_family"].map(|name| finding.value(name));
        assert_eq!(values, [9.0, 2.0, 0.8]);
        assert!(finding.ours.starts_with("9 images from 2 founders"), "{}", finding.ours);
        assert!(!finding.measures.contains_key("order_p"), "there is no kin");
    }

    #[test]
    fn kin_that_are_neighbours_are_nearer_than_chance() {
        let tree = |own_score: fn(usize, usize) -> f32| Tree {
            images: 40.0,
            founders: 20.0,
            largest_family: 0.05,
            kin: (0..40_usize).map(|class| vec![class ^ 1]).collect(),
            elites: (0..40)
                .map(|class| Champion {
                    class,
                    confidence: 0.5,
                    generation: 1,
                    id: class as u64,
                    picture: Vec::new().into(),
                    scores: (0..40).map(|other| own_score(class, other)).collect(),
                })
                .collect(),
        };
        // One run's images tell that neighbours are confused, the other's tell nothing.
        let confused = tree(|class, other| if class ^ 1 == other { 0.1 } else { 0.001 });
        let blind = tree(|_, _| 0.001);
        let mut finding = Finding::default();
        measure(&mut finding, &[confused, blind]);
        assert_eq!(finding.value("order_distance"), 1.0);
        assert!(finding.value("order_by_chance") > 5.0, "{finding:?}");
        assert_eq!(finding.value("order_p"), 0.001);
        assert_eq!(finding.value("confusion_distance"), 2.0, "between 1 and 3");
        assert!(finding.ours.contains("1 classes apart"), "{}", finding.ours);
    }

    #[test]
    fn a_run_does_not_judge_itself() {
        let tree = Tree {
            images: 2.0,
            founders: 1.0,
            largest_family: 1.0,
            kin: vec![vec![1], vec![0]],
            elites: Vec::new(),
        };
        let mut finding = Finding::default();
        measure(&mut finding, &[tree]);
        assert!(!finding.measures.contains_key("confusion_p"), "{finding:?}");
    }
}
