//! What a network's output means: found out by running it.

use std::fmt;

use mirage_core::math::softmax;
use tract_onnx::pb::ModelProto;

/// What a network's output means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Probabilities of classes that exclude one another.
    Probabilities,
    /// Their logarithms.
    LogProbabilities,
    /// A probability for every class by itself.
    Independent,
    /// What probabilities come from by a softmax.
    Logits,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probabilities => "probabilities",
            Self::LogProbabilities => "logarithms of probabilities",
            Self::Independent => "independent probabilities",
            Self::Logits => "logits",
        })
    }
}

/// How far from 1 the sum of probabilities may be.
const TOLERANCE: f64 = 1e-3;

/// Operators that only bring values into another form.
pub(super) const SHAPING: [&str; 7] =
    ["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout"];

impl Output {
    /// What some rows of `classes` values mean, and, where they leave it open, the
    /// operators that made them.
    ///
    /// A sigmoid's are probabilities even if they happen to sum to 1.
    pub(super) fn find(rows: &[f32], classes: usize, operators: Self) -> Self {
        let is_nan = rows.iter().any(|value| value.is_nan());
        let rows = || rows.chunks_exact(classes);
        let is_one = |sum: f64| (sum - 1.0).abs() < TOLERANCE;
        let sum = |row: &[f32]| row.iter().copied().map(f64::from).sum::<f64>();
        let exponentials = |row: &[f32]| row.iter().map(|&x| f64::from(x).exp()).sum::<f64>();
        if operators == Self::Independent || is_nan {
            operators
        } else if rows().all(|row| row.iter().all(|x| (0.0..=1.0).contains(x)) && is_one(sum(row)))
        {
            Self::Probabilities
        } else if rows().all(|row| row.iter().all(|x| *x <= 0.0) && is_one(exponentials(row))) {
            Self::LogProbabilities
        } else {
            Self::Logits
        }
    }

    /// What the last operator that computes something says of the output.
    pub(super) fn of_operators(proto: &ModelProto) -> Self {
        let Some(graph) = &proto.graph else { return Self::Logits };
        let mut name = graph.output.first().map(|output| &output.name);
        // A graph without cycles has no path longer than its nodes.
        for _ in 0..graph.node.len() {
            let maker = name.and_then(|n| graph.node.iter().find(|node| node.output.contains(n)));
            let Some(node) = maker else { break };
            match node.op_type.as_str() {
                "Softmax" => return Self::Probabilities,
                "LogSoftmax" => return Self::LogProbabilities,
                "Sigmoid" => return Self::Independent,
                shaping if SHAPING.contains(&shaping) => name = node.input.first(),
                _ => break,
            }
        }
        Self::Logits
    }

    /// Turns one row of the network's output into probabilities.
    pub(super) fn to_probabilities(self, row: &mut [f32]) {
        match self {
            Self::Probabilities | Self::Independent => {}
            Self::LogProbabilities | Self::Logits => softmax(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_tell_what_they_mean() {
        let logs = [0.25_f32.ln(), 0.75_f32.ln(), 0.5_f32.ln(), 0.5_f32.ln()];
        for (rows, operators, meaning) in [
            ([0.25, 0.75, 0.0, 1.0], Output::Logits, Output::Probabilities),
            (logs, Output::Logits, Output::LogProbabilities),
            ([0.25, 0.75, 0.5, 0.6], Output::Probabilities, Output::Logits),
            ([-1.0, 2.0, 0.5, 0.5], Output::Probabilities, Output::Logits),
            ([0.25, 0.75, 0.5, 0.5], Output::Independent, Output::Independent),
            ([0.25, 0.75, 0.5, f32::NAN], Output::LogProbabilities, Output::LogProbabilities),
            ([0.25, f32::INFINITY, 0.5, 0.5], Output::Probabilities, Output::Logits),
        ] {
            assert_eq!(Output::find(&rows, 2, operators), meaning, "{rows:?}");
        }
    }
}
