//! Misuse is found on free, and named (Linux: free_page_is_bad, bad_page).
#![deny(unsafe_code)]

use super::buddy::buddy_order;
use crate::addr::{Order, Pfn};
use crate::mm::mmzone::Migratetype;
use crate::mm::page::{Frame, PageFlags, PageType};
use core::fmt;

/// State of a frame in the page allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No RAM is there.
    Hole,
    /// Taken out for good: bad memory.
    Poisoned,
    /// Frame of a section that is offline.
    Offline,
    /// Frame of a free block.
    Free {
        /// First frame of the block.
        head: Frame,
        /// Order of the block.
        order: Order,
    },
    /// Frame of a block on a per-CPU list.
    PerCpu {
        /// First frame of the block.
        head: Frame,
        /// Order of the block.
        order: Order,
    },
    /// Frame of an allocated block.
    Allocated {
        /// First frame of the block.
        head: Frame,
        /// Order of the block.
        order: Order,
        /// Number of references.
        refcount: u32,
    },
    /// Never the allocator's.
    Reserved,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hole => f.write_str("a hole"),
            Self::Poisoned => f.write_str("poisoned"),
            Self::Offline => f.write_str("offline"),
            Self::Free { head, order } => write!(f, "free, in {head:?} of order {order}"),
            Self::PerCpu { head, order } => {
                write!(f, "free, on a per-CPU list, in {head:?} of order {order}")
            }
            Self::Allocated { head, order, refcount } => {
                write!(f, "allocated, in {head:?} of order {order}, refcount {refcount}")
            }
            Self::Reserved => f.write_str("reserved"),
        }
    }
}

/// Finds out what `frame` is, by looking for a head at each place where the head of a
/// block around it may be. A frame whose state changes meanwhile may be told as none of both.
#[must_use]
pub fn state_of(frame: Frame) -> State {
    if frame.page().is_type(PageType::Hole) {
        return State::Hole;
    }
    for around in Order::ZERO.and_up() {
        let head = frame.align_down(around);
        let page = head.page();
        if let Some(order) = buddy_order(head) {
            if order >= around {
                return State::Free { head, order };
            }
            continue;
        }
        let Some(order) = Order::new(page.order()).filter(|&order| order >= around) else {
            continue;
        };
        if page.is_type(PageType::Pcp) {
            return State::PerCpu { head, order };
        }
        if page.is_in_use() {
            return State::Allocated { head, order, refcount: page.refcount() };
        }
    }
    if frame.page().flags().contains(PageFlags::HWPOISON) {
        return State::Poisoned;
    }
    if frame.page().is_type(PageType::Offline) {
        return State::Offline;
    }
    State::Reserved
}

/// Panics with the reason why a block can't be freed.
#[cold]
#[inline(never)]
#[track_caller]
pub(super) fn bad_free(frame: Frame, order: Order) -> ! {
    let page = frame.page();
    let state = state_of(frame);
    let why = match state {
        State::Free { .. } | State::PerCpu { .. } => "double free",
        State::Hole | State::Reserved => "free of what was never allocated",
        State::Poisoned => "free of bad memory",
        State::Offline => "free of memory that is offline",
        State::Allocated { head, .. } if head != frame => "free of the inside of a block",
        State::Allocated { order: was, .. } if was != order => "free with the wrong order",
        State::Allocated { refcount, .. } if refcount != 1 => "free of a page that others hold",
        State::Allocated { .. } => "free of a page that is still marked as in use",
    };
    panic!(
        "page allocator: {why}: {frame:?} as order {order}: it is {state}, flags {:?}, mapcount {}",
        page.marks(),
        page.mapcount()
    );
}

#[cold]
#[inline(never)]
pub(in crate::mm) fn corrupted_list(frame: Frame, order: Order, mt: Migratetype) -> ! {
    let page = frame.page();
    panic!(
        "page allocator: corrupted free list of order {order} {mt} at {frame:?}: \
         prev {:?}, next {:?}, flags {:?}",
        page.prev(),
        page.next(),
        page.marks()
    );
}

/// A range handed to the allocator is not its to take.
#[cold]
#[inline(never)]
#[track_caller]
pub(in crate::mm) fn bad_range(pfn: Pfn, what: &str) -> ! {
    panic!(
        "page allocator: {what}: frame {:#x} {}",
        pfn.get(),
        match Frame::new(pfn) {
            Some(frame) => Described(Some(state_of(frame))),
            None => Described(None),
        }
    );
}

struct Described(Option<State>);

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(state) => write!(f, "is {state}"),
            None => f.write_str("has no descriptor"),
        }
    }
}
