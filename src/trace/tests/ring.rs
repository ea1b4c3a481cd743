//! The ring against a queue of what was written.

use super::super::ring::{HEADER, ROOM, Record, Ring};
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::page_alloc::{self, nr_used_pages};
use crate::mm::slab;
use proptest::prelude::*;
use std::vec::Vec;

fn on_machine(f: impl FnOnce()) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 8 << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        slab::kmem_cache_init(1);
        f();
    });
}

/// A page as Linux's readers take it apart: what was lost before it, and its records.
fn parse(page: &[u8]) -> (u64, Vec<(u64, Vec<u8>)>) {
    let word = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let (mut time, commit) = (long(0), long(8));
    let end = HEADER + (commit & 0xf_ffff) as usize;
    let lost = match commit >> 30 & 3 {
        0 => 0,
        2 => u64::MAX,
        3 => long(end),
        flags => panic!("flags {flags}"),
    };
    let (mut at, mut records) = (HEADER, Vec::new());
    while at < end {
        let (kind, delta) = (word(at) & 31, u64::from(word(at) >> 5));
        at += 4;
        time += delta;
        let len = match kind {
            0 => {
                at += 4;
                word(at - 4) as usize - 4
            }
            1..=28 => kind as usize * 4,
            30 => {
                time += u64::from(word(at)) << 27;
                at += 4;
                continue;
            }
            kind => panic!("type {kind}"),
        };
        records.push((time, page[at..at + len].to_vec()));
        at += len;
    }
    assert_eq!(at, end, "a record goes beyond the page's end");
    (lost, records)
}

fn raw(ring: &Ring) -> Vec<u8> {
    let mut bytes = Vec::new();
    ring.raw_pages(&mut |part| bytes.extend_from_slice(part));
    assert_eq!(bytes.len(), ring.nr_raw_pages() * PAGE_SIZE);
    bytes
}

/// Compares the ring with the end of the records written, read in each way.
fn compare(ring: &Ring, written: &[(u64, Vec<u8>)], pages: usize) {
    let there: Vec<_> = ring.records().map(|Record { time, data }| (time, data.to_vec())).collect();
    let lost = written.len() - there.len();
    assert_eq!(there, written[lost..]);
    assert_eq!((ring.overrun(), ring.entries()), (lost as u64, there.len() as u64));
    assert_eq!(ring.written(), written.len() as u64);
    // No more is given up than must be: all pages but the one that is written are full.
    if lost > 0 {
        let bytes: usize = there.iter().map(|(_, data)| data.len() + 16).sum();
        assert!(bytes >= (pages - 1) * (ROOM - 16 - 256), "{bytes} bytes are left");
    }
    let bytes = raw(ring);
    let mut parsed = Vec::new();
    for (n, page) in bytes.chunks(PAGE_SIZE).enumerate() {
        let (missed, records) = parse(page);
        match n {
            0 if lost > 0 => assert!(missed == lost as u64 || missed == u64::MAX),
            _ => assert_eq!(missed, 0),
        }
        parsed.extend(records);
    }
    assert_eq!(parsed, there);
}

fn delta() -> impl Strategy<Value = u64> {
    prop_oneof![0..5u64, 0..1u64 << 27, (1u64 << 27) - 2..(1 << 27) + 2, 1u64 << 27..1 << 40]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 64 }, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_holds_the_end_of_what_was_written(
        pages in 2..5usize,
        records in prop::collection::vec((delta(), 0..60usize, any::<u8>()), 0..600),
        clear_at in prop::option::of(0..600usize),
    ) {
        on_machine(|| {
            let mut ring = Ring::new(pages).unwrap();
            let (mut now, mut written) = (1, Vec::new());
            for (n, &(delta, words, fill)) in records.iter().enumerate() {
                if clear_at == Some(n) {
                    ring.clear();
                    written.clear();
                    compare(&ring, &written, pages);
                }
                now += delta;
                let data = std::vec![fill; words * 4];
                ring.write(now, &data);
                written.push((now, data));
                if n % 50 == 0 {
                    compare(&ring, &written, pages);
                }
            }
            compare(&ring, &written, pages);
        });
    }
}

#[test]
fn its_memory_comes_and_goes_whole() {
    on_machine(|| {
        drop(Ring::new(3).unwrap());
        slab::shrink_all();
        let before = nr_used_pages();
        let ring = Ring::new(100).unwrap();
        assert!(nr_used_pages() >= before + 100);
        drop(ring);
        slab::shrink_all();
        assert_eq!(nr_used_pages(), before);
        // More than there is.
        assert!(Ring::new((8 << 20) / PAGE_SIZE).is_err());
        slab::shrink_all();
        assert_eq!(nr_used_pages(), before);
    });
}
