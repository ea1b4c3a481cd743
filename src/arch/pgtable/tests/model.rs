//! Random edits against a map of pages.
