//! /proc/sys/vm (Linux: mm/util.c, mm/mmap.c, Documentation/admin-guide/sysctl/vm.rst).

use super::super::FsError;
use super::super::tree::{File, Node};
use super::number;
use crate::mm::mm_struct::{self, Overcommit, sysctl};

/// Stores a number that `set` takes.
fn store(text: &str, set: impl FnOnce(u32)) -> Result<(), FsError> {
    number(text).map(set).ok_or(FsError::InvalidArgument)
}

/// /proc/sys/vm.
pub(in crate::fs) const VM: &[Node] = &[
    Node::File(
        File::new("admin_reserve_kbytes", |_, out| {
            writeln!(out, "{}", mm_struct::admin_reserve_kbytes())
        })
        .with_store(|text| store(text, |kb| mm_struct::set_reserves(Some(kb.into()), None))),
    ),
    Node::File(
        File::new("legacy_va_layout", |_, out| {
            writeln!(out, "{}", u8::from(sysctl::legacy_va_layout()))
        })
        .with_store(|text| store(text, |legacy| sysctl::set_legacy_va_layout(legacy != 0))),
    ),
    Node::File(
        File::new("max_map_count", |_, out| writeln!(out, "{}", sysctl::max_map_count()))
            .with_store(|text| match number(text) {
                // An `int` in Linux.
                Some(count) if i32::try_from(count).is_ok() => {
                    sysctl::set_max_map_count(count as usize);
                    Ok(())
                }
                _ => Err(FsError::InvalidArgument),
            }),
    ),
    Node::File(
        File::new("mmap_min_addr", |_, out| writeln!(out, "{}", sysctl::mmap_min_addr()))
            .with_store(|text| store(text, |at| sysctl::set_mmap_min_addr(at as usize))),
    ),
    Node::File(
        File::new("overcommit_kbytes", |_, out| {
            writeln!(out, "{}", mm_struct::overcommit_ratio_and_kbytes().1)
        })
        .with_store(|text| store(text, |kb| mm_struct::set_overcommit_kbytes(kb.into()))),
    ),
    Node::File(
        File::new("overcommit_memory", |_, out| {
            writeln!(out, "{}", mm_struct::overcommit_memory() as u8)
        })
        .with_store(|text| {
            let policy = match number(text) {
                Some(0) => Overcommit::Guess,
                Some(1) => Overcommit::Always,
                Some(2) => Overcommit::Never,
                _ => return Err(FsError::InvalidArgument),
            };
            mm_struct::set_overcommit_memory(policy);
            Ok(())
        }),
    ),
    Node::File(
        File::new("overcommit_ratio", |_, out| {
            writeln!(out, "{}", mm_struct::overcommit_ratio_and_kbytes().0)
        })
        .with_store(|text| store(text, |ratio| mm_struct::set_overcommit_ratio(ratio.into()))),
    ),
    Node::File(
        File::new("user_reserve_kbytes", |_, out| {
            writeln!(out, "{}", mm_struct::user_reserve_kbytes())
        })
        .with_store(|text| store(text, |kb| mm_struct::set_reserves(None, Some(kb.into())))),
    ),
];
