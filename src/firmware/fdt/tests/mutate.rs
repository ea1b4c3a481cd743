//! Changes to trees at random: of bytes, as transmission errors make them, and of
//! structure, as a hostile author does.

use proptest::prelude::*;
use std::collections::BTreeMap;
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

/// A token with what belongs to it.
#[derive(Clone, Debug)]
enum Part {
    Begin(Vec<u8>),
    End,
    Prop(Vec<u8>, Vec<u8>),
    Nop,
}

/// A tree in parts, to be put together again in any order.
struct Parts {
    parts: Vec<Part>,
    reservations: Vec<u8>,
}

impl Parts {
    /// The parts of a blob, if it has any; together they need not make a tree.
    fn of(blob: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = blob.get(at..at.checked_add(4)?)?;
            Some(u32::from_be_bytes(bytes.try_into().unwrap()) as usize)
        };
        let text = |at: usize| {
            let rest = blob.get(at..)?;
            Some(&rest[..rest.iter().position(|&byte| byte == 0)?])
        };
        let (structure, strings, map) = (word(8)?, word(12)?, word(16)?);
        let entries = blob.get(map..)?.chunks_exact(16).take_while(|entry| entry[8..] != [0; 8]);
        let reservations = entries.take(2000).flatten().copied().collect();
        let (mut parts, mut at) = (Vec::new(), structure);
        loop {
            let token = word(at)?;
            at += 4;
            match token {
                1 => {
                    let name = text(at)?;
                    at = (at + name.len() + 1).next_multiple_of(4);
                    parts.push(Part::Begin(name.to_vec()));
                }
                2 => parts.push(Part::End),
                3 => {
                    let name = text(strings.checked_add(word(at + 4)?)?)?;
                    let end = (at + 8).checked_add(word(at)?)?;
                    parts.push(Part::Prop(name.to_vec(), blob.get(at + 8..end)?.to_vec()));
                    at = end.next_multiple_of(4);
                }
                4 => parts.push(Part::Nop),
                9 if parts.is_empty() => return None,
                9 => return Some(Self { parts, reservations }),
                _ => return None,
            }
        }
    }

    /// The blob of what the parts are now.
    fn blob(&self) -> Vec<u8> {
        let (mut structure, mut strings) = (Vec::new(), Vec::new());
        let mut names = BTreeMap::new();
        let word = |to: &mut Vec<u8>, word: usize| to.extend((word as u32).to_be_bytes());
        for part in &self.parts {
            match part {
                Part::Begin(name) => {
                    word(&mut structure, 1);
                    structure.extend(name);
                    structure.push(0);
                }
                Part::End => word(&mut structure, 2),
                Part::Prop(name, value) => {
                    let at = *names.entry(name).or_insert_with(|| {
                        let at = strings.len();
                        strings.extend(name);
                        strings.push(0);
                        at
                    });
                    word(&mut structure, 3);
                    word(&mut structure, value.len());
                    word(&mut structure, at);
                    structure.extend(value);
                }
                Part::Nop => word(&mut structure, 4),
            }
            structure.resize(structure.len().next_multiple_of(4), 0);
        }
        word(&mut structure, 9);
        let at = 40 + self.reservations.len() + 16;
        let total = at + structure.len() + strings.len();
        let mut blob = Vec::new();
        for number in [0xd00d_feed, total, at, at + structure.len(), 40, 17, 16, 0] {
            word(&mut blob, number);
        }
        word(&mut blob, strings.len());
        word(&mut blob, structure.len());
        blob.extend(&self.reservations);
        blob.extend([0; 16]);
        blob.extend(structure);
        blob.extend(strings);
        blob
    }

    /// The indices of parts of one kind.
    fn all(&self, kind: fn(&Part) -> bool) -> Vec<usize> {
        (0..self.parts.len()).filter(|&at| kind(&self.parts[at])).collect()
    }

    /// The `which`th node that is not the root: from its begin to after its end.
    fn node(&self, which: usize) -> Option<(usize, usize)> {
        let begins = self.all(|part| matches!(part, Part::Begin(_)));
        let start = *begins.get(1 + which % begins.len().checked_sub(1).filter(|&n| n > 0)?)?;
        let mut depth = 0;
        for (at, part) in self.parts.iter().enumerate().skip(start) {
            match part {
                Part::Begin(_) => depth += 1,
                Part::End => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some((start, at + 1));
            }
        }
        None
    }

    /// The `which`th property.
    fn property(&mut self, which: usize) -> Option<&mut Vec<u8>> {
        let all = self.all(|part| matches!(part, Part::Prop(..)));
        match self.parts.get_mut(*all.get(which % all.len().max(1))?)? {
            Part::Prop(_, value) => Some(value),
            _ => None,
        }
    }

    /// Returns the offset at which a child of the root may stand: after the root's properties.
    fn first_child(&self) -> usize {
        let begins = self.all(|part| matches!(part, Part::Begin(_)));
        begins.get(1).copied().unwrap_or(self.parts.len().saturating_sub(1))
    }

    fn insert(&mut self, at: usize, parts: impl IntoIterator<Item = Part>) {
        self.parts.splice(at..at, parts);
    }

    /// Applies a change of structure; one that nothing fits changes nothing.
    fn mutate(&mut self, mutation: &Mutation) -> Option<()> {
        let prop = |name: &str, value: &[u8]| Part::Prop(name.into(), value.to_vec());
        let longs = |numbers: &[u64]| Value::Numbers(numbers.to_vec()).bytes();
        let count = self.parts.len();
        match *mutation {
            Mutation::Token(from, to) => self.parts.swap(from % count, to % count),
            Mutation::Drop(at) => drop(self.parts.remove(at % count)),
            Mutation::Nop(at, many) => self.insert(at % count, vec![Part::Nop; many]),
            Mutation::Repeat(which, times) => {
                let (start, end) = self.node(which)?;
                let node = self.parts[start..end].to_vec();
                let times = times.min(4000 / node.len()).max(1);
                self.insert(end, node.iter().cloned().cycle().take(node.len() * times));
            }
            Mutation::Splice(from, to) => {
                let (start, end) = self.node(from)?;
                let node: Vec<Part> = self.parts.drain(start..end).collect();
                let place = self.node(to).map_or(self.first_child(), |(start, _)| start);
                self.insert(place, node);
            }
            Mutation::Remove(which) => {
                let (start, end) = self.node(which)?;
                self.parts.drain(start..end);
            }
            Mutation::Rename(which, name) => {
                let (start, _) = self.node(which)?;
                self.parts[start] = Part::Begin(NODES[name % NODES.len()].into());
            }
            Mutation::Nest(which, depth) => {
                let (start, end) = self.node(which)?;
                self.insert(end, vec![Part::End; depth]);
                self.insert(start, vec![Part::Begin(b"n".to_vec()); depth]);
            }
            Mutation::Set(which, name, ref value) => {
                let begins = self.all(|part| matches!(part, Part::Begin(_)));
                let node = *begins.get(which % begins.len().max(1))?;
                let name = PROPERTIES[name % PROPERTIES.len()].as_bytes();
                let head =
                    self.parts[node + 1..].iter().take_while(|p| matches!(p, Part::Prop(..)));
                let there =
                    head.into_iter().position(|p| matches!(p, Part::Prop(n, _) if n == name));
                match there {
                    Some(at) => self.parts[node + 1 + at] = Part::Prop(name.into(), value.bytes()),
                    None => self.insert(node + 1, [Part::Prop(name.into(), value.bytes())]),
                }
            }
            Mutation::Resize(which, length) => self.property(which)?.resize(length, 0xa5),
            Mutation::Multiply(which, times) => {
                let value = self.property(which)?;
                *value = value.repeat(times.min(20_000 / value.len().max(1)));
            }
            Mutation::Number(which, at, number) => {
                let value = self.property(which)?;
                let at = at % value.len().max(1) / 4 * 4;
                value.get_mut(at..at + 8)?.copy_from_slice(&number.to_be_bytes());
            }
            Mutation::Memory(base, size, nid) => {
                let at = self.first_child();
                let mut node = vec![Part::Begin(b"memory".to_vec())];
                node.push(prop("device_type", b"memory\0"));
                node.push(prop("reg", &longs(&[base, size])));
                if nid < 5 {
                    node.push(prop("numa-node-id", &nid.to_be_bytes()));
                }
                if size % 5 == 0 {
                    node.push(prop("hotpluggable", b""));
                }
                self.insert(at, node.into_iter().chain([Part::End]));
            }
            Mutation::Reserve(base, size, kind) => {
                let mut node = vec![Part::Begin(b"region".to_vec())];
                if kind & 1 == 0 {
                    node.push(prop("reg", &longs(&[base, size])));
                } else {
                    node.push(prop("size", &longs(&[size])));
                    if kind & 2 != 0 {
                        node.push(prop("alloc-ranges", &longs(&[base, size])));
                    }
                }
                if kind & 4 != 0 {
                    node.push(prop("no-map", b""));
                }
                if kind & 8 != 0 {
                    node.push(prop("compatible", b"shared-dma-pool\0"));
                    node.push(prop("reusable", b""));
                }
                node.push(Part::End);
                let name = b"reserved-memory";
                let is = |part: &Part| matches!(part, Part::Begin(n) if n == name);
                if let Some(parent) = self.parts.iter().position(is) {
                    let head = |part: &&Part| matches!(part, Part::Prop(..));
                    let head = self.parts[parent + 1..].iter().take_while(head).count();
                    self.insert(parent + 1 + head, node);
                } else {
                    let mut all = vec![Part::Begin(name.to_vec()), prop("ranges", b"")];
                    all.push(prop("#address-cells", &[0, 0, 0, 2]));
                    all.push(prop("#size-cells", &[0, 0, 0, 2]));
                    let at = self.first_child();
                    self.insert(at, all.into_iter().chain(node).chain([Part::End]));
                }
            }
            Mutation::MemReserve(base, size) => self.reservations.extend(longs(&[base, size])),
            // Of bytes: `mutate_bytes` has done them.
            _ => {}
        }
        Some(())
    }
}
