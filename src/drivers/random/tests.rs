use super::*;
use std::collections::BTreeSet;

/// RFC 8439, 2.3.2: the state after the set-up, and the block that comes of it.
#[test]
fn the_block_function_is_chacha20() {
    let key = core::array::from_fn(|n| u32::from_le_bytes([0, 1, 2, 3].map(|b| b + 4 * n as u8)));
    let mut start = [0; 16];
    start[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    start[4..12].copy_from_slice(&key);
    start[12..].copy_from_slice(&[1, 0x0900_0000, 0x4a00_0000, 0]);
    let block = permute(start);
    assert_eq!(block[..4], [0xe4e7_f110, 0x1559_3bd1, 0x1fdd_0f50, 0xc471_20a3]);
    assert_eq!(block[12..], [0xd19c_12b5, 0xb94e_16de, 0xe883_d0cb, 0x4e3c_50a2]);
    // With a counter of 0 it is the same state but for that word.
    let own = chacha20_block(&key, [0x0900_0000, 0x4a00_0000, 0]);
    start[12] = 0;
    assert_eq!(own, permute(start));
}

fn first_of(seeds: &[&[u8]]) -> [u32; KEY] {
    let mut generator = Generator::new();
    seeds.iter().for_each(|seed| generator.mix(seed));
    generator.block()
}

/// Each bit and each byte of a seed counts, and so does their order.
#[test]
fn what_is_given_out_depends_on_all_of_the_seeds() {
    let seed: [u8; 100] = core::array::from_fn(|n| n as u8);
    let mut seen = BTreeSet::from([first_of(&[&seed])]);
    for bit in 0..800 {
        let mut other = seed;
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(seen.insert(first_of(&[&other])), "bit {bit}");
    }
    for len in 0..100 {
        assert!(seen.insert(first_of(&[&seed[..len]])), "the first {len} bytes");
    }
    // Zeros at the end count too.
    for len in 1..40 {
        let mut zeros = [0; 40];
        zeros[0] = 200;
        assert!(seen.insert(first_of(&[&zeros[..len]])), "{len} bytes");
    }
    let (a, b) = seed.split_at(32);
    assert!(seen.insert(first_of(&[b, a])));
}

#[test]
fn no_two_blocks_are_alike_and_any_length_can_be_had() {
    let mut generator = Generator::new();
    generator.mix(b"seed");
    let blocks: BTreeSet<_> = (0..1000).map(|_| generator.block()).collect();
    assert_eq!(blocks.len(), 1000);
    for len in [0, 1, 7, 32, 33, 100] {
        let mut bytes = std::vec![0; len];
        generator.fill(&mut bytes);
        assert!(len < 32 || bytes.iter().filter(|&&byte| byte != 0).count() > len / 2);
    }
}
