//! The parts of a picture that a network looks at.

/// The parts of a picture that a network looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crops {
    /// One from the centre.
    Center,
    /// The four corners, the centre, and the mirror image of each; scores are their mean.
    Ten,
}
