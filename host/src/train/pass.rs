//! Forward and backward through a [`FloatNetwork`].

use mirage_core::nn::Op;

use super::network::{FloatLayer, FloatNetwork};
use super::real::{Matrix, Real, multiply};
use super::window::{Sight, add};

/// Memory for passes over a few images at a time.
///
/// Batches of 4 to 8 are fastest: their activations stay in a core's cache.
#[derive(Debug)]
pub struct Pass<T = f32> {
    steps: Vec<Step<T>>,
    /// Gradient with respect to the activation at hand, and to the one before it.
    delta: Vec<T>,
    delta_before: Vec<T>,
    capacity: usize,
}

/// What one layer leaves for the way back.
#[derive(Debug)]
struct Step<T> {
    sight: Option<Sight>,
    /// Output, after ReLU.
    output: Vec<T>,
    /// Patches of a convolution.
    patches: Vec<T>,
    /// Elements that a max pool chose.
    chosen: Vec<u32>,
}

impl<T: Real> Pass<T> {
    /// Memory for passes of at most `capacity` images through networks with the layers
    /// of `network`.
    #[must_use]
    pub fn new(network: &FloatNetwork<T>, capacity: usize) -> Self {
        let step = |layer: &FloatLayer| {
            let positions = layer.output().positions();
            let (sight, patches, chosen) = match layer.op() {
                Op::Conv { window, .. } => {
                    (Some(window), positions * layer.op().depth(layer.input()), 0)
                }
                Op::DepthwiseConv { window, .. } | Op::AveragePool(window) => (Some(window), 0, 0),
                Op::MaxPool(window) => (Some(window), 0, layer.output().len()),
                Op::Dense { .. } => (None, 0, 0),
            };
            Step {
                sight: sight.map(|window| Sight::new(window, layer.input())),
                output: vec![T::default(); capacity * layer.output().len()],
                patches: vec![T::default(); capacity * patches],
                chosen: vec![0; capacity * chosen],
            }
        };
        Self {
            steps: network.layers().iter().map(step).collect(),
            delta: Vec::new(),
            delta_before: Vec::new(),
            capacity,
        }
    }

    /// Most images of one pass.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Computes the logits, `n` × classes, of `n` inputs.
    ///
    /// # Panics
    /// If `inputs` are not whole images or more than the capacity, or if the pass was
    /// made for other layers.
    pub fn forward(&mut self, network: &FloatNetwork<T>, inputs: &[T]) -> &[T] {
        let count = inputs.len() / network.input().len();
        assert!(count <= self.capacity && inputs.len() == count * network.input().len());
        for (index, layer) in network.layers().iter().enumerate() {
            let (before, rest) = self.steps.split_at_mut(index);
            let input = before.last().map_or(inputs, |step| &step.output);
            let input = &input[..count * layer.input().len()];
            rest[0].forward(layer, network.weights(index), network.biases(index), input);
        }
        self.steps.last().map_or(&[], |last| &last.output[..count * network.classes()])
    }

    /// The output of layer `index` in the last forward pass, ReLU included; what lies
    /// beyond that pass's images is undefined.
    ///
    /// # Panics
    /// If there is no such layer, as for a slice.
    #[must_use]
    pub fn output(&self, index: usize) -> &[T] {
        &self.steps[index].output
    }

    /// Adds to `gradient` (laid out as the network's parameters) the gradient of the
    /// cross-entropy of the softmax, summed over the images; returns that sum.
    ///
    /// A class is clamped to the last; a ReLU has gradient 0 at 0.
    ///
    /// # Panics
    /// As [`forward`](Self::forward), or if there are not as many labels as inputs or
    /// `gradient` is not as long as the parameters.
    pub fn gradient(
        &mut self,
        network: &FloatNetwork<T>,
        inputs: &[T],
        labels: &[u8],
        gradient: &mut [T],
    ) -> T {
        assert_eq!(gradient.len(), network.parameters().len());
        assert_eq!(inputs.len(), labels.len() * network.input().len());
        let mut delta = std::mem::take(&mut self.delta);
        let mut delta_before = std::mem::take(&mut self.delta_before);
        delta.clear();
        delta.extend_from_slice(self.forward(network, inputs));
        let loss = cross_entropy(&mut delta, labels, network.classes());
        for (index, layer) in network.layers().iter().enumerate().rev() {
            let (before, rest) = self.steps.split_at_mut(index);
            let input = before.last().map_or(inputs, |step| &step.output);
            let input = &input[..labels.len() * layer.input().len()];
            let step = &mut rest[0];
            if layer.relu() {
                for (delta, &output) in delta.iter_mut().zip(&step.output) {
                    *delta = if output > T::default() { *delta } else { T::default() };
                }
            }
            delta_before.clear();
            if index > 0 || matches!(layer.op(), Op::DepthwiseConv { .. }) {
                delta_before.resize(input.len(), T::default());
            }
            step.backward(
                layer,
                (input, network.weights(index)),
                &delta,
                gradient,
                &mut delta_before,
            );
            std::mem::swap(&mut delta, &mut delta_before);
        }
        (self.delta, self.delta_before) = (delta, delta_before);
        loss
    }
}

impl<T: Real> Step<T> {
    fn forward(&mut self, layer: &FloatLayer, weights: &[T], biases: &[T], input: &[T]) {
        let (input_len, output_len) = (layer.input().len(), layer.output().len());
        let count = input.len() / input_len;
        let output = &mut self.output[..count * output_len];
        if layer.is_weighted() {
            output.chunks_exact_mut(biases.len()).for_each(|row| row.copy_from_slice(biases));
        }
        let images = input.chunks_exact(input_len);
        match (layer.op(), &self.sight) {
            (Op::Conv { .. }, Some(sight)) => {
                let depth = layer.op().depth(layer.input());
                let patch_len = layer.output().positions() * depth;
                let patches = &mut self.patches[..count * patch_len];
                for (image, patches) in images.zip(patches.chunks_exact_mut(patch_len)) {
                    sight.patches(image, patches);
                }
                let weights = Matrix::new(weights, depth).transposed();
                multiply(Matrix::new(patches, depth), weights, output);
            }
            (Op::DepthwiseConv { .. }, Some(sight)) => {
                for (image, output) in images.zip(output.chunks_exact_mut(output_len)) {
                    sight.depthwise(image, weights, output);
                }
            }
            (Op::MaxPool(_), Some(sight)) => {
                let chosen = self.chosen.chunks_exact_mut(output_len);
                let outputs = output.chunks_exact_mut(output_len).zip(chosen);
                for (image, (output, chosen)) in images.zip(outputs) {
                    sight.max_pool(image, output, chosen);
                }
            }
            (Op::AveragePool(_), Some(sight)) => {
                for (image, output) in images.zip(output.chunks_exact_mut(output_len)) {
                    sight.average_pool(image, output);
                }
            }
            (_, _) => {
                let weights = Matrix::new(weights, input_len).transposed();
                multiply(Matrix::new(input, input_len), weights, output);
            }
        }
        if layer.relu() {
            for value in output {
                *value = if *value > T::default() { *value } else { T::default() };
            }
        }
    }

    /// Adds to the gradient of the parameters, and to `delta_before`, the gradient of
    /// the input, unless that is empty because nobody needs it.
    fn backward(
        &mut self,
        layer: &FloatLayer,
        (input, weights): (&[T], &[T]),
        delta: &[T],
        gradient: &mut [T],
        delta_before: &mut [T],
    ) {
        let (input_len, output_len) = (layer.input().len(), layer.output().len());
        if layer.is_weighted() {
            let biases = &mut gradient[layer.biases()];
            delta.chunks_exact(biases.len()).for_each(|delta| add(biases, delta));
        }
        let gradient = &mut gradient[layer.weights()];
        let images = input.chunks_exact(input_len);
        let deltas = delta.chunks_exact(output_len);
        match (layer.op(), &self.sight) {
            (Op::Conv { filters, .. }, Some(sight)) => {
                let depth = layer.op().depth(layer.input());
                let patch_len = layer.output().positions() * depth;
                let patches = &mut self.patches[..images.len() * patch_len];
                let delta = Matrix::new(delta, filters);
                multiply(delta.transposed(), Matrix::new(patches, depth), gradient);
                if delta_before.is_empty() {
                    return;
                }
                // The patches have served; their memory takes the patches' gradient.
                patches.fill(T::default());
                multiply(delta, Matrix::new(weights, depth), patches);
                let before = delta_before.chunks_exact_mut(input_len);
                for (patches, before) in patches.chunks_exact(patch_len).zip(before) {
                    sight.add_patches(patches, before);
                }
            }
            (Op::DepthwiseConv { .. }, Some(sight)) => {
                let before = delta_before.chunks_exact_mut(input_len);
                for ((image, delta), before) in images.zip(deltas).zip(before) {
                    sight.depthwise_back((image, weights), delta, gradient, before);
                }
            }
            (Op::MaxPool(_), _) => {
                let before = delta_before.chunks_exact_mut(input_len);
                let chosen = self.chosen.chunks_exact(output_len);
                for ((delta, chosen), before) in deltas.zip(chosen).zip(before) {
                    for (&delta, &index) in delta.iter().zip(chosen) {
                        before[index as usize] += delta;
                    }
                }
            }
            (Op::AveragePool(_), Some(sight)) => {
                let before = delta_before.chunks_exact_mut(input_len);
                for (delta, before) in deltas.zip(before) {
                    sight.average_pool_back(delta, before);
                }
            }
            (_, _) => {
                let delta = Matrix::new(delta, output_len);
                multiply(delta.transposed(), Matrix::new(input, input_len), gradient);
                if !delta_before.is_empty() {
                    multiply(delta, Matrix::new(weights, input_len), delta_before);
                }
            }
        }
    }
}

/// Turns logits into the gradient of their summed cross-entropy, and returns that sum.
fn cross_entropy<T: Real>(logits: &mut [T], labels: &[u8], classes: usize) -> T {
    let mut loss = T::default();
    for (logits, &label) in logits.chunks_exact_mut(classes).zip(labels) {
        let label = usize::from(label).min(classes - 1);
        let largest = logits.iter().fold(logits[0], |a, &b| if b > a { b } else { a });
        let wanted = logits[label];
        let mut sum = T::default();
        for value in logits.iter_mut() {
            *value = (*value - largest).exp();
            sum += *value;
        }
        logits.iter_mut().for_each(|value| *value = *value / sum);
        logits[label] += -T::from(1.0);
        loss += sum.ln() - (wanted - largest);
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirage_core::nn::{Padding, Shape, Window};
    use mirage_core::rng::Stream;

    const SAME: Padding = Padding::Same;
    const VALID: Padding = Padding::Valid;

    fn conv(size: usize, stride: usize, padding: Padding, filters: usize) -> Op {
        Op::Conv { window: Window::square(size, stride, padding), filters }
    }

    fn depthwise(size: usize, stride: usize, padding: Padding, multiplier: usize) -> Op {
        Op::DepthwiseConv { window: Window::square(size, stride, padding), multiplier }
    }

    /// Compares every component of the gradient with a central difference, in f64.
    fn check(input: Shape, layers: &[(Op, bool)]) {
        let mut network = FloatNetwork::<f64>::new(input, layers).unwrap();
        network.initialize(3);
        let mut stream = Stream::new(5, 0, 0);
        for layer in 0..network.layers().len() {
            let biases = network.layers()[layer].biases();
            for bias in &mut network.parameters_mut()[biases] {
                *bias = f64::from(stream.unit() - 0.5);
            }
        }
        let labels = [0, 2, 1];
        let inputs: Vec<f64> =
            (0..labels.len() * input.len()).map(|_| f64::from(stream.unit() - 0.4)).collect();
        let mut pass = Pass::new(&network, 4);
        let mut gradient = vec![0.0; network.parameters().len()];
        pass.gradient(&network, &inputs, &labels, &mut gradient);

        let step = 1e-6;
        let mut scratch = gradient.clone();
        for (index, &analytic) in gradient.iter().enumerate() {
            let mut loss_at = |offset: f64| {
                let kept = network.parameters()[index];
                network.parameters_mut()[index] = kept + offset;
                let loss = pass.gradient(&network, &inputs, &labels, &mut scratch);
                network.parameters_mut()[index] = kept;
                loss
            };
            let numeric = (loss_at(step) - loss_at(-step)) / (2.0 * step);
            let error = (analytic - numeric).abs() / (1.0 + numeric.abs());
            assert!(error < 1e-7, "parameter {index}: {analytic} but {numeric} by difference");
        }
        for layer in network.layers().iter().filter(|layer| layer.is_weighted()) {
            assert!(gradient[layer.weights()].iter().any(|&g| g != 0.0), "{layer:?}");
        }
    }

    fn shape(height: usize, width: usize, channels: usize) -> Shape {
        Shape { height, width, channels }
    }

    const LOGITS: (Op, bool) = (Op::Dense { units: 3 }, false);

    #[test]
    fn gradients_of_dense_layers() {
        check(shape(2, 3, 2), &[(Op::Dense { units: 7 }, true), LOGITS]);
        check(shape(1, 1, 4), &[LOGITS]);
    }

    #[test]
    fn gradients_of_convolutions() {
        for (size, stride, padding) in
            [(3, 1, VALID), (3, 2, VALID), (3, 1, SAME), (3, 2, SAME), (2, 3, SAME), (4, 1, SAME)]
        {
            let layers =
                [(conv(size, stride, padding, 4), true), (conv(2, 1, SAME, 3), true), LOGITS];
            check(shape(7, 6, 2), &layers);
        }
        let oblong = Window { height: 2, width: 3, stride_y: 1, stride_x: 2, padding: SAME };
        check(shape(5, 8, 1), &[(Op::Conv { window: oblong, filters: 2 }, false), LOGITS]);
    }

    #[test]
    fn gradients_of_depthwise_convolutions() {
        for (size, stride, padding, multiplier) in
            [(3, 1, SAME, 1), (3, 2, SAME, 2), (3, 1, VALID, 3), (2, 2, VALID, 1)]
        {
            let layers = [
                (conv(1, 1, VALID, 3), true),
                (depthwise(size, stride, padding, multiplier), true),
                LOGITS,
            ];
            check(shape(6, 5, 2), &layers);
        }
        check(shape(5, 5, 2), &[(depthwise(3, 2, SAME, 2), true), LOGITS]);
    }

    #[test]
    fn gradients_of_pools() {
        for padding in [VALID, SAME] {
            for (size, stride) in [(2, 2), (3, 2), (3, 1)] {
                let window = Window::square(size, stride, padding);
                for pool in [Op::MaxPool(window), Op::AveragePool(window)] {
                    let layers = [(conv(3, 1, VALID, 3), true), (pool, false), LOGITS];
                    check(shape(7, 7, 1), &layers);
                }
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_batch() {
        let layers = [(conv(3, 1, SAME, 5), true), LOGITS];
        let mut network = FloatNetwork::<f64>::new(shape(6, 6, 1), &layers).unwrap();
        network.initialize(1);
        let inputs: Vec<f64> = (0..3 * 36).map(|i| f64::from(i % 17) / 17.0).collect();
        let together = Pass::new(&network, 3).forward(&network, &inputs).to_vec();
        let mut pass = Pass::new(&network, 3);
        for (input, expected) in inputs.chunks(36).zip(together.chunks(3)) {
            for (a, b) in pass.forward(&network, input).iter().zip(expected) {
                assert!((a - b).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn cross_entropy_of_even_logits() {
        let mut logits = [1.5f64; 4];
        let loss = cross_entropy(&mut logits, &[1], 4);
        assert!((loss - 4f64.ln()).abs() < 1e-15);
        assert_eq!(logits, [0.25, -0.75, 0.25, 0.25]);
    }
}
