//! *mirage* on a workstation: models, runs on disk, training, reports, and the
//! command line. The algorithm itself is in [`mirage_core`].
//!
//! ```text
//! main → cli → commands → {retrain, guard} → {experiment, ascent, model, device, data, train}
//!     → mirage_core
//! reproduce ties experiments to reports, and to what the paper says
//! report knows only the run record, not how it was made; live only what a run tells it
//! ```

/// As `eprintln!`, but where standard error takes nothing it says nothing, instead of a panic.
macro_rules! complain {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub mod ascent;
pub mod cli;
pub mod commands;
pub mod data;
pub mod device;
pub mod experiment;
pub mod files;
pub mod genome;
pub mod guard;
pub mod image;
pub mod interrupt;
pub mod live;
pub mod model;
pub mod npz;
pub mod report;
pub mod reproduce;
pub mod retrain;
pub mod simd;
pub mod train;
mod words;
