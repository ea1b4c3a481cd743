//! Areas of users' address spaces (Linux: mm/vma.c, struct vm_area_struct).
//!
//! | file | what it has |
//! | --- | --- |
//! | `flags` | flags of areas, and the rights that they give |
//! | `area` | an area, and the identity of its anonymous pages |
//! | `name` | names of anonymous areas |
//! | `merge` | which areas may become one: pure functions |
//! | `tree` | the areas of an address space in order |
//! | `edit` | changes as values, carried out without failure |
//! | `totals` | page counts of areas |
//! | `gap` | the search for free addresses |
//! | `file` | who maps a file |
//! | `page_tables` | page tables, as the policy of areas uses them |
//!
//! # Changes
//! A change is computed first and is a value: an [`Insertion`], a [`Modification`] (at most two cuts,
//! or a merge with one or both neighbours) or a [`Removal`]. Then [`VmaTree::reserve`] makes room, which may fail, and
//! then the tree carries it out, which can't.
//!
//! # Invariants
//! Areas don't overlap, and each lies in the tree under its number. Two neighbours that may be
//! one can stand beside each other, as in Linux: only a change merges. All is under the address
//! space's lock.
#![deny(unsafe_code)]

mod area;
mod edit;
mod file;
mod flags;
mod gap;
mod merge;
mod name;
mod page_tables;
mod totals;
mod tree;

#[cfg(test)]
pub(crate) mod tests;

pub use crate::mm::filemap::VmFile;
pub use area::{AnonVma, Attributes, Vma};
pub use edit::{Insertion, Modification, Removal};
pub use flags::VmFlags;
pub use gap::UnmappedArea;
pub use merge::{Merge, Proposed, Side, can_merge, merge};
pub use name::{ANON_NAME_MAX, AnonName};
pub use page_tables::{Access, Fault, PageState, PageTables};
pub use totals::Totals;
pub use tree::{Hole, Place, VmaId, VmaTree};
