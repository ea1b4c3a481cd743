use super::*;
use proptest::prelude::*;
use std::vec::Vec;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 400 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    /// Blocks lie in their piece, aligned, apart, across no boundary, and no more would fit.
    #[test]
    fn a_piece_is_cut_into_blocks(
        size in 1usize..9000, align in 0u32..9, boundary in prop::option::of(4u32..15),
    ) {
        let (align, boundary) = (1usize << align, boundary.map_or(0, |order| 1usize << order));
        let Some(shape) = Shape::new(size, align, boundary) else {
            let step = size.max(MIN_SIZE).next_multiple_of(align);
            prop_assert!(boundary != 0 && boundary < step);
            return Ok(());
        };
        prop_assert!(shape.size >= size && shape.size.is_multiple_of(align));
        prop_assert!(shape.allocation.is_multiple_of(PAGE_SIZE));
        let blocks: Vec<_> = (0..shape.blocks()).map(|n| shape.offset(n)).collect();
        // Linux's walk over a page (pool_initialise_page).
        let edge = if boundary == 0 { shape.allocation } else { boundary };
        let (mut walk, mut at, mut next) = (Vec::new(), 0, edge);
        while at + shape.size <= shape.allocation {
            if at + shape.size > next {
                at = next;
                next += edge;
                continue;
            }
            walk.push(at);
            at += shape.size;
        }
        prop_assert_eq!(&blocks, &walk);
        prop_assert!((1..=MAX_BLOCKS).contains(&blocks.len()));
        for &at in &blocks {
            prop_assert!(at.is_multiple_of(align));
            let last = at + size - 1;
            prop_assert!(last < shape.allocation && at / edge == last / edge);
        }
    }
}

#[test]
fn bad_shapes_are_refused() {
    for (size, align, boundary) in
        [(0, 1, 0), (8, 3, 0), (8, 1, 24), (65, 1, 64), (64, 128, 64), (usize::MAX, 8, 0)]
    {
        assert_eq!(Shape::new(size, align, boundary), None, "{size} {align} {boundary}");
    }
    let one = Shape::new(1, 0, 0).unwrap();
    assert_eq!((one.size, one.blocks()), (16, 256));
    let pages = Shape::new(PAGE_SIZE + 1, 1, 0).unwrap();
    assert_eq!((pages.allocation, pages.blocks()), (2 * PAGE_SIZE, 1));
}
