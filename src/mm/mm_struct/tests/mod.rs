//! The memory calls, on tables that are a map.

mod calls;
mod limits;
mod pages;
mod random;

use super::{Layout, Limits, MmStruct, MmapArgs};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, UserAddr, UserRange};
use crate::errno::Errno;
use crate::mm::vma::tests::on_machine;
use crate::mm::vma::{Access, Fault, PageState, PageTables, VmFlags, Vma};
use linux_raw_sys::general as uapi;
use std::collections::BTreeMap;
use std::string::String;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Contents of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Entry {
    /// A page, that was written for the `n`th time.
    Page(u32),
    Guard,
}

/// Tables that are a map of pages.
#[derive(Default)]
struct Map {
    entries: Mutex<BTreeMap<u64, Entry>>,
    writes: std::sync::atomic::AtomicU32,
    /// The next move fails halfway.
    move_fails: AtomicBool,
}

fn numbers(range: UserRange) -> core::ops::Range<u64> {
    (range.start().get() >> PAGE_SHIFT) as u64..(range.end() >> PAGE_SHIFT) as u64
}

impl Map {
    fn entry(&self, at: usize) -> Option<Entry> {
        self.entries.lock().unwrap().get(&((at >> PAGE_SHIFT) as u64)).copied()
    }
    fn take(&self, range: UserRange) -> BTreeMap<u64, Entry> {
        let mut entries = self.entries.lock().unwrap();
        let mut taken = entries.split_off(&numbers(range).start);
        entries.append(&mut taken.split_off(&numbers(range).end));
        taken
    }
}

impl PageTables for Map {
    fn zap(&self, range: UserRange) {
        self.take(range);
    }
    fn zap_pages(&self, range: UserRange) {
        let taken = self.take(range);
        let guards = taken.into_iter().filter(|(_, entry)| *entry == Entry::Guard);
        self.entries.lock().unwrap().extend(guards);
    }
    fn free_tables(&self, hole: UserRange) {
        let entries = self.entries.lock().unwrap();
        assert_eq!(entries.range(numbers(hole)).next(), None, "tables that are in use");
    }
    fn change_protection(&self, range: UserRange, vma: &Vma) {
        let all = vma.range();
        assert!(all.start() <= range.start() && range.end() <= all.end());
    }
    fn move_tables(&self, from: UserAddr, to: UserAddr, len: usize) -> Result<(), usize> {
        let fails = self.move_fails.swap(false, Relaxed);
        let moved = if fails { (len / 2) & !(PAGE_SIZE - 1) } else { len };
        let taken = self.take(UserRange::from_size(from, moved).unwrap());
        let (from, to) = ((from.get() >> PAGE_SHIFT) as u64, (to.get() >> PAGE_SHIFT) as u64);
        let mut entries = self.entries.lock().unwrap();
        for (page, entry) in taken {
            assert_eq!(entries.insert(page - from + to, entry), None);
        }
        if fails { Err(moved) } else { Ok(()) }
    }
    fn handle_mm_fault(
        &self,
        _: u32,
        vma: &Vma,
        at: UserAddr,
        access: Access,
    ) -> Result<(), Fault> {
        assert!(vma.range().contains(at));
        let private_write = access == Access::Write && !vma.flags().contains(VmFlags::SHARED);
        assert!(!private_write || !vma.anon().is_none(), "a page without an identity");
        let page = (at.get() >> PAGE_SHIFT) as u64;
        let mut entries = self.entries.lock().unwrap();
        let number = 1 + self.writes.fetch_add(1, Relaxed);
        match entries.get_mut(&page) {
            Some(Entry::Guard) => return Err(Fault::MapErr),
            Some(entry) if access == Access::Write => *entry = Entry::Page(number),
            Some(_) => {}
            None => {
                let number = if access == Access::Write { number } else { 0 };
                entries.insert(page, Entry::Page(number));
            }
        }
        Ok(())
    }
    fn populate(&self, family: u32, vma: &Vma, range: UserRange, write: bool) -> Result<(), Fault> {
        let access = if write { Access::Write } else { Access::Read };
        numbers(range).try_for_each(|page| {
            let at = UserAddr::new((page as usize) << PAGE_SHIFT).unwrap();
            if self.entry(at.get()).is_some_and(|entry| entry != Entry::Guard) {
                return Ok(());
            }
            self.handle_mm_fault(family, vma, at, access)
        })
    }
    fn install_guard(&self, range: UserRange) -> Result<(), Fault> {
        self.entries.lock().unwrap().extend(numbers(range).map(|page| (page, Entry::Guard)));
        Ok(())
    }
    fn remove_guard(&self, range: UserRange) {
        let taken = self.take(range);
        let pages = taken.into_iter().filter(|(_, entry)| *entry != Entry::Guard);
        self.entries.lock().unwrap().extend(pages);
    }
    fn resident(&self, range: UserRange, each: &mut dyn FnMut(UserAddr, PageState)) {
        for (&page, entry) in self.entries.lock().unwrap().range(numbers(range)) {
            let state = match entry {
                Entry::Page(n) => {
                    PageState::Page { anon: true, mappings: 1, young: true, dirty: *n > 0 }
                }
                Entry::Guard => PageState::Guard,
            };
            each(UserAddr::new((page as usize) << PAGE_SHIFT).unwrap(), state);
        }
    }
}

type Mm = MmStruct<Map>;

const ROOT: Limits = Limits::ROOT;
const BASE: usize = 0x7f_0000_0000;

fn new() -> Mm {
    Mm::new(Map::default(), 7, Layout::pick(ROOT.stack, None, false))
}

const ANON: u32 = uapi::MAP_PRIVATE | uapi::MAP_ANONYMOUS;
const R: u32 = uapi::PROT_READ;
const W: u32 = uapi::PROT_READ | uapi::PROT_WRITE;

/// Maps anonymous memory.
fn map(mm: &Mm, addr: usize, len: usize, prot: u32, flags: u32) -> Result<usize, Errno> {
    let args = MmapArgs { addr, len, prot, flags: ANON | flags, file: None, pgoff: 0 };
    mm.mmap(args, &ROOT).map(UserAddr::get)
}

/// Maps `count` pages at page `at` after [`BASE`].
fn fixed(mm: &Mm, at: usize, count: usize, prot: u32) {
    let addr = BASE + at * PAGE_SIZE;
    assert_eq!(map(mm, addr, count * PAGE_SIZE, prot, uapi::MAP_FIXED), Ok(addr));
}

fn write(mm: &Mm, at: usize) -> Result<(), Fault> {
    mm.handle_fault(UserAddr::new(at).unwrap(), Access::Write)
}

/// Lines of the areas, as `from-to rights`, in pages after [`BASE`].
fn areas(mm: &Mm) -> String {
    mm.validate();
    let mut text = String::new();
    mm.write_maps(&mut text).unwrap();
    let lines = text.lines().map(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let page = |at| (i64::from_str_radix(at, 16).unwrap() - BASE as i64) / PAGE_SIZE as i64;
        std::format!("{}-{} {}", page(start), page(end), &rest[..4])
    });
    lines.collect::<std::vec::Vec<_>>().join(", ")
}
