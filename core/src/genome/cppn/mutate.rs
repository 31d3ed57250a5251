//! The six mutations of a CPPN.

use super::{Activation, Connection, Cppn, CppnSettings, INPUTS};
use crate::genome::variation::polynomial;
use crate::rng::Stream;

/// Pairs of ends that [`Cppn::add_connection`] tries before it gives up.
///
/// In a young genome few pairs are free; with a tenth of them free, one in 800
/// attempts to add a connection fails.
const ATTEMPTS: usize = 64;

impl<const NODES: usize, const CONNECTIONS: usize> Cppn<NODES, CONNECTIONS> {
    /// Applies each operator with its probability: structure first, then weights and
    /// activations.
    pub(super) fn mutate(&mut self, settings: &CppnSettings, rng: &mut Stream) {
        if rng.chance(settings.add_connection) {
            self.add_connection(rng);
        }
        if rng.chance(settings.delete_connection) {
            self.delete_connection(rng);
        }
        if rng.chance(settings.add_node) {
            self.add_node(rng);
        }
        if rng.chance(settings.delete_node) {
            self.delete_node(rng);
        }
        for connection in &mut self.connections {
            if rng.chance(settings.weight_rate) {
                connection.weight = polynomial(connection.weight, settings.weight_eta, rng);
            }
        }
        for activation in &mut self.nodes {
            if rng.chance(settings.activation_rate) {
                *activation = Activation::random(rng);
            }
        }
    }

    /// Connects two ends, uniformly among the pairs that are not connected yet and
    /// close no cycle, with a uniform weight. Does nothing if there is no room, or if
    /// no such pair is found in [`ATTEMPTS`] tries.
    fn add_connection(&mut self, rng: &mut Stream) {
        if self.connections.is_full() {
            return;
        }
        let hidden = self.nodes.len() - self.outputs();
        for _ in 0..ATTEMPTS {
            let source = rng.below((INPUTS + hidden) as u32) as usize;
            let source = if source < INPUTS { source } else { source + self.outputs() } as u16;
            let target = (INPUTS + rng.below(self.nodes.len() as u32) as usize) as u16;
            let exists = self.connections.iter().any(|c| c.source == source && c.target == target);
            if !exists && !self.reaches(target, source) {
                let connection = Connection { source, target, weight: rng.unit() };
                let _ = self.connections.push(connection);
                return;
            }
        }
    }

    /// Removes a connection, uniformly among all.
    fn delete_connection(&mut self, rng: &mut Stream) {
        let index = rng.below(self.connections.len() as u32);
        let mut indices = 0..;
        self.connections.retain(|_| indices.next() != Some(index));
    }

    /// Puts a hidden node with a random activation on a connection, uniformly among
    /// all. Both halves keep the connection's weight. Does nothing if there is no
    /// room or no connection.
    fn add_node(&mut self, rng: &mut Stream) {
        if self.nodes.is_full() || self.connections.is_full() {
            return;
        }
        let index = rng.below(self.connections.len() as u32) as usize;
        let middle = (INPUTS + self.nodes.len()) as u16;
        if let Some(first) = self.connections.get_mut(index) {
            let second = Connection { source: middle, ..*first };
            first.target = middle;
            let _ = self.nodes.push(Activation::random(rng));
            let _ = self.connections.push(second);
        }
    }

    /// Removes a hidden node, uniformly among all, with its connections. The last
    /// node takes its number.
    fn delete_node(&mut self, rng: &mut Stream) {
        let outputs = self.outputs();
        let hidden = self.nodes.len() - outputs;
        if hidden == 0 {
            return;
        }
        let index = outputs + rng.below(hidden as u32) as usize;
        let last = (INPUTS + self.nodes.len() - 1) as u16;
        let end = (INPUTS + index) as u16;
        self.connections.retain(|c| c.source != end && c.target != end);
        for connection in &mut self.connections {
            for node in [&mut connection.source, &mut connection.target] {
                if *node == last {
                    *node = end;
                }
            }
        }
        if index < self.nodes.len() {
            self.nodes.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genome::Genome;
    use crate::image::Shape;

    const SHAPE: Shape = Shape { height: 4, width: 4, channels: 2 };

    fn grown<const N: usize, const C: usize>(generations: u32) -> Cppn<N, C> {
        let settings =
            CppnSettings { delete_node: 0.0, delete_connection: 0.0, ..crate::evolve::CPPN };
        let mut genome = Cppn::random(&settings, SHAPE, &mut Stream::new(1, 0, 0));
        for generation in 0..generations {
            genome.mutate(&settings, &mut Stream::new(1, generation, 1));
        }
        genome
    }

    #[test]
    fn every_mutant_is_valid() {
        for run in 0..50 {
            let mut genome =
                Cppn::<24, 40>::random(&crate::evolve::CPPN, SHAPE, &mut Stream::new(run, 0, 0));
            for generation in 1..200 {
                genome.mutate(&crate::evolve::CPPN, &mut Stream::new(run, generation, 0));
                assert!(genome.is_valid(), "run {run}, generation {generation}: {genome:?}");
            }
        }
    }

    #[test]
    fn a_full_genome_stays_as_it_is() {
        let full_of_connections = grown::<64, 12>(200);
        assert!(full_of_connections.connections.is_full());
        let full_of_nodes = grown::<6, 64>(200);
        assert!(full_of_nodes.nodes.is_full());
        let mut genome = full_of_connections.clone();
        genome.add_connection(&mut Stream::new(3, 0, 0));
        genome.add_node(&mut Stream::new(3, 0, 0));
        assert_eq!(genome, full_of_connections);
        let mut genome = full_of_nodes.clone();
        genome.add_node(&mut Stream::new(3, 0, 0));
        assert_eq!(genome, full_of_nodes);
    }

    #[test]
    fn a_node_splits_a_connection_and_both_halves_keep_the_weight() {
        let mut genome = grown::<16, 32>(0);
        let before = genome.clone();
        genome.add_node(&mut Stream::new(1, 5, 0));
        assert_eq!(genome.nodes.len(), before.nodes.len() + 1);
        let split = genome.connections.iter().position(|c| usize::from(c.target) == INPUTS + 2);
        let (old, first) = (before.connections[split.unwrap()], genome.connections[split.unwrap()]);
        let second = genome.connections.last().unwrap();
        assert_eq!((first.source, first.weight), (old.source, old.weight));
        assert_eq!((second.target, second.weight), (old.target, old.weight));
        assert_eq!(second.source, first.target);
    }

    #[test]
    fn deleting_everything_leaves_the_outputs() {
        let mut genome = grown::<16, 32>(20);
        let mut rng = Stream::new(1, 6, 0);
        for _ in 0..100 {
            genome.delete_node(&mut rng);
            assert!(genome.is_valid());
            genome.delete_connection(&mut rng);
        }
        assert_eq!((genome.nodes.len(), genome.connections.len()), (2, 0));
    }
}
