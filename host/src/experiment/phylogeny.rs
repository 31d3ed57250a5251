//! Who descends from whom: the phylogeny of a run's elites.

use std::collections::{BTreeMap, BTreeSet};

use mirage_core::rng::Stream;
use serde::Serialize;

use super::permutation::shuffle;
use super::record::Champion;
use super::summary::LEAST_SCORE;

/// One individual that ever held a cell: a row of `lineage.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct Individual {
    /// Its identity within the run.
    pub id: u64,
    /// The individual that it is a changed copy of; `None` for a random one. Of two parents
    /// the first, which gave it more.
    pub parent: Option<u64>,
    /// The generation, counted from 1, that made it.
    pub born: u32,
}

/// What is wrong with a table of a lineage, and in which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct LineageError {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// A row as it is in the file.
#[derive(serde::Deserialize)]
struct Row {
    id: u64,
    ancestor_list: String,
    origin_time: u32,
}

/// Reads the rows of `lineage.csv`.
///
/// # Errors
/// The first line that is none.
pub fn individuals(table: &[u8]) -> Result<Vec<Individual>, LineageError> {
    let mut reader = csv::Reader::from_reader(table);
    let mut found = Vec::new();
    for row in reader.deserialize() {
        let Row { id, ancestor_list, origin_time: born } = row.map_err(|error| LineageError {
            line: error.position().map_or(1, csv::Position::line),
            reason: error.to_string(),
        })?;
        let names = ancestor_list.trim_start_matches('[').trim_end_matches(']');
        let parent = match names.split(',').next().unwrap_or_default() {
            "none" => None,
            name => Some(name.parse().map_err(|_| LineageError {
                line: found.len() as u64 + 2,
                reason: format!("ancestor_list {ancestor_list:?} has no number"),
            })?),
        };
        found.push(Individual { id, parent, born });
    }
    Ok(found)
}

/// The ancestors of a run's elites: a forest whose leaves hold cells, without individuals of
/// which only one line goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Phylogeny {
    /// Where each line begins.
    pub founders: Vec<Clade>,
}

/// An individual with all that descends from it and matters today.
#[derive(Clone, Debug, PartialEq)]
pub struct Clade {
    /// The individual.
    pub id: u64,
    /// The generation, counted from 1, that made it.
    pub born: u32,
    /// The classes that it holds itself.
    pub classes: Vec<usize>,
    /// What goes on from it, older first.
    pub children: Vec<Clade>,
}

impl Phylogeny {
    /// The phylogeny of a run's elites, of a model with so many classes.
    #[must_use]
    pub fn of_elites(individuals: &[Individual], elites: &[Champion], classes: usize) -> Self {
        let mut holders = vec![None; classes];
        for elite in elites {
            holders[elite.class] = Some(elite.id);
        }
        Self::new(individuals, &holders)
    }

    /// The phylogeny of the elites: `holders`, by class, the individual that holds the cell.
    ///
    /// An ancestor that is not among `individuals` begins a line.
    #[must_use]
    pub fn new(individuals: &[Individual], holders: &[Option<u64>]) -> Self {
        let known: BTreeMap<u64, &Individual> =
            individuals.iter().map(|individual| (individual.id, individual)).collect();
        let mut classes: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (class, holder) in holders.iter().enumerate() {
            if let Some(holder) = holder.filter(|holder| known.contains_key(holder)) {
                classes.entry(holder).or_default().push(class);
            }
        }
        let mut children: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        let mut founders = BTreeSet::new();
        for &holder in classes.keys() {
            let mut id = holder;
            loop {
                // A parent is older than its child: ids grow.
                let parent = known[&id].parent.filter(|&p| p < id && known.contains_key(&p));
                let Some(parent) = parent else {
                    founders.insert(id);
                    break;
                };
                if !children.entry(parent).or_default().insert(id) {
                    break;
                }
                id = parent;
            }
        }
        // Children are younger: from the youngest on, all that a clade is made of is there.
        let mut clades: BTreeMap<u64, Clade> = BTreeMap::new();
        let ids: BTreeSet<u64> = children.keys().chain(classes.keys()).copied().collect();
        for &id in ids.iter().rev() {
            let of = children.remove(&id).unwrap_or_default();
            let mut below: Vec<Clade> = of.iter().filter_map(|id| clades.remove(id)).collect();
            let own = classes.remove(&id).unwrap_or_default();
            let is_passed_through = own.is_empty() && below.len() == 1 && !founders.contains(&id);
            let clade = match below.pop() {
                Some(only) if is_passed_through => only,
                last => {
                    below.extend(last);
                    Clade { id, born: known[&id].born, classes: own, children: below }
                }
            };
            clades.insert(id, clade);
        }
        Self { founders: founders.iter().filter_map(|id| clades.remove(id)).collect() }
    }

    /// The forest in Newick's format, a founder's tree per line; lengths of branches are
    /// generations. Leaves are called by their classes.
    #[must_use]
    pub fn newick(&self, labels: &[String]) -> String {
        let trees = self.founders.iter().map(|clade| clade.newick(clade.born, labels) + ";\n");
        trees.collect()
    }

    /// For each class of `classes` its next of kin: the other classes of the smallest clade
    /// that has it and another one.
    #[must_use]
    pub fn kin(&self, classes: usize) -> Vec<Vec<usize>> {
        let mut kin = vec![Vec::new(); classes];
        for founder in &self.founders {
            founder.gather(&mut kin);
        }
        kin
    }
}

impl Clade {
    /// All classes that are held in it, in order.
    #[must_use]
    pub fn all_classes(&self) -> Vec<usize> {
        let mut all = Vec::new();
        self.visit(&mut |clade| all.extend(&clade.classes));
        all.sort_unstable();
        all
    }

    /// Calls `visit` for every clade in it, each before what descends from it.
    pub fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        let mut rest = vec![self];
        while let Some(clade) = rest.pop() {
            visit(clade);
            rest.extend(clade.children.iter().rev());
        }
    }

    fn newick(&self, parent_born: u32, labels: &[String]) -> String {
        let quoted = |name: &str| format!("'{}'", name.replace('\'', "''"));
        let mut parts: Vec<String> =
            self.children.iter().map(|clade| clade.newick(self.born, labels)).collect();
        let own = self.classes.iter().map(|&class| {
            let label = labels.get(class).map_or("", String::as_str);
            let number = class.to_string();
            if label == number { quoted(label) } else { quoted(&format!("{number} {label}")) }
        });
        parts.extend(own.map(|name| format!("{name}:0")));
        format!("({}){}:{}", parts.join(","), self.id, self.born - parent_born.min(self.born))
    }

    /// Fills in the kin of the classes in this clade; returns those.
    fn gather(&self, kin: &mut [Vec<usize>]) -> Vec<usize> {
        let mut all = self.classes.clone();
        for child in &self.children {
            all.extend(child.gather(kin));
        }
        if all.len() > 1 {
            for &class in &all {
                if kin.get(class).is_some_and(Vec::is_empty) {
                    kin[class] = all.iter().copied().filter(|&other| other != class).collect();
                }
            }
        }
        all
    }
}

/// Whether kin are nearer to each other than chance would have them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Nearness {
    /// Classes that have kin.
    pub classes: usize,
    /// Mean over them of the mean distance to their kin.
    pub distance: f64,
    /// The same, as a mean over [`SHUFFLES`] phylogenies whose classes were shuffled.
    pub by_chance: f64,
    /// How often chance brings them at least as near, between 1 / ([`SHUFFLES`] + 1) and 1:
    /// the p-value of a permutation test.
    pub p: f64,
}

/// Models of more classes than this have them in some order: ImageNet's is WordNet's.
const UNORDERED: usize = 20;

/// Phylogenies with shuffled classes that a [`Nearness`] is compared with.
pub const SHUFFLES: usize = 999;

impl Nearness {
    /// Measures by the order of the classes: how far their numbers are apart. `None` if no
    /// class has kin, or there are so few classes that their order means nothing.
    #[must_use]
    pub fn in_order(kin: &[Vec<usize>]) -> Option<Self> {
        if kin.len() > UNORDERED { Self::of(kin, |a, b| a.abs_diff(b) as f64) } else { None }
    }

    /// Measures by the network's confusion, as images tell it: two classes are near if it
    /// finds much of the one in the image that was evolved for the other. The distance is
    /// minus the decimal logarithm of the score, a mean of both ways round: 2 where each
    /// image scores a hundredth in the other's class.
    ///
    /// The images ought to be another run's: those of the run itself share what they
    /// inherited, and what is in them both scores in both classes. `None` if no class has
    /// kin, or one with kin has no image.
    #[must_use]
    pub fn in_confusion(kin: &[Vec<usize>], images: &[Champion]) -> Option<Self> {
        let mut scores = vec![None; kin.len()];
        images.iter().for_each(|image| scores[image.class] = Some(&image.scores));
        let is_told = |class: usize| kin[class].is_empty() || scores[class].is_some();
        if !(0..kin.len()).all(is_told) {
            return None;
        }
        let doubt = |of: usize, class: usize| {
            let score = scores[of].map_or(0.0, |scores| scores[class]);
            -f64::from(score.max(LEAST_SCORE)).log10()
        };
        Self::of(kin, |a, b| f64::midpoint(doubt(a, b), doubt(b, a)))
    }

    /// Measures by `distance`, of two classes. `None` if no class has kin.
    #[must_use]
    pub fn of(kin: &[Vec<usize>], distance: impl Fn(usize, usize) -> f64) -> Option<Self> {
        // Classes that hold nothing take no part in the shuffles.
        let held: Vec<usize> = (0..kin.len()).filter(|&class| !kin[class].is_empty()).collect();
        if held.is_empty() {
            return None;
        }
        let mean = |name: &dyn Fn(usize) -> usize| {
            let to_kin = |&class: &usize| {
                let of = &kin[class];
                let sum: f64 = of.iter().map(|&k| distance(name(class), name(k))).sum();
                sum / of.len() as f64
            };
            held.iter().map(to_kin).sum::<f64>() / held.len() as f64
        };
        let observed = mean(&|class| class);
        let mut random = Stream::new(0, 0, 0);
        let mut names: Vec<usize> = (0..kin.len()).collect();
        let mut order = held.clone();
        let (mut sum, mut as_near) = (0.0, 0);
        for _ in 0..SHUFFLES {
            shuffle(&mut order, &mut random);
            held.iter().zip(&order).for_each(|(&class, &name)| names[class] = name);
            let shuffled = mean(&|class| names[class]);
            sum += shuffled;
            as_near += usize::from(shuffled <= observed);
        }
        Some(Self {
            classes: held.len(),
            distance: observed,
            by_chance: sum / SHUFFLES as f64,
            p: (as_near + 1) as f64 / (SHUFFLES + 1) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five that held a cell: 1 came first, 3 and 4 from it, 7 from 4; 2 is on its own.
    const TABLE: &str = "id,ancestor_list,origin_time,destruction_time,class,confidence\n\
        1,\"[none]\",1,4,0,0.5\n\
        3,\"[1]\",2,,0,0.75\n\
        4,\"[1]\",3,6,1,0.5\n\
        2,\"[none]\",1,,4,0.5\n\
        7,\"[4,3]\",6,,1,0.875\n";

    fn labels() -> Vec<String> {
        ["cat", "dog's", "2", "3", "4"].map(str::to_owned).to_vec()
    }

    fn phylogeny() -> Phylogeny {
        let individuals = individuals(TABLE.as_bytes()).unwrap();
        Phylogeny::new(&individuals, &[Some(3), Some(7), Some(7), None, Some(2)])
    }

    #[test]
    fn a_lineage_of_five_is_told_as_it_is() {
        let phylogeny = phylogeny();
        assert_eq!(
            phylogeny.newick(&labels()),
            "(('0 cat':0)3:1,('1 dog''s':0,'2':0)7:5)1:0;\n('4':0)2:0;\n",
            "4, from which one line goes on, is passed through"
        );
        let all: Vec<_> = phylogeny.founders.iter().map(Clade::all_classes).collect();
        assert_eq!(all, [vec![0, 1, 2], vec![4]]);
        assert_eq!(phylogeny.kin(5), [vec![1, 2], vec![2], vec![1], vec![], vec![]]);
    }

    #[test]
    fn holders_that_are_ancestors_too_stay() {
        let individuals = individuals(TABLE.as_bytes()).unwrap();
        let phylogeny = Phylogeny::new(&individuals, &[Some(1), Some(7), Some(99)]);
        assert_eq!(phylogeny.newick(&labels()), "(('1 dog''s':0)7:5,'0 cat':0)1:0;\n");
    }

    #[test]
    fn damaged_tables_are_refused_by_line() {
        for (row, line) in [("x,\"[none]\",1,,0,0.5", 2), ("1,\"[a]\",1,,0,0.5", 2), ("1,2", 2)] {
            let header = TABLE.lines().next().unwrap();
            let error = individuals(format!("{header}\n{row}\n").as_bytes()).unwrap_err();
            assert_eq!(error.line, line, "{error}");
        }
        // A table that lies about who came first makes no endless line.
        let individuals = [
            Individual { id: 1, parent: Some(2), born: 1 },
            Individual { id: 2, parent: Some(1), born: 1 },
        ];
        let phylogeny = Phylogeny::new(&individuals, &[Some(1), Some(2)]);
        assert_eq!(phylogeny.founders.len(), 1);
    }

    #[test]
    fn nearness_tells_order_from_chance() {
        // Pairs of neighbours are as near as can be; pairs half the way apart are not.
        let paired = |partner: fn(usize) -> usize| -> Vec<Vec<usize>> {
            (0..32).map(|class| vec![partner(class)]).collect()
        };
        let distance = |a: usize, b: usize| a.abs_diff(b) as f64;
        let near = Nearness::of(&paired(|class| class ^ 1), distance).unwrap();
        assert_eq!((near.classes, near.distance), (32, 1.0));
        assert!(near.p <= 0.01 && near.by_chance > 3.0, "{near:?}");
        let far = Nearness::of(&paired(|class| class ^ 16), distance).unwrap();
        assert_eq!(far.distance, 16.0);
        assert!(far.p > 0.9, "{far:?}");
        assert_eq!(Nearness::of(&[vec![], vec![]], distance), None);
        assert_eq!(Nearness::in_order(&paired(|class| class ^ 16)), Some(far));
        let few = vec![vec![1], vec![0]];
        assert_eq!(Nearness::in_order(&few), None, "two classes have no order");
    }

    #[test]
    fn confusion_is_what_one_image_scores_in_the_class_of_another() {
        // The network takes each of eight pairs of neighbours for each other.
        let image = |class: usize| Champion {
            class,
            confidence: 0.9,
            generation: 1,
            id: class as u64,
            picture: [].into(),
            scores: (0..16).map(|other| if other ^ 1 == class { 0.1 } else { 0.0 }).collect(),
        };
        let images: Vec<Champion> = (0..16).map(image).collect();
        let paired = |by: usize| -> Vec<Vec<usize>> { (0..16).map(|c| vec![c ^ by]).collect() };
        let near = Nearness::in_confusion(&paired(1), &images).unwrap();
        assert!((near.distance - 1.0).abs() < 1e-6 && near.p <= 0.01, "{near:?}");
        let far = Nearness::in_confusion(&paired(8), &images).unwrap();
        assert!((far.distance - 7.0).abs() < 1e-6 && far.p == 1.0, "{far:?}");
        assert_eq!(Nearness::in_confusion(&paired(1), &images[1..]), None);
    }
}
