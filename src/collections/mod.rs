//! Data structures that know nothing of who uses them (Linux: lib/): trees and tables of slots in
//! pages that their user brings, and bitmaps over words that their user guards.
//!
//! | file | what it has | Linux |
//! | --- | --- | --- |
//! | `tree` | an augmented balanced tree over slot numbers | lib/rbtree.c |
//! | `range_tree` | a B+tree of ranges of pages that finds gaps | lib/maple_tree.c |
//! | `slots` | a growable table of slots, in single pages | lib/xarray.c, kmem_cache of the user |
//! | `bitmap` | the search for runs of clear bits | lib/bitmap.c |

pub mod bitmap;
pub mod range_tree;
pub mod slots;
pub mod tree;
