//! Random places (Linux: mm/util.c, arch/arm64/kernel/process.c).

use super::load::Loaded;
use crate::addr::{PAGE_SIZE, TASK_SIZE};

const PAGE: u64 = PAGE_SIZE as u64;
/// Bytes in which the heap of a program may begin (Linux: arch_randomize_brk).
const BRK_RANGE: u64 = 1 << 30;
/// Pages by which a stack may be lower (Linux: STACK_RND_MASK).
const STACK_RND_MASK: u64 = 0x3ffff;

/// ADDR_NO_RANDOMIZE of personality(2).
pub const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;
/// ADDR_COMPAT_LAYOUT of personality(2).
pub const ADDR_COMPAT_LAYOUT: u32 = 0x020_0000;
/// READ_IMPLIES_EXEC of personality(2).
pub const READ_IMPLIES_EXEC: u32 = 0x040_0000;

/// End of the stack, by a random number (Linux: randomize_stack_top).
#[must_use]
pub const fn stack_top(random: Option<u64>) -> u64 {
    match random {
        Some(random) => TASK_SIZE as u64 - (random & STACK_RND_MASK) * PAGE,
        None => TASK_SIZE as u64,
    }
}

/// Start of the heap (Linux: load_elf_binary): behind the program, a page away from it and at a
/// random distance if there is a number for that.
#[must_use]
pub fn brk_start(loaded: &Loaded, random: Option<u64>) -> u64 {
    let Some(random) = random else { return loaded.brk };
    let start = if loaded.brk_moved { loaded.brk } else { loaded.brk.saturating_add(PAGE) };
    start.saturating_add(random % (BRK_RANGE / PAGE) * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(brk: u64, brk_moved: bool) -> Loaded {
        Loaded {
            start: 0,
            entry: 0,
            phdr: 0,
            phnum: 0,
            base: 0,
            start_code: 0,
            end_code: 0,
            start_data: 0,
            end_data: 0,
            brk,
            brk_moved,
        }
    }

    #[test]
    fn places() {
        assert_eq!(stack_top(None), 1 << 48);
        assert_eq!(stack_top(Some(0)), 1 << 48);
        assert_eq!(stack_top(Some(u64::MAX)), (1 << 48) - 0x3fff_f000);
        assert_eq!(brk_start(&loaded(0x5000, false), None), 0x5000);
        assert_eq!(brk_start(&loaded(0x5000, false), Some(0)), 0x6000);
        assert_eq!(brk_start(&loaded(0x5000, true), Some(0)), 0x5000);
        assert_eq!(brk_start(&loaded(0x5000, true), Some(u64::MAX)), 0x5000 + (1 << 30) - 0x1000);
    }
}
