//! Tests that need what not every machine has say aloud that they are skipped.

use std::io::Write as _;

/// Says on the terminal that `test` is skipped, and why.
///
/// # Panics
/// If `MIRAGE_REQUIRE`, a list with commas, names `what`.
pub fn skip(test: &str, what: &str, why: &str) {
    let required = std::env::var("MIRAGE_REQUIRE").unwrap_or_default();
    if required.split(',').any(|word| word.trim() == what) {
        panic!("{test}: {why}, and MIRAGE_REQUIRE asks for {what}");
    }
    // Straight to the terminal: the test harness would swallow `eprintln!`.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {why}\n");
}
