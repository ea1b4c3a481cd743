//! `slab_debug=`: debug flags of caches by their names, from the command line (Linux:
//! setup_slub_debug, kmem_cache_flags, kmem_cache_open in mm/slub.c).
//!
//! `slab_debug[=LETTERS][,CACHE...][;[LETTERS][,CACHE...]]...`, or `slub_debug`. A cache's name
//! may end in `*`. The first block that names a cache is the one that counts; of blocks without
//! names the last, for caches that none names. No letters are those of the first four rows.
//!
//! | letter | what it does |
//! | --- | --- |
//! | F | consistency checks |
//! | Z | red zones |
//! | P | poison |
//! | U | who allocated and who freed |
//! | T | logs each allocation and free |
//! | A | `failslab=` fails these caches, and no others |
//! | O | wherever it stands: no Z, P and U where they would take an object a larger block |
//! | - | nothing of what stands before it in its block |
#![deny(unsafe_code)]

use super::failslab;
use super::flags::{CreateError, SlabFlags};
use super::layout::CacheLayout;
use crate::addr::Order;
use crate::machine_local;
use crate::sync::Once;

#[cfg(test)]
mod tests;

machine_local! {
    static SLAB_DEBUG: Once<SlabDebug> = Once::new();
}

/// Contents of `slab_debug=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlabDebug(&'static str);

/// The letters of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Letters {
    flags: SlabFlags,
    /// O is one of them.
    no_higher_order: bool,
}

impl SlabDebug {
    /// Reads the value of `slab_debug=`.
    ///
    /// # Errors
    /// The first letter that is none.
    pub fn parse(value: &'static str) -> Result<Self, char> {
        blocks(value).try_for_each(|(letters, _)| Letters::parse(letters).map(drop))?;
        Ok(Self(value))
    }

    fn letters(self) -> impl Iterator<Item = Letters> {
        blocks(self.0).filter_map(|(letters, _)| Letters::parse(letters).ok())
    }

    /// The flags of the cache `name`.
    fn select(self, name: &str) -> SlabFlags {
        let mut of_all = SlabFlags::empty();
        for (letters, names) in blocks(self.0) {
            let flags = Letters::parse(letters).map_or(SlabFlags::empty(), |l| l.flags);
            match names {
                None => of_all = flags,
                Some(names) if names.split(',').any(|n| matches(n, name)) => return flags,
                Some(_) => {}
            }
        }
        of_all
    }
}

impl Letters {
    fn parse(text: &str) -> Result<Self, char> {
        let mut letters = Self { flags: SlabFlags::empty(), no_higher_order: false };
        if text.is_empty() {
            letters.flags = SlabFlags::DEBUG_DEFAULT;
        }
        for letter in text.chars() {
            letters.flags |= match letter.to_ascii_uppercase() {
                'F' => SlabFlags::CONSISTENCY_CHECKS,
                'Z' => SlabFlags::RED_ZONE,
                'P' => SlabFlags::POISON,
                'U' => SlabFlags::STORE_USER,
                'T' => SlabFlags::TRACE,
                'A' => SlabFlags::FAILSLAB,
                'O' => {
                    letters.no_higher_order = true;
                    continue;
                }
                '-' => {
                    letters.flags = SlabFlags::empty();
                    continue;
                }
                _ => return Err(letter),
            };
        }
        Ok(letters)
    }
}

/// Says which caches are debugged; before [`kmem_cache_init`](super::kmem_cache_init), once.
pub fn set_slab_debug(value: SlabDebug) {
    SLAB_DEBUG.call_once(|| value);
    if value.letters().any(|letters| letters.flags.contains(SlabFlags::FAILSLAB)) {
        failslab::set_failslab_cache_filter(true);
    }
}

/// The flags that the command line gives the cache `name`.
pub(super) fn kmem_cache_flags(name: &str) -> SlabFlags {
    SLAB_DEBUG.get().map_or(SlabFlags::empty(), |value| value.select(name))
}

/// The layout for objects of `size` bytes at multiples of `align`, and what is left of `flags`
/// where the command line has an O.
pub(super) fn debug_layout(
    size: usize,
    align: usize,
    flags: SlabFlags,
    has_ctor: bool,
) -> Result<(CacheLayout, SlabFlags), CreateError> {
    let layout = CacheLayout::new(size, align, flags, has_ctor)?;
    let may_grow = !SLAB_DEBUG.get().is_some_and(|v| v.letters().any(|l| l.no_higher_order));
    if may_grow || Some(layout.min_order) <= Order::for_bytes(size) {
        return Ok((layout, flags));
    }
    let flags = flags - SlabFlags::DEBUG_METADATA;
    Ok((CacheLayout::new(size, align, flags, has_ctor)?, flags))
}

/// Each block's letters, and the names of its caches if it has any. Those with nothing in them
/// are left out; but nothing at all is a block without letters.
fn blocks(value: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let blocks = value.split(';').filter(move |block| value.is_empty() || !block.is_empty());
    blocks.map(|block| match block.split_once(',') {
        Some((letters, names)) => (letters, Some(names)),
        None => (block, None),
    })
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}
