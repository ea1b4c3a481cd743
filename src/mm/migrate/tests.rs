use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::gfp::Gfp;
use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

/// Lets its one page go when it was asked for the third time.
struct Stubborn {
    page: Mutex<Option<OwnedPage>>,
    asked: Mutex<u32>,
    put_back: Mutex<Vec<Frame>>,
    why: MigrateError,
}

impl MovableOperations for Stubborn {
    fn name(&self) -> &'static str {
        "stubborn"
    }
    fn isolate(&self, _: Frame, _: u32) -> bool {
        true
    }
    fn migrate(
        &self,
        _: Frame,
        to: OwnedPage,
        _: MigrateMode,
    ) -> Result<OwnedPage, (MigrateError, OwnedPage)> {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        if *asked < 3 {
            return Err((self.why, to));
        }
        let old = self.page.lock().unwrap().replace(to).expect("it has one");
        clear_page_movable(&old);
        Ok(old)
    }
    fn putback(&self, frame: Frame) {
        self.put_back.lock().unwrap().push(frame);
    }
}

/// Counts the pages that moved, how often their owner, who answers `why` twice, was asked,
/// and the pages that it got back where they were.
fn moved(why: MigrateError) -> (usize, u32, usize) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 8 << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        let page = OwnedPage::alloc(Gfp::GFP_KERNEL).expect("memory");
        let frame = page.frame();
        let owner: &'static Stubborn = Box::leak(Box::new(Stubborn {
            page: Mutex::new(None),
            asked: Mutex::new(0),
            put_back: Mutex::new(Vec::new()),
            why,
        }));
        let id = register_movable(owner).expect("the first");
        set_page_movable(&page, id, 7);
        *owner.page.lock().unwrap() = Some(page);
        let mut isolated = Isolated::new();
        assert!(isolated.isolate(frame));
        let new = &mut || OwnedPage::alloc(Gfp::GFP_KERNEL);
        let moved = migrate_pages(&mut isolated, MigrateMode::Sync, new, &mut drop);
        let page = owner.page.lock().unwrap().take().expect("the old one or the new one");
        if moved == 0 {
            clear_page_movable(&page);
        }
        drop((isolated, page));
        assert_eq!(page_alloc::nr_used_pages(), 0);
        let put_back = owner.put_back.lock().unwrap();
        assert!(put_back.iter().all(|&back| back == frame), "{put_back:?} for {frame:?}");
        (moved, *owner.asked.lock().unwrap(), put_back.len())
    })
}

#[test]
fn who_says_again_is_asked_again_and_who_is_busy_is_not() {
    assert_eq!(moved(MigrateError::Again), (1, 3, 0));
    assert_eq!(moved(MigrateError::Busy), (0, 1, 1));
}
