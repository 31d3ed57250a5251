//! ONNX networks with a way back, from a class's score to the pixels of a picture.

use mirage_core::image::Shape;

use super::ModelError;
use super::crops::{Crop, Crops};
use super::file::{Described, File};
use super::input::Input;
use super::onnx::gradient::{Evaluation, GradientNetwork, Objective};

/// A network that tells what every pixel does to a class's score.
#[derive(Debug)]
pub struct GradientModel {
    name: String,
    sha256: String,
    network: GradientNetwork,
    input: Input,
    crop: Crop,
}

impl GradientModel {
    /// Loads a network by what [`Model::load`](super::Model::load) takes.
    ///
    /// # Errors
    /// If there is no such model, it is an int8 one, or an operator of it has no gradient.
    pub fn load(name: &str, objective: Objective) -> Result<Self, ModelError> {
        let file = File::find(name)?;
        if file.is_int8() {
            let reason = "an int8 network has no gradient".to_owned();
            return Err(ModelError::NoGradient { name: file.name, reason });
        }
        let Described { name, sha256, proto, description, source } = file.describe()?;
        let network = GradientNetwork::from_proto(proto, objective)
            .map_err(|reason| ModelError::NoGradient { name: name.clone(), reason })?;
        let input = Input::new(&description, network.input()).map_err(|reason| {
            ModelError::Description { name: name.clone(), reason: format!("{source}: {reason}") }
        })?;
        let crop = Crops::Center.of(input.picture(), network.input())[0];
        Ok(Self { name, sha256, network, input, crop })
    }

    /// Name of a built-in model, or the path as given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its file, hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Shape of the pictures that it judges.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.input.picture()
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.network.classes()
    }

    /// The picture that becomes an input of zeros, as far as pixels of 0 to 255 can.
    #[must_use]
    pub fn mean_picture(&self) -> Vec<f32> {
        self.input.mean_picture()
    }

    /// The network in use by one thread.
    #[must_use]
    pub fn session(&self) -> GradientSession<'_> {
        let values = self.network.input().len();
        GradientSession { model: self, values: vec![0.0; values], gradient: vec![0.0; values] }
    }
}

/// A [`GradientModel`] in use by one thread.
#[derive(Debug)]
pub struct GradientSession<'a> {
    model: &'a GradientModel,
    values: Vec<f32>,
    gradient: Vec<f32>,
}

impl GradientSession<'_> {
    /// What the middle of a picture, as large as the network's input, makes of a class, which
    /// there must be. Pixels lie in 0 to 255 and need not be whole; rows of channels side by
    /// side, as in a picture of bytes.
    ///
    /// Writes d objective / d pixel / [`Evaluation::scale`], 0 outside of the middle.
    ///
    /// # Errors
    /// If the lengths are not those of a picture, or the network fails.
    pub fn evaluate(
        &mut self,
        picture: &[f32],
        class: usize,
        gradient: &mut [f32],
    ) -> Result<Evaluation, ModelError> {
        let GradientModel { network, input, crop, .. } = self.model;
        if [picture.len(), gradient.len()] != [self.model.shape().len(); 2] {
            let lengths = format!("{} pixel values do not match it", picture.len());
            return Err(ModelError::Run(lengths));
        }
        input.write_floats(picture, *crop, &mut self.values);
        let evaluation =
            network.run(&self.values, class, &mut self.gradient).map_err(ModelError::Run)?;
        gradient.fill(0.0);
        input.pull(&self.gradient, *crop, gradient);
        Ok(evaluation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pixels_do_is_what_their_bytes_do() {
        let model = GradientModel::load("lenet-float", Objective::Logit).unwrap();
        let forward = super::super::Model::load("lenet-float").unwrap();
        let mut classifier =
            forward.classifier(crate::simd::Simd::detect(), Crops::Center).unwrap();
        let bytes: Vec<u8> = (0..784).map(|index| (index * 7 % 256) as u8).collect();
        let picture: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
        let mut scores = vec![0.0; 10];
        classifier.classify(&bytes, &mut scores).unwrap();
        let mut session = model.session();
        let mut gradient = vec![0.0; 784];
        for (class, &score) in scores.iter().enumerate() {
            let evaluation = session.evaluate(&picture, class, &mut gradient).unwrap();
            let expected = f64::from(score);
            assert!((evaluation.probability - expected).abs() < 1e-5, "{class}: {evaluation:?}");
            // Along the gradient, the logit rises as it says.
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
            let step = 0.02 / norm.sqrt();
            let moved = |sign: f64| -> Vec<f32> {
                let pixels = picture.iter().zip(&gradient);
                pixels.map(|(x, g)| (f64::from(*x) + sign * step * f64::from(*g)) as f32).collect()
            };
            let mut rest = vec![0.0; 784];
            let mut rise = |sign| session.evaluate(&moved(sign), class, &mut rest).unwrap();
            let rise = (rise(1.0).objective - rise(-1.0).objective) / (2.0 * step);
            assert!((rise / norm - 1.0).abs() < 0.02, "{class}: {rise} {norm}");
        }
        assert!(session.evaluate(&picture[1..], 0, &mut gradient).is_err());
        assert!(session.evaluate(&picture, 10, &mut gradient).is_err());
    }

    #[test]
    fn an_int8_network_is_refused() {
        let error = GradientModel::load("lenet", Objective::Probability).unwrap_err();
        assert!(matches!(error, ModelError::NoGradient { .. }), "{error}");
    }
}
