//! A model with a record for each page, and the calls on it.

use super::*;
use std::vec::Vec;

/// A page of the model.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Page {
    pub prot: u32,
    pub locked: bool,
    pub dontfork: bool,
    pub nohugepage: bool,
    /// Promised.
    pub accounted: bool,
    /// Its contents: the number of the write, 0 after a read, or none.
    pub contents: Option<u32>,
}

/// The pages of a window of the address space.
pub(super) struct Pages(pub Vec<Option<Page>>);

impl Pages {
    pub fn new(count: usize) -> Self {
        Self(std::vec![None; count])
    }

    pub fn map(&mut self, start: usize, count: usize, prot: u32, nohugepage: bool) {
        let accounted = prot & uapi::PROT_WRITE != 0;
        let page =
            Page { prot, locked: false, dontfork: false, nohugepage, accounted, contents: None };
        self.0[start..start + count].fill(Some(page));
    }

    pub fn unmap(&mut self, start: usize, count: usize) {
        self.0[start..start + count].fill(None);
    }

    /// Calls `f` for each page up to the first hole; whether there is none.
    pub fn up_to_hole(&mut self, start: usize, count: usize, mut f: impl FnMut(&mut Page)) -> bool {
        for page in &mut self.0[start..start + count] {
            match page {
                Some(page) => f(page),
                None => return false,
            }
        }
        true
    }

    /// Calls `f` for each page that is there; whether there is no hole.
    pub fn each(&mut self, start: usize, count: usize, mut f: impl FnMut(&mut Page)) -> bool {
        let pages = &mut self.0[start..start + count];
        let whole = pages.iter().all(Option::is_some);
        pages.iter_mut().flatten().for_each(&mut f);
        whole
    }

    /// Compares with an address space whose window begins at [`BASE`].
    pub fn compare(&self, mm: &Mm) {
        mm.validate();
        let mut at = BASE;
        let space = mm.space.read();
        for vma in space.vmas.iter() {
            while at < vma.start().get() {
                assert_eq!(
                    self.0[(at - BASE) / PAGE_SIZE],
                    None,
                    "page {}",
                    (at - BASE) / PAGE_SIZE
                );
                at += PAGE_SIZE;
            }
            while at < vma.end() {
                let number = (at - BASE) / PAGE_SIZE;
                let page = self.0[number].unwrap_or_else(|| panic!("page {number} is mapped"));
                let flags = vma.flags();
                let found = (
                    (flags & VmFlags::ACCESS).bits() as u32,
                    flags.contains(VmFlags::LOCKED),
                    flags.contains(VmFlags::DONTCOPY),
                    flags.contains(VmFlags::NOHUGEPAGE),
                    flags.contains(VmFlags::ACCOUNT),
                );
                let expected =
                    (page.prot, page.locked, page.dontfork, page.nohugepage, page.accounted);
                assert_eq!(found, expected, "page {number}");
                let contents = match mm.tables().entry(at) {
                    None => None,
                    Some(Entry::Page(number)) => Some(number),
                    Some(Entry::Guard) => panic!("a guard"),
                };
                assert_eq!(contents, page.contents, "contents of page {number}");
                at += PAGE_SIZE;
            }
        }
        let rest = (at - BASE) / PAGE_SIZE;
        assert!(self.0[rest..].iter().all(Option::is_none), "pages after {rest}");
    }

    /// Number of pages that are there, that are locked, and that are promised.
    pub fn totals(&self) -> (u64, u64, u64) {
        let count =
            |f: fn(&Page) -> bool| self.0.iter().flatten().filter(|page| f(page)).count() as u64;
        (count(|_| true), count(|page| page.locked), count(|page| page.accounted))
    }
}
