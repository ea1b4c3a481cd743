use super::*;
use crate::mm::vmalloc::tests::machine;
use proptest::prelude::*;
use std::vec::Vec;

const TYPES: [IoType; 3] = [IoType::Device, IoType::WriteCombining, IoType::Cached];

fn records(io: IoType) -> usize {
    with_masked(|irq| MEMTYPES.lock(irq).0[io as usize].len())
}

/// A type is held for as long as one claim is, whichever is dropped first.
#[test]
fn claims_to_the_same_range_share_a_record() {
    machine(1024, |_| {
        let range = PhysRange::from_size(PhysAddr::new(0x900_0000), 4096);
        let claim = |range, io| Reservation::new(range, io, Gfp::GFP_KERNEL);
        let mut held: Vec<_> = (0..1000).map(|_| claim(range, IoType::Device).unwrap()).collect();
        assert_eq!(records(IoType::Device), 1);
        let longer = PhysRange::from_size(range.start(), 8192);
        held.insert(500, claim(longer, IoType::Device).unwrap());
        held.push(claim(longer, IoType::Device).unwrap());
        assert!(records(IoType::Device) <= 3);
        validate();
        while let Some(one) = held.pop() {
            drop(one);
            if !held.is_empty() {
                let refused = claim(range, IoType::Cached).unwrap_err();
                assert_eq!(refused, ReserveError::Conflict);
            }
            if !held.is_empty() {
                held.swap_remove(held.len() / 2);
            }
        }
        assert_eq!(records(IoType::Device), 0);
        drop(claim(range, IoType::Cached).unwrap());
        validate();
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 60 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn reservations_agree_with_the_model(
        ops in prop::collection::vec((0u64..60, 1u64..9, 0usize..3, any::<usize>()), 1..120)
    ) {
        machine(1024, |_| {
            let mut held: Vec<(PhysRange, IoType, Reservation)> = Vec::new();
            for (start, len, io, n) in ops {
                let range = PhysRange::from_size(PhysAddr::new(start << 12), len << 12);
                let clash = held.iter().any(|h| h.1 != TYPES[io] && h.0.overlaps(range));
                match Reservation::new(range, TYPES[io], Gfp::GFP_KERNEL) {
                    Ok(reservation) => held.push((range, TYPES[io], reservation)),
                    Err(error) => assert_eq!(error, ReserveError::Conflict),
                }
                let refused = held.last().is_none_or(|h| (h.0, h.1) != (range, TYPES[io]));
                assert_eq!(refused, clash, "{range:?} as {:?}", TYPES[io]);
                if n % 3 != 0 && !held.is_empty() {
                    held.swap_remove(n / 3 % held.len());
                }
                validate();
            }
        });
    }
}
