//! Who descends from whom: how many lines the images of a run come from.

use serde::Deserialize;

use super::ReproduceError;
use super::bootstrap;
use super::context::{Context, RUNS, Series};
use super::outcome::{Finding, Outcome};
use super::table::Figure;
use crate::experiment::folder::Folder;
use crate::experiment::phylogeny::Phylogeny;
use crate::experiment::record::RunRecord;
use crate::experiment::run;
use crate::files;
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

/// What is counted in a run.
struct Tree {
    /// Individuals that hold a class.
    images: f32,
    /// Individuals that are no one's child, of which they descend.
    founders: f32,
    /// The share of the classes whose images have the founder of most classes.
    largest_family: f32,
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
            let mut holders = vec![None; model.classes()];
            record
                .champions
                .iter()
                .for_each(|champion| holders[champion.class] = Some(champion.id));
            let phylogeny = Phylogeny::new(&individuals, &holders);
            draw(&record, &phylogeny, &folder)?;
            let tree = Tree::of(&record, &phylogeny);
            let family = tree.largest_family * model.classes() as f32;
            rows.push(vec![
                format!("seed {}", plan.seed),
                individuals.len().to_string(),
                tree.images.to_string(),
                tree.founders.to_string(),
                format!("{family:.0} of {}", model.classes()),
            ]);
            trees.push(tree);
            finding.evolved(name, &record);
        }
        measure(&mut finding, &trees);
        let head = ["run", "ever held a class", "images today", "founders", "largest family"];
        let table = Exhibit::Table {
            caption: format!(
                "How many held a class, how many different images hold one in the end, and from how many founders they descend. Each run's tree is the file tree.svg in its folder under {RUNS}."
            ),
            head: head.map(str::to_owned).to_vec(),
            rows,
        };
        Ok(Outcome { findings: vec![finding], exhibits: vec![table] })
    }
}

/// Draws the tree of a run into its folder, and writes it as Newick.
fn draw(record: &RunRecord, phylogeny: &Phylogeny, folder: &Folder) -> Result<(), ReproduceError> {
    report::tree::write(record, phylogeny, folder.path())?;
    let path = folder.path().join("tree.nwk");
    files::write(&path, phylogeny.newick(&record.manifest.model.labels).as_bytes())
        .map_err(|source| ReproduceError::Write { path, source })
}

impl Tree {
    fn of(record: &RunRecord, phylogeny: &Phylogeny) -> Self {
        let mut images = 0_usize;
        for founder in &phylogeny.founders {
            founder.visit(&mut |clade| images += usize::from(!clade.classes.is_empty()));
        }
        let families = phylogeny.founders.iter().map(|founder| founder.all_classes().len());
        let classes = record.manifest.model.labels.len().max(1);
        Self {
            images: images as f32,
            founders: phylogeny.founders.len() as f32,
            largest_family: families.max().unwrap_or(0) as f32 / classes as f32,
        }
    }
}

fn measure(finding: &mut Finding, trees: &[Tree]) {
    let over = |number: fn(&Tree) -> f32| -> Vec<f32> { trees.iter().map(number).collect() };
    finding.measure("images", bootstrap::median(&over(|tree| tree.images)));
    finding.measure("founders", bootstrap::median(&over(|tree| tree.founders)));
    finding.measure("largest_family", bootstrap::median(&over(|tree| tree.largest_family)));
    finding.ours = format!(
        "{} images from {} founders; the largest family has {:.0} % of the classes",
        finding.value("images"),
        finding.value("founders"),
        finding.value("largest_family") * 100.0,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_counted_over_runs() {
        let tree = |images, founders, largest_family| Tree { images, founders, largest_family };
        let mut finding = Finding::default();
        measure(&mut finding, &[tree(9.0, 2.0, 0.5), tree(10.0, 1.0, 1.0), tree(8.0, 3.0, 0.8)]);
        let values = ["images", "founders", "largest_family"].map(|name| finding.value(name));
        assert_eq!(values, [9.0, 2.0, 0.8]);
        assert!(finding.ours.starts_with("9 images from 2 founders"), "{}", finding.ours);
    }
}
