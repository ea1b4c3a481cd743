//! Layout of objects in a slab, and slab sizes (Linux: calculate_sizes, calculate_order in
//! mm/slub.c).
//!
//! An object's slot is `size` bytes: with `RED_ZONE` a guarded gap of `red_left`, the
//! object itself, with `RED_ZONE` a guarded gap up to `red_end`, then the free link if
//! the object's own bytes must survive being free (a constructor ran over them, or they
//! hold poison) or are too few to hold it without the red zone's; otherwise the link
//! lies in the middle of the object, where an overflow from a neighbour is least likely
//! to reach it. With `STORE_USER` two tracks follow at `track`. Of a kmalloc class with red
//! zones or tracks the size that was asked for follows at `orig_size`. What is left from
//! `meta_end` on is padding. All offsets are from the start of the object.
#![deny(unsafe_code)]

use super::flags::{CreateError, SlabFlags};
use super::sheaf::SHEAF_OBJECTS;
use super::track::Track;
use crate::addr::{Order, PAGE_SIZE};

#[cfg(test)]
mod tests;

/// Bytes of a free link, and the least alignment of an object.
pub(super) const WORD: usize = 8;
/// Bytes of a cache line.
const CACHE_LINE: usize = 64;
/// The largest slab that is taken for the sake of packing (Linux: slab_max_order).
const MAX_ORDER: u8 = 3;
/// Number of objects that a slab should have at least. Linux takes it from the CPUs that there
/// are (slab_min_objects). Layouts are constants here, and those of a machine of eight CPUs.
const MIN_OBJECTS: usize = 4 * (8usize.ilog2() as usize + 2);

/// The geometry of a cache's objects and slabs. Sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CacheLayout {
    /// Size of the bytes that the user may use.
    pub object_size: u32,
    /// Distance from one object to the next.
    pub size: u32,
    /// Bytes of the red zone before the object.
    pub red_left: u32,
    /// End of the red zone; `object_size` without one.
    pub red_end: u32,
    /// Offset of the free link.
    pub offset: u32,
    /// Offset of the tracks of the last allocation and free of the object; 0 without them.
    pub track: u32,
    /// Offset of the size that was asked of kmalloc; 0 if it is not recorded.
    pub orig_size: u32,
    /// Offset of the padding.
    pub meta_end: u32,
    /// Alignment of every object's address.
    pub align: u32,
    /// The order of slabs.
    pub order: Order,
    /// The order that will do when memory is short.
    pub min_order: Order,
}

impl CacheLayout {
    /// The layout for objects of `object_size` bytes at multiples of `align`.
    pub const fn new(
        object_size: usize,
        align: usize,
        flags: SlabFlags,
        has_ctor: bool,
    ) -> Result<Self, CreateError> {
        if object_size == 0 || object_size > Order::MAX.bytes() {
            return Err(CreateError::Size);
        }
        // A slab is aligned to its own size, which is a multiple of its objects' alignment.
        if !align.is_power_of_two() || align > PAGE_SIZE && align > object_size {
            return Err(CreateError::Align);
        }
        let align = calculate_alignment(object_size, align, flags);
        let mut end = object_size.next_multiple_of(WORD);
        let (mut red_left, mut red_end) = (0, object_size);
        if flags.contains(SlabFlags::RED_ZONE) {
            if end == object_size {
                end += WORD;
            }
            red_end = end;
            red_left = align;
        }
        let keeps_size = flags.contains(SlabFlags::KMALLOC)
            && flags.intersects(SlabFlags::RED_ZONE.union(SlabFlags::STORE_USER));
        let outside = has_ctor
            || flags.intersects(SlabFlags::POISON.union(SlabFlags::TYPESAFE_BY_RCU))
            || flags.contains(SlabFlags::RED_ZONE) && (object_size < WORD || keeps_size);
        let offset = if outside { end } else { (object_size / 2) & !(WORD - 1) };
        if outside {
            end += WORD;
        }
        let mut track = 0;
        if flags.contains(SlabFlags::STORE_USER) {
            track = end;
            end += 2 * Track::BYTES;
        }
        let mut orig_size = 0;
        if keeps_size {
            orig_size = end;
            end += WORD;
        }
        let size = (red_left + end).next_multiple_of(align);
        let Some(min_order) = Order::for_bytes(size) else {
            return Err(CreateError::Size);
        };
        Ok(Self {
            object_size: object_size as u32,
            size: size as u32,
            red_left: red_left as u32,
            red_end: red_end as u32,
            offset: offset as u32,
            track: track as u32,
            orig_size: orig_size as u32,
            meta_end: end as u32,
            align: align as u32,
            order: calculate_order(size, min_order),
            min_order,
        })
    }

    /// Number of objects in a slab of `order`.
    #[inline]
    pub const fn objects(&self, order: Order) -> u16 {
        (order.bytes() as u32 / self.size) as u16
    }

    /// Number of objects that a sheaf holds at most: fewer if they are large, so that a CPU
    /// keeps only a few pages idle.
    pub const fn sheaf_capacity(&self) -> u32 {
        match self.size {
            0..256 => SHEAF_OBJECTS as u32,
            256..1024 => 28,
            1024..4096 => 12,
            _ => 6,
        }
    }

    /// Number of empty slabs to keep (Linux: set_min_partial).
    pub const fn min_partial(&self) -> usize {
        let half = self.size.ilog2() as usize / 2;
        if half < 5 {
            5
        } else if half > 10 {
            10
        } else {
            half
        }
    }
}

/// The alignment that `flags` make of the one asked for.
const fn calculate_alignment(size: usize, align: usize, flags: SlabFlags) -> usize {
    let mut wanted = if align < WORD { WORD } else { align };
    if flags.contains(SlabFlags::HWCACHE_ALIGN) {
        let mut line = CACHE_LINE;
        while size <= line / 2 && line > WORD {
            line /= 2;
        }
        if line > wanted {
            wanted = line;
        }
    }
    wanted
}

/// Chooses the order at which a slab holds enough objects and wastes little: at most a sixteenth
/// if possible, then an eighth, and so on; else the order that one object needs.
const fn calculate_order(size: usize, min_order: Order) -> Order {
    let largest = PAGE_SIZE << MAX_ORDER;
    if size > largest {
        return min_order;
    }
    let fit = largest / size;
    let objects = if fit < MIN_OBJECTS { fit } else { MIN_OBJECTS };
    let start = match Order::for_bytes(objects * size) {
        Some(order) => order.get(),
        None => MAX_ORDER,
    };
    let mut fraction = 16;
    while fraction > 1 {
        let mut order = start;
        while order <= MAX_ORDER {
            let bytes = PAGE_SIZE << order;
            if (bytes % size) * fraction <= bytes
                && let Some(order) = Order::new(order)
            {
                return order;
            }
            order += 1;
        }
        fraction /= 2;
    }
    min_order
}
