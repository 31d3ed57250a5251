//! Gradient ascent: a picture follows the gradient of a class until the network is sure
//! of it.
//!
//! Where evolution only asks the network, this follows d objective / d pixel, which the
//! network's own weights give: the other of the two methods of Nguyen, Yosinski and Clune
//! 2015, after Simonyan, Vedaldi and Zisserman 2013. What is done in a step, and with what
//! numbers, is that of the code they published,
//! `caffe/ascent/find_fooling_image.py` of `Evolving-AI-Lab/fooling`.

pub mod climb;
pub mod record;
mod regularise;
pub mod run;
pub mod settings;
pub mod start;
mod window;
