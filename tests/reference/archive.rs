//! MAP-Elites with one cell per class (Mouret and Clune 2015, arXiv:1504.04909;
//! section 2 of the paper): every child is tested against every class.

/// Who holds each cell, and with what confidence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Elites(pub Vec<Option<(u64, f32)>>);

impl Elites {
    /// `classes` empty cells.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self(vec![None; classes])
    }

    /// Offers individual `id`; returns the classes it takes. Strictly higher wins,
    /// and NaN is higher than nothing, not even an empty cell.
    pub fn offer(&mut self, id: u64, scores: &[f32]) -> Vec<usize> {
        let mut taken = Vec::new();
        for (class, &score) in scores.iter().enumerate() {
            if score.is_nan() {
                continue;
            }
            let wins = match self.0[class] {
                None => true,
                Some((_, best)) => score > best,
            };
            if wins {
                self.0[class] = Some((id, score));
                taken.push(class);
            }
        }
        taken
    }
}
