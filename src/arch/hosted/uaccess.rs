//! A user's memory, for tests: pages with rights, of the thread's own. The functions are those of
//! the bare metal.

#[cfg(test)]
use crate::addr::UserAddr;
use crate::addr::{PAGE_SIZE, UserRange};
use std::boxed::Box;
use std::cell::RefCell;
use std::collections::BTreeMap;

struct Page {
    bytes: Box<[u8; PAGE_SIZE]>,
    writable: bool,
}

std::thread_local! {
    static PAGES: RefCell<BTreeMap<usize, Page>> = const { RefCell::new(BTreeMap::new()) };
}

/// Gives the user a page at `at`, full of `byte`.
#[cfg(test)]
pub fn map(at: UserAddr, byte: u8, writable: bool) {
    assert!(at.is_aligned(PAGE_SIZE));
    let page = Page { bytes: Box::new([byte; PAGE_SIZE]), writable };
    PAGES.with_borrow_mut(|pages| pages.insert(at.get() / PAGE_SIZE, page));
}

/// Calls `f` with the byte at `at`, if the user may read it, or write it.
fn with_byte(at: usize, write: bool, f: impl FnOnce(&mut u8)) -> bool {
    PAGES.with_borrow_mut(|pages| {
        let page = pages.get_mut(&(at / PAGE_SIZE)).filter(|page| page.writable || !write);
        page.map(|page| f(&mut page.bytes[at % PAGE_SIZE])).is_some()
    })
}

/// The number of bytes of `range` from the first on for which `f` is false.
fn first_failure(range: UserRange, mut f: impl FnMut(usize, usize) -> bool) -> usize {
    let done = (0..range.len()).take_while(|&n| f(n, range.start().get() + n)).count();
    range.len() - done
}

/// Reads 1, 2, 4 or 8 bytes.
#[must_use]
pub fn get_user(from: UserRange) -> Option<u64> {
    let mut bytes = [0; 8];
    assert!(matches!(from.len(), 1 | 2 | 4 | 8), "a load of {} bytes", from.len());
    (copy_from_user(&mut bytes[..from.len()], from) == 0).then(|| u64::from_le_bytes(bytes))
}

/// Writes 1, 2, 4 or 8 bytes.
#[must_use]
pub fn put_user(to: UserRange, value: u64) -> bool {
    assert!(matches!(to.len(), 1 | 2 | 4 | 8), "a store of {} bytes", to.len());
    copy_to_user(to, &value.to_le_bytes()[..to.len()]) == 0
}

/// Copies from the user's memory; returns how many bytes were not copied.
#[must_use]
pub fn copy_from_user(to: &mut [u8], from: UserRange) -> usize {
    assert_eq!(to.len(), from.len(), "a copy between ranges of two lengths");
    first_failure(from, |n, at| with_byte(at, false, |byte| to[n] = *byte))
}

/// Copies to the user's memory; returns how many bytes were not copied.
#[must_use]
pub fn copy_to_user(to: UserRange, from: &[u8]) -> usize {
    assert_eq!(to.len(), from.len(), "a copy between ranges of two lengths");
    first_failure(to, |n, at| with_byte(at, true, |byte| *byte = from[n]))
}

/// Clears the user's memory; returns how many bytes were not cleared.
#[must_use]
pub fn clear_user(to: UserRange) -> usize {
    first_failure(to, |_, at| with_byte(at, true, |byte| *byte = 0))
}
