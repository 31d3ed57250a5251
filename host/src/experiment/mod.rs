//! Evolution on a workstation: many threads, and a folder that survives anything.
//!
//! [`plan`] says what is to be computed, [`engine`] computes generations, [`folder`]
//! and [`journal`] keep them on disk ([`checkpoint`], [`log`], [`record`],
//! [`summary`], [`groups`]), and [`run`] ties them together. [`transfer`] shows what came
//! out to other networks, [`ablation`] takes repeated elements ([`repetition`]) out of it,
//! [`diversity`] compares runs, and [`phylogeny`] tells who descends from whom.

pub mod ablation;
pub mod checkpoint;
pub mod diversity;
pub mod engine;
pub mod folder;
pub mod groups;
pub mod journal;
pub mod log;
mod permutation;
pub mod phylogeny;
pub mod plan;
pub mod record;
pub mod repetition;
pub mod run;
pub mod summary;
pub mod transfer;
