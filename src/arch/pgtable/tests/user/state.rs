//! Access flag and dirty state, which no change of sizes loses: hardware with FEAT_HAFDBS may update
//! a block, or any entry of a contiguous set, until it is taken.

use super::*;

const BLOCK: usize = Level::Pmd.size() / PAGE_SIZE;

/// Runs `f` on a machine with hardware AF and DBM whose other CPU writes whenever that matters.
fn each(f: impl Fn(&mut Rig<'_>)) {
    for seed in 0..SEEDS {
        Rig::run(seed, TCR | HAFDBS, &f);
    }
}

fn write(rig: &Rig<'_>, n: usize) {
    let got = rig.mmu().access_as(CPU1, Mode::El0, page(n), Access::Write);
    assert_eq!(got, Ok(frame(n)));
}

#[test]
fn a_block_that_is_split_keeps_its_state() {
    each(|rig| {
        rig.map(0, BLOCK, data());
        rig.mmu().let_programs_write(true);
        rig.mapper().split(pages(0, 16)).unwrap();
        for n in [0, 1, 16, BLOCK - 1] {
            assert_eq!(rig.attrs(page(n)), data().young().dirty(), "page {n}");
        }
    });
}

#[test]
fn a_block_is_dirty_if_one_of_its_pages_was() {
    each(|rig| {
        rig.mapper().map(pages(0, BLOCK), M, data(), MapFlags::NO_BLOCK).unwrap();
        write(rig, 300);
        rig.mapper().collapse(pages(0, BLOCK)).unwrap();
        let found = rig.mapper().translate(page(7)).unwrap();
        assert_eq!((found.level, found.attrs), (Level::Pmd, data().young().dirty()));
        write(rig, 7);
    });
}

/// A program writes between the look at the pages and the break.
#[test]
fn a_block_is_dirty_if_a_page_becomes_so_meanwhile() {
    each(|rig| {
        rig.mapper().map(pages(0, BLOCK), M, data(), MapFlags::NO_BLOCK).unwrap();
        rig.mmu().let_programs_write(true);
        rig.mapper().collapse(pages(0, BLOCK)).unwrap();
        let attrs = rig.mapper().translate(page(0)).unwrap().attrs;
        assert_eq!(attrs, data().young().dirty());
    });
}

#[test]
fn pages_of_different_rights_make_no_block() {
    Rig::run(1, TCR, |rig| {
        rig.mapper().map(pages(0, BLOCK), M, data(), MapFlags::NO_BLOCK).unwrap();
        let protect = |old: UserAttrs| Some(old.write_protected());
        let owed = rig.mapper().change(pages(5, 1), &protect).unwrap();
        owed.flush_before_make(Reach::LastLevel, || Some(ASID));
        mmu::isb();
        let whole = pages(0, BLOCK);
        assert_eq!(rig.mapper().collapse(whole), Err(MapError::BreakBeforeMake));
    });
}

fn map_set(rig: &mut Rig<'_>) {
    rig.mapper().map(pages(0, 16), M, data(), MapFlags::empty()).unwrap();
    assert!(rig.mapper().translate(page(3)).unwrap().contiguous);
    // Hardware notes the write in whichever entry it has read.
    write(rig, 3);
}

#[test]
fn a_contiguous_set_that_is_cut_keeps_its_state() {
    each(|rig| {
        map_set(rig);
        let mut last = None;
        let owed = rig.mapper().zap(pages(5, 1), |_, _, pte| last = Some(pte)).unwrap();
        owed.flush_before_make(Reach::LastLevel, || Some(ASID));
        mmu::isb();
        for n in [0, 3, 15] {
            assert_eq!(rig.attrs(page(n)), data().young().dirty(), "page {n}");
        }
        let Some(UserPte::Present(leaf)) = last else { panic!("{last:?}") };
        assert!(leaf.attrs.is_dirty());
    });
}

#[test]
fn each_page_of_a_contiguous_set_that_is_taken_is_dirty() {
    each(|rig| {
        map_set(rig);
        let mut dirty = Vec::new();
        let mut mapper = rig.mapper();
        let mut gather = MmuGather::new(&mut mapper, |page: Gathered| {
            dirty.push(page.leaf.attrs.is_dirty());
        });
        gather.zap(pages(0, 16), |_, _| ()).unwrap();
        drop(gather);
        assert_eq!(dirty, [true; 16]);
    });
}

/// A gather has room for each contiguous set that has begun.
#[test]
fn a_gather_takes_sets_whole() {
    Rig::run(1, TCR, |rig| {
        const COUNT: usize = 5 + 12 * 16;
        rig.mapper().map(pages(11, COUNT), frame(11), used(), MapFlags::NO_BLOCK).unwrap();
        let mut released = Vec::new();
        let machine = rig.machine;
        let mut mapper = rig.mapper();
        let mut gather = MmuGather::new(&mut mapper, |page: Gathered| {
            assert!(!machine.mmu().reaches(page.leaf.pa));
            released.push(page.leaf.pa);
        });
        gather.zap(pages(0, BLOCK), |_, _| ()).unwrap();
        drop(gather);
        assert_eq!(released, (11..11 + COUNT).map(frame).collect::<Vec<_>>());
    });
}
