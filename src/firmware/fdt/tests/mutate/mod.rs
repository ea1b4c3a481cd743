//! Changes to trees at random: of bytes, as transmission errors make them, and of
//! structure, as a hostile author does.

mod parts;

use parts::Parts;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

/// Bytes that no tree grows beyond.
const MAX_BYTES: usize = 1 << 18;

/// Names that readers look for.
const PROPERTIES: [&str; 30] = [
    "reg",
    "device_type",
    "status",
    "#address-cells",
    "#size-cells",
    "ranges",
    "dma-ranges",
    "linux,usable-memory",
    "linux,usable-memory-range",
    "linux,initrd-start",
    "linux,initrd-end",
    "bootargs",
    "stdout-path",
    "size",
    "alignment",
    "alloc-ranges",
    "no-map",
    "reusable",
    "compatible",
    "linux,cma-default",
    "numa-node-id",
    "hotpluggable",
    "phandle",
    "interrupt-parent",
    "distance-matrix",
    "method",
    "enable-method",
    "cpu-release-addr",
    "rng-seed",
    "",
];

const NODES: [&str; 9] = [
    "memory",
    "memory@40000000",
    "reserved-memory",
    "chosen",
    "cpus",
    "aliases",
    "psci",
    "linux,cma",
    "",
];

const STRINGS: [&str; 8] = [
    "memory",
    "cpu",
    "shared-dma-pool",
    "disabled",
    "okay",
    "numa-distance-map-v1",
    "arm,psci-1.0",
    "mem=64M cma=16M kernelcore=50% memmap=1M$0x48000000",
];

/// A change to a blob. Positions and indices are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    // Of bytes.
    Flip(usize, u8),
    Word(usize, u32),
    Copy(usize, usize, usize),
    Truncate(usize),
    Header(usize, u32),
    // Of tokens.
    Token(usize, usize),
    Drop(usize),
    Nop(usize, usize),
    // Of nodes.
    Repeat(usize, usize),
    Splice(usize, usize),
    Remove(usize),
    Rename(usize, usize),
    Nest(usize, usize),
    // Of properties.
    Set(usize, usize, Value),
    Resize(usize, usize),
    Multiply(usize, usize),
    Number(usize, usize, u64),
    // Of memory.
    Memory(u64, u64, u32),
    Reserve(u64, u64, u8),
    MemReserve(u64, u64),
}

/// A property's value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Nothing,
    Word(u32),
    Numbers(Vec<u64>),
    Text(usize),
}

impl Value {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Word(word) => word.to_be_bytes().to_vec(),
            Self::Numbers(numbers) => numbers.iter().flat_map(|n| n.to_be_bytes()).collect(),
            Self::Text(which) => {
                [STRINGS[which % STRINGS.len()].as_bytes(), b"\0"].concat().to_vec()
            }
        }
    }
}

/// Addresses and sizes at which something ends or overflows.
pub(crate) fn numbers() -> impl Strategy<Value = u64> {
    let power = (0..64u32).prop_map(|bit| 1u64 << bit);
    let near =
        (0..64u32, -4097i64..4098).prop_map(|(bit, by)| (1u64 << bit).wrapping_add_signed(by));
    let page = (0u64..0x10_0000).prop_map(|page| page << 12);
    let large = (0u64..0x400).prop_map(|block| 0x4000_0000 + (block << 21));
    prop_oneof![
        1 => Just(0u64), 1 => Just(u64::MAX), 2 => power, 2 => near, 4 => page, 6 => large,
        1 => any::<u64>(),
    ]
}

pub(crate) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    use Mutation as M;
    let words = prop_oneof![
        0u32..10,
        0u32..4096,
        Just(0x7fff_ffff),
        Just(0x8000_0000),
        Just(0xffff_fffc),
        Just(u32::MAX),
        any::<u32>(),
    ];
    let values = prop_oneof![
        1 => Just(Value::Nothing),
        2 => words.clone().prop_map(Value::Word),
        4 => prop::collection::vec(numbers(), 0..6).prop_map(Value::Numbers),
        2 => any::<usize>().prop_map(Value::Text),
    ];
    let at = any::<usize>();
    let mutation = prop_oneof![
        3 => (at, any::<u8>()).prop_map(|(at, bits)| M::Flip(at, bits)),
        6 => (at, words.clone()).prop_map(|(at, word)| M::Word(at, word)),
        2 => (at, at, 0usize..64).prop_map(|(from, to, words)| M::Copy(from, to, words)),
        1 => at.prop_map(M::Truncate),
        1 => (0usize..10, words).prop_map(|(at, word)| M::Header(at, word)),
        2 => (at, at).prop_map(|(from, to)| M::Token(from, to)),
        1 => at.prop_map(M::Drop),
        1 => (at, 0usize..300).prop_map(|(at, count)| M::Nop(at, count)),
        4 => (at, 1usize..40).prop_map(|(at, times)| M::Repeat(at, times)),
        3 => (at, at).prop_map(|(from, to)| M::Splice(from, to)),
        2 => at.prop_map(M::Remove),
        4 => (at, at).prop_map(|(at, name)| M::Rename(at, name)),
        1 => (at, 0usize..200).prop_map(|(at, depth)| M::Nest(at, depth)),
        10 => (at, at, values).prop_map(|(at, name, value)| M::Set(at, name, value)),
        3 => (at, 0usize..64).prop_map(|(at, length)| M::Resize(at, length)),
        3 => (at, 0usize..200).prop_map(|(at, times)| M::Multiply(at, times)),
        6 => (at, at, numbers()).prop_map(|(at, which, number)| M::Number(at, which, number)),
        6 => (numbers(), numbers(), 0u32..6).prop_map(|(base, size, nid)| M::Memory(base, size, nid)),
        8 => (numbers(), numbers(), any::<u8>()).prop_map(|(base, size, kind)| M::Reserve(base, size, kind)),
        2 => (numbers(), numbers()).prop_map(|(base, size)| M::MemReserve(base, size)),
    ];
    prop::collection::vec(mutation, 1..10)
}

/// Applies them in order. Those of structure leave alone what has none.
pub(crate) fn mutate(blob: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        if blob.len() < 48 {
            return;
        }
        if !mutate_bytes(blob, mutation)
            && let Some(mut parts) = Parts::of(blob)
        {
            parts.mutate(mutation);
            let changed = parts.blob();
            if changed.len() <= MAX_BYTES {
                *blob = changed;
            }
        }
    }
}

/// Applies a change of bytes; whether it is one.
fn mutate_bytes(blob: &mut Vec<u8>, mutation: &Mutation) -> bool {
    let length = blob.len();
    let word_at = |at: usize| 40 + at % (length - 44) / 4 * 4;
    match *mutation {
        Mutation::Flip(at, bits) => blob[at % length] ^= bits,
        Mutation::Word(at, word) => {
            blob[word_at(at)..][..4].copy_from_slice(&word.to_be_bytes());
        }
        Mutation::Copy(from, to, words) => {
            let (from, to) = (word_at(from), word_at(to));
            let bytes = (words * 4).min(length - from.max(to));
            blob.copy_within(from..from + bytes, to);
        }
        Mutation::Truncate(at) => blob.truncate(at % length),
        Mutation::Header(at, word) => blob[at * 4..][..4].copy_from_slice(&word.to_be_bytes()),
        _ => return false,
    }
    true
}
