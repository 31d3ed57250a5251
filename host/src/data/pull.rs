//! Fetches data sets.
