//! The `mirage` command as a user meets it: every run of the real program.
//!
//! Errors: exit code 2, nothing on standard output, one line on standard error that
//! begins with `error: ` and names the file or option, and no file changed.

mod ablate;
mod ascend;
mod bad_data;
mod bad_folder;
mod bad_model;
mod bad_option;
#[cfg(unix)]
mod board;
mod colour;
#[cfg(unix)]
mod device;
mod diversity;
mod guard;
mod lineage;
mod models;
mod output;
mod program;
mod reproduce;
mod resume;
mod retrain;
mod retrain_head;
mod transfer;
