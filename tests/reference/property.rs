//! How the property tests run.

use proptest::test_runner::{Config, FileFailurePersistence};

/// That many cases; failing seeds are kept in `data/<name>.regressions`, to be tried
/// first from then on.
#[must_use]
pub fn config(name: &str, cases: u32) -> Config {
    let file = crate::data::own(&format!("{name}.regressions"));
    // Proptest wants a name that lives as long as the program.
    let file: &'static str = Box::leak(file.display().to_string().into_boxed_str());
    let persistence = FileFailurePersistence::Direct(file);
    Config { cases, failure_persistence: Some(Box::new(persistence)), ..Config::default() }
}
