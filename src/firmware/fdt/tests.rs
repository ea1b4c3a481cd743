//! Device trees.
