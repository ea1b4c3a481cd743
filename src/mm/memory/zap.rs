//! Taking memory out of an address space (Linux: zap_page_range_single, unmap_page_range).
#![deny(unsafe_code)]

use super::gather::Gather;
use super::locked::LockedTable;
use super::pte_page::frame_of;
use super::tables::UserTables;
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, UserAddr, UserRange};
use crate::arch::pgtable::{PteWord, Table, User};
use crate::mm::page::Frame;
use crate::mm::vmstat::{NodeStat, mod_node_page_state};

/// Selection of the entries that are taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zap {
    /// All.
    All,
    /// Entries of pages, and not what software keeps where no page is: guards stay (MADV_DONTNEED).
    Pages,
    /// Pages of files, and not the copies that were made of them (Linux: even_cows).
    FilePages,
    /// Guards, and nothing else (MADV_GUARD_REMOVE).
    Guards,
}

impl UserTables {
    /// Takes whatever `which` selects of `range`, whole pages, out of the tables, and frees the pages
    /// that nobody else has. Tables stay. Any context in which pages may be freed.
    pub fn zap(&self, range: UserRange, which: Zap) {
        let mut gather = Gather::new(self);
        let mut rest = Some(range);
        while let Some(range) = rest {
            rest = self.walk(|walk| {
                let (table, part) = walk.next_table(range)?;
                let done = match table.lock() {
                    Some(table) => zap_table(table, part, which, &mut gather),
                    // Given up: it is empty.
                    None => part.end(),
                };
                let from = UserAddr::new(done)?;
                UserRange::from_size(from, range.end() - done)
            });
            if gather.is_full() || gather.has_no_room() {
                gather.flush();
            }
        }
    }
}

/// Exclusive pages that lie in one block of descriptors, and so on one node.
struct Run {
    frame: Option<Frame>,
    pages: isize,
}

/// Number of bits of a page's address in a block of the largest order, which is of one node.
const BLOCK_SHIFT: u32 = PAGE_SHIFT + 10;

/// Takes entries of `part` out of a table. Returns the address that it came to.
#[inline(always)]
fn zap_table(
    mut table: LockedTable<'_>,
    part: UserRange,
    which: Zap,
    gather: &mut Gather<'_>,
) -> usize {
    let words = table.words();
    let first = Table::<User>::pte_index(part.start());
    let end = first + (part.len() >> PAGE_SHIFT);
    let (mut low, mut high) = (usize::MAX, 0);
    let mut emptied = 0;
    let mut at = first;
    let mut run = Run { frame: None, pages: 0 };
    let (mut own, mut count) = (gather.take_own(), 0);
    let mut block = u64::MAX;
    // Most pages are exclusive, and mapped as the one before.
    let mut kind = 0;
    while at < end {
        let index = at;
        at += 1;
        let pte = words.pte(index);
        if pte.is_none() {
            continue;
        }
        if pte.kind() != kind {
            if !is_selected(pte, which) {
                continue;
            }
            let was = words.take_pte(index, pte);
            emptied += 1;
            if !was.is_valid() {
                continue;
            }
            (low, high) = (low.min(index), index);
            if was.attrs().is_special() {
                continue;
            }
            if !was.attrs().is_exclusive() {
                gather.was_mapped_elsewhere(was);
                if gather.has_no_room() {
                    break;
                }
                continue;
            }
            if !was.may_change() {
                kind = was.kind();
            }
        } else {
            words.set_pte_relaxed(index, PteWord::NONE);
            emptied += 1;
            (low, high) = (low.min(index), index);
        }
        let frame = frame_of(pte);
        if pte.phys().get() >> BLOCK_SHIFT != block {
            run.count();
            block = pte.phys().get() >> BLOCK_SHIFT;
            run.frame = Some(frame);
        }
        run.pages += 1;
        frame.page().set_owner(0);
        frame.page().set_next(own.replace(frame));
        count += 1;
    }
    run.count();
    gather.put_own(own, count);
    table.add_used(-emptied);
    let to = part.start().get() + ((at - first) << PAGE_SHIFT);
    let start = part.start().get() - (first << PAGE_SHIFT);
    if let Some(from) = UserAddr::new(start + (low.min(high) << PAGE_SHIFT)).filter(|_| low <= high)
    {
        let bytes = (high + 1 - low) * PAGE_SIZE;
        if let Some(range) = UserRange::from_size(from, bytes) {
            gather.owe(range);
        }
    }
    to
}

fn is_selected(pte: PteWord, which: Zap) -> bool {
    match which {
        Zap::All => true,
        Zap::Pages => pte.is_valid(),
        Zap::Guards => !pte.is_valid(),
        Zap::FilePages => {
            pte.is_valid() && !pte.attrs().is_exclusive() && !pte.attrs().is_special()
        }
    }
}

impl Run {
    /// Counts the pages as mapped no more.
    #[inline(always)]
    fn count(&mut self) {
        if let Some(frame) = self.frame.take() {
            mod_node_page_state(frame, NodeStat::AnonMapped, -core::mem::take(&mut self.pages));
        }
    }
}
