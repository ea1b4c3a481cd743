//! Checks what a contender hands out.

use crate::contender::Contender;
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Range of each live object.
#[derive(Default)]
struct Book(BTreeMap<usize, usize>);

impl Book {
    /// Writes down `start` of `layout`; `Err` says what is wrong with it.
    fn allocated(&mut self, start: usize, layout: Layout) -> Result<(), String> {
        if !start.is_multiple_of(layout.align()) {
            return Err(format!("{start:#x} is not aligned for {layout:?}"));
        }
        let end = start + layout.size();
        if let Some((other, end_of)) = self.0.range(..end).next_back()
            && *end_of > start
        {
            return Err(format!("{start:#x}..{end:#x} lies in {other:#x}..{end_of:#x}, in use"));
        }
        self.0.insert(start, end);
        Ok(())
    }

    /// Strikes it out again.
    fn freed(&mut self, start: usize, layout: Layout) -> Result<(), String> {
        match self.0.remove(&start) {
            Some(end) if end == start + layout.size() => Ok(()),
            _ => Err(format!("{start:#x} of {layout:?} is not in use")),
        }
    }
}

/// Tries whether a book refuses what it has to.
///
/// # Panics
/// Where it does not.
pub fn try_out() {
    let layout = |size| Layout::from_size_align(size, 64).expect("a sane layout");
    let mut book = Book::default();
    let mut holds = |start, size| book.allocated(start, layout(size)).is_ok();
    assert!(holds(0x1000, 64) && holds(0x1080, 64) && holds(0x1040, 64));
    assert!(!holds(0x1000, 64), "twice the same");
    assert!(!holds(0xfc0, 65), "into the next");
    assert!(!holds(0xfc0, 4096), "around others");
    assert!(!holds(0x2020, 64), "not aligned");
    assert!(book.freed(0x1040, layout(64)).is_ok());
    assert!(book.freed(0x1040, layout(64)).is_err(), "freed twice");
    assert!(book.freed(0x1080, layout(32)).is_err(), "freed as what it was not");
}

/// A contender that writes down all that another hands out.
///
/// # Panics
/// It does where memory is handed out twice at a time, is not aligned, or is freed without
/// having been handed out.
pub struct Ledger<'a, C> {
    of: &'a C,
    live: Mutex<Book>,
}

impl<'a, C: Contender> Ledger<'a, C> {
    /// An empty one.
    pub fn new(of: &'a C) -> Self {
        Self { of, live: Mutex::default() }
    }

    /// Ends it.
    ///
    /// # Panics
    /// Where something is live that nobody gives back.
    pub fn end(self) {
        let live = self.live.into_inner().unwrap_or_else(PoisonError::into_inner);
        assert!(
            live.0.is_empty() || C::GIVES_ALL_BACK,
            "{}: {} objects were never freed",
            C::NAME,
            live.0.len()
        );
    }
}

impl<C: Contender> Contender for Ledger<'_, C> {
    const NAME: &'static str = C::NAME;
    const GIVES_ALL_BACK: bool = C::GIVES_ALL_BACK;
    type Object = C::Object;

    fn new(_: usize) -> Self {
        unreachable!("a ledger is of a contender that exists")
    }

    fn alloc(&self, layout: Layout) -> Option<C::Object> {
        // Under the lock, so that what another thread frees meanwhile is seen as freed.
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let object = self.of.alloc(layout)?;
        if let Err(wrong) = live.allocated(C::address(object), layout) {
            panic!("{}: {wrong}", C::NAME);
        }
        Some(object)
    }

    unsafe fn free(&self, object: C::Object, layout: Layout) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(wrong) = live.freed(C::address(object), layout) {
            panic!("{}: {wrong}", C::NAME);
        }
        // SAFETY: as the caller says.
        unsafe { self.of.free(object, layout) }
    }

    fn address(object: C::Object) -> usize {
        C::address(object)
    }
}
