//! Random calls against the model with a record for each page.

use super::pages::Pages;
use super::*;
use crate::prandom::Random;

const P: usize = PAGE_SIZE;

fn at(page: usize) -> usize {
    BASE + page * P
}

/// Makes `count` random calls within `window` pages, and compares after each `check`th.
fn run(seed: u64, count: usize, window: usize, check: usize) {
    let mut random = Random::new(seed);
    let (mm, mut pages) = (new(), Pages::new(window));
    for step in 0..count {
        let start = random.below(window);
        let most = if random.below(8) == 0 { window } else { 12 };
        let len = 1 + random.below((window - start).min(most));
        let (addr, bytes) = (at(start), len * P);
        let prot = [0, R, W, W, R | 4][random.below(5)];
        match random.below(20) {
            0..4 => {
                let stack = if random.below(4) == 0 { uapi::MAP_STACK } else { 0 };
                assert_eq!(map(&mm, addr, bytes, prot, uapi::MAP_FIXED | stack), Ok(addr));
                pages.map(start, len, prot, stack != 0);
            }
            4 => {
                // Where it is free, or not at all.
                let is_free = pages.0[start..start + len].iter().all(Option::is_none);
                let result = map(&mm, addr, bytes, prot, uapi::MAP_FIXED_NOREPLACE);
                assert_eq!(result, if is_free { Ok(addr) } else { Err(Errno::EEXIST) });
                if is_free {
                    pages.map(start, len, prot, false);
                }
            }
            5..8 => {
                assert_eq!(mm.munmap(addr, bytes), Ok(()));
                pages.unmap(start, len);
            }
            8..12 => protect(&mm, &mut pages, start, len, prot),
            12..15 => {
                let page = pages.0[start];
                let expected = match page {
                    None => Err(Fault::MapErr),
                    Some(page) if page.prot & 2 == 0 => Err(Fault::AccErr),
                    Some(_) => Ok(()),
                };
                assert_eq!(write(&mm, addr), expected);
                if expected.is_ok() {
                    let Some(Entry::Page(number)) = mm.tables().entry(addr) else {
                        panic!("no page")
                    };
                    pages.0[start].as_mut().unwrap().contents = Some(number);
                }
            }
            15 => {
                let locked_before_hole = |pages: &Pages| {
                    // It stops at a locked area.
                    pages.0[start..start + len]
                        .iter()
                        .any(|page| page.is_some_and(|page| page.locked))
                };
                if !locked_before_hole(&pages) {
                    let whole = pages.each(start, len, |page| page.contents = None);
                    let result = mm.madvise(addr, bytes, uapi::MADV_DONTNEED);
                    assert_eq!(result, if whole { Ok(()) } else { Err(Errno::ENOMEM) });
                }
            }
            16 => {
                let sets = random.below(2) == 0;
                let advice = if sets { uapi::MADV_DONTFORK } else { uapi::MADV_DOFORK };
                let whole = pages.each(start, len, |page| page.dontfork = sets);
                let result = mm.madvise(addr, bytes, advice);
                assert_eq!(result, if whole { Ok(()) } else { Err(Errno::ENOMEM) });
            }
            17 => {
                if random.below(2) == 0 {
                    let whole = pages.up_to_hole(start, len, |page| page.locked = false);
                    let result = mm.munlock(addr, bytes);
                    assert_eq!(result, if whole { Ok(()) } else { Err(Errno::ENOMEM) });
                } else {
                    let flags = uapi::MLOCK_ONFAULT;
                    let whole = pages.up_to_hole(start, len, |page| page.locked = true);
                    let result = mm.mlock2(addr, bytes, flags, &ROOT);
                    assert_eq!(result, if whole { Ok(()) } else { Err(Errno::ENOMEM) });
                }
            }
            _ => remap(&mm, &mut pages, &mut random, start, len),
        }
        if step % check == 0 || step + 1 == count {
            pages.compare(&mm);
            let (all, locked, accounted) = pages.totals();
            let totals = mm.totals();
            assert_eq!((totals.pages, totals.locked), (all, locked));
            assert_eq!(crate::mm::mm_struct::vm_memory_committed(), accounted);
        }
    }
}

fn protect(mm: &Mm, pages: &mut Pages, start: usize, len: usize, prot: u32) {
    // Promises depend on whether an area has pages: they are taken over from the areas.
    let result = mm.mprotect(at(start), len * P, prot, &ROOT);
    let whole = pages.up_to_hole(start, len, |page| page.prot = prot);
    assert_eq!(result, if whole { Ok(()) } else { Err(Errno::ENOMEM) });
    let accounted = |at| {
        let flags = mm.flags_at(UserAddr::new(at).unwrap());
        flags.is_some_and(|flags| flags.contains(VmFlags::ACCOUNT))
    };
    for number in start..start + len {
        let Some(page) = &mut pages.0[number] else { break };
        let is_now = accounted(at(number));
        // What may be written is promised, and what was and has contents still is.
        assert!(is_now || prot & 2 == 0);
        assert!(is_now || !page.accounted || page.contents.is_none());
        assert!(!is_now || page.accounted || prot & 2 != 0);
        page.accounted = is_now;
    }
}

/// Moves or resizes within the window.
fn remap(mm: &Mm, pages: &mut Pages, random: &mut Random, start: usize, len: usize) {
    let window = pages.0.len();
    let new_len = 1 + random.below(12.min(window));
    let to = random.below(window - new_len + 1);
    let apart = to + new_len <= start || start + len <= to;
    let flags = uapi::MREMAP_MAYMOVE | uapi::MREMAP_FIXED;
    let (addr, new_addr) = (at(start), at(to));
    let result = mm.mremap(addr, len * P, new_len * P, flags, new_addr, &ROOT);
    let is_area = |from: usize, len: usize| {
        let space = mm.space.read();
        space.vmas.find(UserAddr::new(at(from)).unwrap()).map(|vma| vma.end() >= at(from + len))
    };
    match result {
        Ok(found) => {
            assert!(apart && found == new_addr);
            let moved: std::vec::Vec<_> = pages.0[start..start + len.min(new_len)].to_vec();
            let first = moved[0].expect("it was there");
            pages.unmap(to, new_len);
            pages.unmap(start, len);
            for n in 0..new_len {
                let old = moved.get(n).map(|page| page.expect("one area"));
                pages.0[to + n] =
                    Some(old.unwrap_or(super::pages::Page { contents: None, ..first }));
            }
        }
        Err(Errno::EINVAL) => assert!(!apart),
        Err(Errno::EFAULT) if pages.0[start].is_none() => {}
        Err(Errno::EFAULT) => {
            assert!(apart);
            // What was in the way is gone, and what was too much.
            pages.unmap(to, new_len);
            let mut len = len;
            if new_len < len {
                pages.unmap(start + new_len, len - new_len);
                len = new_len;
            }
            assert_eq!(is_area(start, len), Some(false), "one area could be moved");
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// The calls agree with a model that has a record for each page: contents, rights, what is locked
/// and promised, and errors.
#[test]
fn random_calls_agree_with_pages() {
    on_machine(16, || {
        let (runs, count) = match () {
            () if cfg!(miri) => (1, 30),
            // Without optimisation a million take minutes.
            () if option_env!("CARGO_PROFILE_TEST_OPT_LEVEL") == Some("0") => (10, 3000),
            () => (10, 100_000),
        };
        for seed in 0..runs {
            let window = [40, 200, 900][seed as usize % 3];
            run(seed, count, window, if window > 100 { 97 } else { 13 });
        }
    });
}
