//! Sections that go while others are at work.

use super::*;

/// An owner who looks at the section's state when asked to move a page.
struct Onlooker;

static LOOKED: AtomicU32 = AtomicU32::new(0);
static GOING: AtomicBool = AtomicBool::new(true);

impl MovableOperations for Onlooker {
    fn name(&self) -> &'static str {
        "onlooker"
    }
    fn isolate(&self, _: Frame, _: u32) -> bool {
        true
    }
    fn migrate(
        &self,
        from: Frame,
        to: OwnedPage,
        _: MigrateMode,
    ) -> Result<OwnedPage, (MigrateError, OwnedPage)> {
        let state = section_state(Section::of(from.pfn()));
        GOING.fetch_and(state == Some(MemoryState::GoingOffline), Relaxed);
        assert!(Section::of(to.frame().pfn()) != Section::of(from.pfn()));
        LOOKED.fetch_add(1, Relaxed);
        Err((MigrateError::Busy, to))
    }
    fn putback(&self, _: Frame) {}
}

#[test]
fn a_section_that_is_being_emptied_says_so() {
    on_384m(|_| {
        register_movable(&Onlooker).unwrap();
        let page = OwnedPage::alloc(MOVABLE).unwrap();
        set_page_movable(&page, 0, 0);
        let home = Section::of(page.frame().pfn());
        let busy = Err(HotplugError::Busy(page.frame().pfn()));
        assert_eq!(offline_pages(home.frames()), busy);
        assert!(LOOKED.load(Relaxed) > 0);
        assert!(GOING.load(Relaxed));
        assert_eq!(section_state(home), Some(MemoryState::Online));
        drop(page);
        offline_pages(home.frames()).unwrap();
    });
}

/// Pages come and go on three CPUs while the fourth takes a section offline and back.
#[test]
fn sections_go_while_others_allocate() {
    on_384m(|m| {
        let done = AtomicU32::new(0);
        let went = AtomicU32::new(0);
        m.on_cpus(4, |cpu| {
            if cpu == 0 {
                while done.load(Relaxed) < 3 {
                    for n in 0..3 {
                        if offline_pages(section(n)).is_ok() {
                            went.fetch_add(1, Relaxed);
                            online_pages(section(n)).unwrap();
                        }
                    }
                }
                return;
            }
            let mut objects = Objects::new();
            for round in 0..if cfg!(miri) { 1 } else { 30 } {
                (0..600).for_each(|n| assert!(objects.add(round * 1000 + n)));
                let pages = [(); 50].map(|()| alloc_pages(KERNEL, Order::ZERO).unwrap());
                objects.check();
                pages.into_iter().for_each(|page| {
                    assert!(section_state(Section::of(page.pfn())) != Some(MemoryState::Offline));
                    free_pages(page, Order::ZERO);
                });
                for _ in 0..550 {
                    let (_, object) = objects.all.swap_remove(round as usize % objects.all.len());
                    objects.pool.free(object);
                }
            }
            objects.check();
            drop(objects);
            done.fetch_add(1, Relaxed);
        });
        assert!(went.load(Relaxed) > 0);
        m.on_cpus(4, |_| drain_all_pages());
        assert_eq!(nr_used_pages(), 0);
    });
}
