//! `slab_debug=`: debug flags of caches by their names, from the command line (Linux:
//! setup_slub_debug, kmem_cache_flags in mm/slub.c).
//!
//! `slab_debug[=FLAGS][,CACHE...][;[FLAGS][,CACHE...]]...`, or `slub_debug`. Flags are
//! F (consistency checks), Z (red zones), P (poison), U (users), none for all four, and `-`
//! for none at all. A cache's name may end in `*`. The last block that names a cache is the
//! one that counts; one without names is for those that no other block names.
#![deny(unsafe_code)]

use super::flags::SlabFlags;
use crate::machine_local;
use crate::sync::Once;

machine_local! {
    static SLAB_DEBUG: Once<&'static str> = Once::new();
}

/// Says which caches are debugged; before [`kmem_cache_init`](super::kmem_cache_init).
///
/// # Errors
/// The first letter that is no flag, with nothing changed.
pub fn setup_slab_debug(value: &'static str) -> Result<(), char> {
    for (flags, _) in blocks(value) {
        flags_of(flags)?;
    }
    SLAB_DEBUG.call_once(|| value);
    Ok(())
}

/// The flags that the command line gives the cache `name`.
pub(super) fn kmem_cache_flags(name: &str) -> SlabFlags {
    SLAB_DEBUG.get().map_or(SlabFlags::empty(), |value| select(value, name))
}

fn blocks(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(';').map(|block| block.split_once(',').unwrap_or((block, "")))
}

fn select(value: &str, name: &str) -> SlabFlags {
    let mut found = SlabFlags::empty();
    let mut named = false;
    for (flags, names) in blocks(value) {
        let flags = flags_of(flags).unwrap_or(SlabFlags::empty());
        if names.is_empty() {
            if !named {
                found = flags;
            }
        } else if names.split(',').any(|pattern| matches(pattern, name)) {
            (found, named) = (flags, true);
        }
    }
    found
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

fn flags_of(letters: &str) -> Result<SlabFlags, char> {
    match letters {
        "" => return Ok(SlabFlags::DEBUG),
        "-" => return Ok(SlabFlags::empty()),
        _ => {}
    }
    letters.chars().try_fold(SlabFlags::empty(), |flags, letter| {
        Ok(flags
            | match letter.to_ascii_uppercase() {
                'F' => SlabFlags::CONSISTENCY_CHECKS,
                'Z' => SlabFlags::RED_ZONE,
                'P' => SlabFlags::POISON,
                'U' => SlabFlags::STORE_USER,
                _ => return Err(letter),
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_name_flags_and_caches() {
        const F: SlabFlags = SlabFlags::CONSISTENCY_CHECKS;
        const Z: SlabFlags = SlabFlags::RED_ZONE;
        const P: SlabFlags = SlabFlags::POISON;
        const NONE: SlabFlags = SlabFlags::empty();
        let cases = [
            ("", "any", SlabFlags::DEBUG),
            ("-", "any", NONE),
            ("FZ", "any", F | Z),
            ("fzpu", "any", SlabFlags::DEBUG),
            (",kmalloc-64", "kmalloc-64", SlabFlags::DEBUG),
            (",kmalloc-64", "kmalloc-6", NONE),
            ("P,kmalloc-*,other", "kmalloc-8k", P),
            ("P,kmalloc-*,other", "other", P),
            ("P,kmalloc-*,other", "others", NONE),
            ("F;Z,one;P,two", "one", Z),
            ("F;Z,one;P,two", "two", P),
            ("F;Z,one;P,two", "three", F),
            ("Z,one;F", "one", Z),
            ("Z,one;P,one", "one", P),
            ("F;-,quiet", "quiet", NONE),
        ];
        for (value, name, flags) in cases {
            assert_eq!(select(value, name), flags, "{value:?} for {name}");
        }
        assert_eq!(flags_of("FX"), Err('X'));
        assert_eq!(setup_slab_debug("F;Q,one"), Err('Q'));
    }
}
