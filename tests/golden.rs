//! Golden digests: what runs ended as, for any number of threads, interrupted or not.
//!
//! `data/golden.csv` holds them; `firmware/tests/golden.rs` holds a device to the same
//! table. A changed digest is a changed behaviour: the commit says why.

use mirage::experiment::checkpoint::Pace;
use mirage::experiment::folder::Folder;
use mirage::experiment::plan::Plan;
use mirage::experiment::run::{self, Work};
use mirage::interrupt::Interrupt;
use mirage::model::Model;

static TABLE: &str = include_str!("data/golden.csv");

struct Golden {
    plan: Plan,
    digest: String,
}

fn table() -> Vec<Golden> {
    let golden = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let mut plan = Plan::preset(fields[0], fields[1].parse().unwrap()).unwrap();
        plan.children = fields[2].parse().unwrap();
        plan.generations = fields[3].parse().unwrap();
        Golden { plan, digest: fields[4].to_owned() }
    };
    TABLE.lines().skip(1).map(golden).collect()
}

/// The digest of a run in a folder of its own, in one go or in two.
fn digest(plan: &Plan, model: &Model, threads: usize, interrupted: bool) -> String {
    let parent = tempfile::tempdir().unwrap();
    let folder = Folder::new(parent.path().join("run"));
    let (pace, interrupt) = (Pace::default(), Interrupt::default());
    if interrupted {
        let first = Plan { generations: plan.generations / 2, ..plan.clone() };
        let work = Work { threads, resume: false, pace, interrupt: interrupt.clone() };
        run::run(&first, model, &folder, &work, &mut |_| {}).unwrap();
    }
    let work = Work { threads, resume: interrupted, pace, interrupt };
    let (summary, _) = run::run(plan, model, &folder, &work, &mut |_| {}).unwrap();
    summary.digest
}

#[test]
fn runs_end_as_they_did() {
    let model = Model::load("lenet").unwrap();
    for golden in table() {
        for (threads, interrupted) in [(1, false), (2, false), (7, false), (2, true)] {
            let found = digest(&golden.plan, &model, threads, interrupted);
            let how = format!("{threads} threads, interrupted: {interrupted}");
            assert_eq!(found, golden.digest, "{:?}, {how}", golden.plan);
        }
    }
}

#[test]
fn every_preset_and_choice_matters() {
    let model = Model::load("lenet").unwrap();
    let mut plans: Vec<Plan> = table().into_iter().map(|golden| golden.plan).collect();
    let mut micromath = plans[0].clone();
    micromath.set_math(mirage_core::genome::cppn::Math::Micromath).unwrap();
    plans.push(micromath);
    let mut digests: Vec<String> =
        plans.iter().map(|plan| digest(plan, &model, 2, false)).collect();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), plans.len());
}
