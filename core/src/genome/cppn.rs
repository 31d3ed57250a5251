//! Compositional pattern-producing networks: the indirect encoding.
//!
//! A CPPN maps a pixel's coordinates to its colour (Stanley 2007). Its nodes have
//! one of four [activations](Activation); its structure starts with the inputs wired
//! straight to the outputs and grows by mutation (NEAT, Stanley and Miikkulainen
//! 2002), always acyclic. This file holds the genome and its bytes, `mutate` its
//! variation, `render` its picture.

mod mutate;
mod render;

use super::{Decode, Genome};
use crate::image::Shape;
use crate::rng::Stream;
use crate::wire::{DecodeError, Reader};
use heapless::Vec;

/// Inputs of every CPPN: x, y, d and the constant 1, in this order. d is the
/// distance from the centre in [−1, 1]² coordinates.
pub const INPUTS: usize = 4;

/// Weights are stored in [0, 1] and used in [−`WEIGHT_RANGE`, `WEIGHT_RANGE`].
pub const WEIGHT_RANGE: f32 = 10.0;

/// What a node makes of its weighted sum *v*. All end in [−1, 1].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Activation {
    /// sin *v*
    Sine = 0,
    /// 2 / (1 + e^−*v*) − 1
    Sigmoid = 1,
    /// e^(−*v*²)
    Gaussian = 2,
    /// *v* clamped to [−3, 3], divided by 3
    Linear = 3,
}

impl Activation {
    /// All activations, in the order of their bytes.
    pub const ALL: [Self; 4] = [Self::Sine, Self::Sigmoid, Self::Gaussian, Self::Linear];

    fn random(rng: &mut Stream) -> Self {
        match rng.below(4) {
            0 => Self::Sine,
            1 => Self::Sigmoid,
            2 => Self::Gaussian,
            _ => Self::Linear,
        }
    }
}

/// A weighted edge. Ends are numbered with the inputs first, then the outputs, then
/// the hidden nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connection {
    /// An input or a hidden node.
    pub source: u16,
    /// An output or a hidden node.
    pub target: u16,
    /// In [0, 1]; see [`WEIGHT_RANGE`].
    pub weight: f32,
}

impl Connection {
    /// The weight as the network uses it.
    #[inline(always)]
    #[must_use]
    pub fn strength(&self) -> f32 {
        self.weight * (2.0 * WEIGHT_RANGE) - WEIGHT_RANGE
    }
}

/// A CPPN of at most `NODES` nodes (outputs and hidden) and `CONNECTIONS`
/// connections.
///
/// An operator that would need more room leaves the genome as it is, so capacities
/// are part of what a run computes.
#[derive(Debug, Default, PartialEq)]
pub struct Cppn<const NODES: usize, const CONNECTIONS: usize> {
    outputs: u8,
    nodes: Vec<Activation, NODES>,
    connections: Vec<Connection, CONNECTIONS>,
}

/// How CPPNs vary and are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CppnSettings {
    /// Probability that a weight mutates.
    pub weight_rate: f32,
    /// Exponent η of the polynomial mutation of weights.
    pub weight_eta: f32,
    /// Probability that a node's activation is drawn anew.
    pub activation_rate: f32,
    /// Probability that an offspring gets a connection.
    pub add_connection: f32,
    /// Probability that an offspring loses a connection.
    pub delete_connection: f32,
    /// Probability that a node splits one of the offspring's connections.
    pub add_node: f32,
    /// Probability that an offspring loses a hidden node.
    pub delete_node: f32,
    /// What x and y are.
    pub coordinates: Coordinates,
    /// What sine and exponential are made of.
    pub math: Math,
}

/// What a CPPN's x and y are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// −1 at the left and top edge, 1 at the right and bottom, as in Picbreeder.
    Centred,
    /// The pixel's column and row, as in the paper's released code.
    Pixels,
}

/// What a CPPN's sine and exponential are made of; see [`math`](crate::math).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Math {
    /// [`Polynomial`](crate::math::Polynomial).
    Polynomial,
    /// [`Micromath`](crate::math::Micromath).
    #[cfg(feature = "micromath")]
    Micromath,
}

impl<const NODES: usize, const CONNECTIONS: usize> Cppn<NODES, CONNECTIONS> {
    /// Most canonical bytes that a genome has.
    pub const MAX_BYTES: usize = 5 + NODES + 8 * CONNECTIONS;

    /// A genome from its parts.
    ///
    /// `nodes` begins with the `outputs` output nodes.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] if it does not fit; [`DecodeError::Genome`] if there
    /// are fewer nodes than outputs or no outputs, a connection's end or weight is
    /// out of range, two connections have the same ends, or there is a cycle.
    pub fn new(
        outputs: u8,
        nodes: &[Activation],
        connections: &[Connection],
    ) -> Result<Self, DecodeError> {
        let genome = Self {
            outputs,
            nodes: Vec::from_slice(nodes).map_err(|_| DecodeError::TooLarge)?,
            connections: Vec::from_slice(connections).map_err(|_| DecodeError::TooLarge)?,
        };
        if genome.is_valid() { Ok(genome) } else { Err(DecodeError::Genome) }
    }

    fn is_valid(&self) -> bool {
        let outputs = usize::from(self.outputs);
        let ends = INPUTS + self.nodes.len();
        let is_fine = |(index, connection): (usize, &Connection)| {
            let (source, target) = (usize::from(connection.source), usize::from(connection.target));
            let earlier = self.connections.get(..index).unwrap_or_default();
            (source < INPUTS || source >= INPUTS + outputs)
                && source < ends
                && (INPUTS..ends).contains(&target)
                && (0.0..=1.0).contains(&connection.weight)
                && connection.weight.is_sign_positive()
                && !earlier
                    .iter()
                    .any(|e| e.source == connection.source && e.target == connection.target)
        };
        outputs > 0
            && outputs <= self.nodes.len()
            && ends <= usize::from(u16::MAX)
            && self.connections.iter().enumerate().all(is_fine)
            && !self.connections.iter().any(|c| self.reaches(c.target, c.source))
    }

    /// Whether a path of connections leads from one end to another (or both are the
    /// same).
    fn reaches(&self, from: u16, to: u16) -> bool {
        let mut reached = [false; NODES];
        let node = |end: u16| usize::from(end).wrapping_sub(INPUTS);
        if from == to {
            return true;
        }
        if let Some(first) = reached.get_mut(node(from)) {
            *first = true;
        }
        loop {
            let mut grown = false;
            for connection in &self.connections {
                let is_source_reached = connection.source == from
                    || reached.get(node(connection.source)).is_some_and(|&reached| reached);
                let target = reached.get_mut(node(connection.target));
                if let (true, Some(target @ false)) = (is_source_reached, target) {
                    if connection.target == to {
                        return true;
                    }
                    *target = true;
                    grown = true;
                }
            }
            if !grown {
                return false;
            }
        }
    }

    /// Number of output nodes.
    #[must_use]
    pub fn outputs(&self) -> usize {
        usize::from(self.outputs)
    }

    /// The activations of the outputs, then of the hidden nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Activation] {
        &self.nodes
    }

    /// The connections. A node sums its inputs in this order.
    #[must_use]
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }
}

impl<const NODES: usize, const CONNECTIONS: usize> Clone for Cppn<NODES, CONNECTIONS> {
    fn clone(&self) -> Self {
        let mut genome = Self::default();
        genome.clone_from(self);
        genome
    }

    fn clone_from(&mut self, source: &Self) {
        self.outputs = source.outputs;
        self.nodes.clear();
        let _ = self.nodes.extend_from_slice(&source.nodes);
        self.connections.clear();
        let _ = self.connections.extend_from_slice(&source.connections);
    }
}

impl<const NODES: usize, const CONNECTIONS: usize> Genome for Cppn<NODES, CONNECTIONS> {
    type Settings = CppnSettings;

    /// Every input wired to every output, weights and activations drawn uniformly.
    ///
    /// With more channels than the capacities allow for, as many as fit.
    fn randomize(&mut self, _: &CppnSettings, shape: Shape, rng: &mut Stream) {
        self.nodes.clear();
        self.connections.clear();
        let outputs = shape.channels.min(NODES).min(CONNECTIONS / INPUTS).min(usize::from(u8::MAX));
        for output in 0..outputs {
            let _ = self.nodes.push(Activation::random(rng));
            for source in 0..INPUTS as u16 {
                let target = (INPUTS + output) as u16;
                let _ = self.connections.push(Connection { source, target, weight: rng.unit() });
            }
        }
        self.outputs = outputs as u8;
    }

    fn vary(&mut self, _: &Self, settings: &CppnSettings, _: u32, rng: &mut Stream) -> bool {
        self.mutate(settings, rng);
        false
    }

    #[inline(always)]
    fn render(&self, settings: &CppnSettings, shape: Shape, scratch: &mut [f32], image: &mut [u8]) {
        self.draw(settings, shape, scratch, image);
    }

    fn scratch_len(pixels: usize) -> usize {
        (INPUTS + NODES).saturating_mul(pixels)
    }

    /// `u8` outputs, `u16` nodes, `u16` connections, one byte per activation, then per
    /// connection `u16` source, `u16` target and `f32` weight.
    fn encode(&self, sink: &mut impl FnMut(&[u8])) {
        sink(&[self.outputs]);
        sink(&(self.nodes.len() as u16).to_le_bytes());
        sink(&(self.connections.len() as u16).to_le_bytes());
        for &activation in &self.nodes {
            sink(&[activation as u8]);
        }
        for connection in &self.connections {
            sink(&connection.source.to_le_bytes());
            sink(&connection.target.to_le_bytes());
            sink(&crate::math::canonical_bits(connection.weight).to_le_bytes());
        }
    }
}

impl<const NODES: usize, const CONNECTIONS: usize> Decode for Cppn<NODES, CONNECTIONS> {
    fn decode(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, DecodeError> {
        let outputs = reader.u8()?;
        let (nodes, connections) = (reader.u16()?, reader.u16()?);
        let mut genome = Self { outputs, ..Self::default() };
        for _ in 0..nodes {
            let activation = Activation::ALL.get(usize::from(reader.u8()?));
            let activation = *activation.ok_or(DecodeError::Genome)?;
            genome.nodes.push(activation).map_err(|_| DecodeError::TooLarge)?;
        }
        for _ in 0..connections {
            let (source, target, weight) = (reader.u16()?, reader.u16()?, reader.f32()?);
            let connection = Connection { source, target, weight };
            genome.connections.push(connection).map_err(|_| DecodeError::TooLarge)?;
        }
        if usize::from(outputs) == shape.channels && genome.is_valid() {
            Ok(genome)
        } else {
            Err(DecodeError::Genome)
        }
    }

    fn max_len(_: Shape) -> usize {
        Self::MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Small = Cppn<8, 8>;

    const HIDDEN: u16 = 5;

    fn edge(source: u16, target: u16) -> Connection {
        Connection { source, target, weight: 0.5 }
    }

    fn build(connections: &[Connection]) -> Result<Small, DecodeError> {
        Small::new(1, &[Activation::Linear; 3], connections)
    }

    #[test]
    fn what_is_not_a_cppn_is_refused() {
        assert!(build(&[edge(0, 4), edge(0, HIDDEN), edge(HIDDEN, 6), edge(6, 4)]).is_ok());
        let wrong = Err(DecodeError::Genome);
        assert_eq!(build(&[edge(HIDDEN, 6), edge(6, HIDDEN)]), wrong, "cycle");
        assert_eq!(build(&[edge(HIDDEN, HIDDEN)]), wrong, "loop");
        assert_eq!(build(&[edge(0, 4), edge(0, 4)]), wrong, "twice");
        assert_eq!(build(&[edge(4, HIDDEN)]), wrong, "from an output");
        assert_eq!(build(&[edge(0, 3)]), wrong, "to an input");
        assert_eq!(build(&[edge(0, 7)]), wrong, "to nowhere");
        assert_eq!(build(&[edge(7, 4)]), wrong, "from nowhere");
        for weight in [-0.1, 1.1, f32::NAN] {
            assert_eq!(build(&[Connection { weight, ..edge(0, 4) }]), wrong, "{weight}");
        }
        assert_eq!(build(&[edge(0, 4); 9]), Err(DecodeError::TooLarge));
        assert_eq!(Small::new(0, &[Activation::Sine], &[]), wrong, "no output");
        assert_eq!(Small::new(2, &[Activation::Sine], &[]), wrong, "missing output");
    }

    #[test]
    fn a_random_genome_is_inputs_wired_to_outputs() {
        let shape = Shape { height: 4, width: 4, channels: 3 };
        let genome = Cppn::<8, 16>::random(&crate::evolve::CPPN, shape, &mut Stream::new(1, 0, 0));
        assert_eq!(
            (genome.outputs(), genome.nodes().len(), genome.connections().len()),
            (3, 3, 12)
        );
        assert!(genome.is_valid());
    }
}
