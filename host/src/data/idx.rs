//! IDX files.
