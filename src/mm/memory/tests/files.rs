//! Pages of files: who maps them, what is counted, and truncation.

use super::*;
use crate::errno::Errno;
use crate::mm::filemap::{
    AddressSpace, FaultError, FileAccess, MappedFile, MmapArea, UnmapMapping, i_mmap_lock,
    register_unmap,
};
use crate::mm::page::Frame;
use core::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// A file whose pages are made when they are first asked for, each with its index in its first word.
struct TestFile {
    space: AddressSpace,
    pages: AtomicU64,
    faults: AtomicUsize,
}

impl TestFile {
    fn new(pages: u64) -> Self {
        let space = AddressSpace::new(true).expect("memory");
        Self { space, pages: AtomicU64::new(pages), faults: AtomicUsize::new(0) }
    }

    fn frame(&self, index: u64) -> Frame {
        self.space.find_get_page(index).expect("in the cache").frame()
    }

    fn word(&self, index: u64) -> u64 {
        word_at(self.frame(index).phys()).load(Relaxed)
    }

    fn truncate(&self, pages: u64) {
        self.pages.store(pages, Relaxed);
        self.space.truncate_range(pages, u64::MAX, true);
    }
}

impl MappedFile for TestFile {
    fn mapping(&self) -> &AddressSpace {
        &self.space
    }
    fn fault(&self, index: u64, _: bool) -> Result<Frame, FaultError> {
        self.faults.fetch_add(1, Relaxed);
        loop {
            if index >= self.pages.load(Relaxed) {
                return Err(FaultError::Sigbus);
            }
            if let Some(page) = self.space.find_get_page(index) {
                return Ok(page.into_raw());
            }
            let page =
                OwnedPage::alloc(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO).ok_or(FaultError::Oom)?;
            word_at(page.frame().phys()).store(index, Relaxed);
            if let Ok(page) = self.space.add(index, page, || index < self.pages.load(Relaxed)) {
                return Ok(page.into_raw());
            }
        }
    }
    fn id(&self) -> (u64, u64) {
        (0, 1)
    }
    fn fmt_path(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("test")
    }
    fn may(&self) -> FileAccess {
        FileAccess::READ | FileAccess::WRITE
    }
    fn on_map(&self, _: bool) -> Result<(), Errno> {
        Ok(())
    }
    fn is_shmem(&self) -> bool {
        true
    }
}

/// Address spaces are named by the addresses of their tables.
struct Unmap;

impl UnmapMapping for Unmap {
    fn zap(&self, mm: u64, range: UserRange, _: u32, even_cows: bool) {
        // SAFETY: the tables of a test that has an area of the file.
        let tables = unsafe { &*core::ptr::with_exposed_provenance::<UserTables>(mm as usize) };
        tables.zap(range, if even_cows { Zap::Pages } else { Zap::FilePages });
    }
}

fn name_of(tables: &UserTables) -> u64 {
    core::ptr::from_ref(tables).expose_provenance() as u64
}

fn of_file<'a>(
    rig: &Rig<'_>,
    file: &'a TestFile,
    first: usize,
    pages: usize,
    shared: bool,
) -> Area<'a> {
    let area = rig.area(first, pages, RW);
    Area { file: Some(file), pgoff: first as u64, shared, ..area }
}

fn counts(rig: &Rig<'_>) -> (usize, usize, usize) {
    let rss = |counter| rig.tables.rss(counter);
    (rss(MmCounter::Anon), rss(MmCounter::Shmem), node_page_state(None, NodeStat::FileMapped))
}

fn run(tcr: u64, f: impl Fn(&Rig<'_>, &TestFile)) {
    for seed in 0..SEEDS {
        Rig::run(seed, tcr, |rig| {
            let file = TestFile::new(100);
            f(rig, &file);
            rig.tables.validate().expect("all adds up");
            rig.tables.zap(range(0, 1000), Zap::All);
            assert_eq!(counts(rig), (0, 0, 0));
            for index in 0..100 {
                if let Some(page) = file.space.find_get_page(index) {
                    let page = page.frame().page();
                    assert_eq!((page.mapcount(), page.refcount()), (0, 2), "page {index}");
                }
            }
            file.truncate(0);
            drop(file);
            slab::shrink_all();
        });
    }
}

#[test]
fn private_areas_read_the_file_and_write_copies() {
    run(TCR, |rig, file| {
        let area = of_file(rig, file, 0, 100, false);
        assert_eq!(rig.read(&area, 33), Ok(33));
        assert_eq!(counts(rig), (0, 1, 1), "no other page was in the cache");
        rig.write(&area, 33, 1000).expect("may be written");
        assert_eq!((rig.read(&area, 33), file.word(33)), (Ok(1000), 33));
        assert_eq!(counts(rig), (1, 0, 0));
        // A write that finds nothing there.
        rig.write(&area, 50, 1001).expect("may be written");
        assert_eq!((rig.read(&area, 50), file.word(50)), (Ok(1001), 50));
        assert_eq!(counts(rig), (2, 0, 0));
        assert_eq!(rig.read(&Area { range: range(0, 200), ..area }, 100), Err(Fault::BusAdrErr));
    });
}

#[test]
fn a_read_maps_what_is_cached_around() {
    run(TCR, |rig, file| {
        let area = of_file(rig, file, 3, 90, false);
        for page in [4, 5, 15, 16, 31, 32] {
            assert_eq!(rig.read(&area, page), Ok(page as u64));
        }
        rig.tables.zap(range(0, 100), Zap::All);
        let before = file.faults.load(Relaxed);
        for page in [5, 4, 15] {
            assert_eq!(rig.read(&area, page), Ok(page as u64));
        }
        assert_eq!(file.faults.load(Relaxed) - before, 1, "those around came with it");
        assert_eq!(counts(rig), (0, 3, 3));
        for page in [16, 31] {
            assert_eq!(rig.read(&area, page), Ok(page as u64));
        }
        assert_eq!(file.faults.load(Relaxed) - before, 2);
        // The right to write is that of the area: a copy each.
        rig.write(&area, 4, 7).expect("may be written");
        assert_eq!((file.word(4), counts(rig)), (4, (1, 4, 4)));
    });
}

#[test]
fn shared_areas_write_to_the_file() {
    for tcr in [TCR, TCR | HAFDBS] {
        run(tcr, |rig, file| {
            let (a, b) = (of_file(rig, file, 0, 100, true), of_file(rig, file, 0, 100, true));
            rig.write(&a, 9, 77).expect("may be written");
            assert_eq!(rig.read(&a, 10), Ok(10));
            rig.write(&a, 10, 78).expect("may be written");
            assert_eq!((file.word(9), file.word(10)), (77, 78));
            // The same pages in another place.
            let there = Area { range: range(500, 100), ..b };
            assert_eq!(rig.read(&there, 509), Ok(77));
            assert_eq!(file.frame(9).page().mapcount(), 2);
            assert_eq!(counts(rig), (0, 4, 2), "9 and 10, each twice");
            rig.write(&there, 509, 79).expect("may be written");
            assert_eq!(rig.read(&a, 9), Ok(79));
            // Rights go and come.
            rig.tables.change_protection(range(0, 100), attrs(Prot::READ), true);
            let read = Area { attrs: attrs(Prot::READ), ..a };
            assert_eq!(rig.write(&read, 9, 1), Err(Fault::AccErr));
            assert_eq!(rig.read(&read, 9), Ok(79));
            rig.tables.change_protection(range(0, 100), attrs(RW), true);
            rig.write(&a, 9, 80).expect("may be written");
            assert_eq!((file.word(9), counts(rig)), (80, (0, 4, 2)));
            rig.tables.zap(range(500, 100), Zap::All);
            assert_eq!((file.frame(9).page().mapcount(), counts(rig)), (1, (0, 2, 2)));
        });
    }
}

#[test]
fn truncation_takes_pages_out_of_all_tables() {
    run(TCR, |rig, file| {
        register_unmap(&Unmap);
        let mm = name_of(&rig.tables);
        let whole = MmapArea { mm, start: VA, pgoff: 0, pages: 100 };
        i_mmap_lock().insert(&file.space, whole).expect("memory");
        let private = of_file(rig, file, 0, 100, false);
        for page in 0..40 {
            assert_eq!(rig.read(&private, page), Ok(page as u64));
        }
        rig.write(&private, 20, 1).expect("may be written");
        rig.write(&private, 30, 1).expect("may be written");
        file.truncate(25);
        assert_eq!(counts(rig), (1, 24, 24), "page 20 has a copy");
        assert_eq!(rig.read(&private, 24), Ok(24));
        for page in [25, 30, 39] {
            assert_eq!(rig.read(&private, page), Err(Fault::BusAdrErr));
        }
        i_mmap_lock().remove(&file.space, &whole);
    });
}

#[test]
fn code_is_made_visible_before_it_is_mapped() {
    run(TCR, |rig, file| {
        let code = attrs(Prot::READ | Prot::EXEC);
        let area = Area { attrs: code, ..of_file(rig, file, 0, 100, false) };
        rig.access(&area, address(3), Access::Exec).expect("may be executed");
        assert!(crate::arch::cache::take_synced(file.frame(3).phys()));
        let data = of_file(rig, file, 0, 100, true);
        rig.write(&data, 7, 7).expect("may be written");
        assert!(!crate::arch::cache::take_synced(file.frame(7).phys()));
        rig.tables.change_protection(range(7, 1), code, true);
        assert!(crate::arch::cache::take_synced(file.frame(7).phys()));
    });
}
