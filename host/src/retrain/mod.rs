//! Retraining with fooling images as a class of their own.
//!
//! Nguyen, Yosinski and Clune 2015, section “Training networks to recognize fooling images”: a
//! network that has seen the images that fooled the one before it, as class n + 1, should not
//! be fooled by their like. On MNIST the next evolution finds others; on ImageNet it has a
//! harder time.
//!
//! [`mnist`] trains one network after the other from scratch; [`settings`] says how,
//! [`harvest`] is one run of evolution against one of them, [`folder`] keeps all on disk,
//! and [`record`] is what comes out.

pub mod folder;
pub mod harvest;
pub mod head;
pub mod mnist;
pub mod record;
pub mod settings;
