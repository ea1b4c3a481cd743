//! Executable files against a model of an address space.

mod hostile;
mod loading;
mod scripts;
mod stacks;

use super::ExecFile;
use super::elf::{ElfType, Image};
use super::load::{AddressSpace, FileMapping, Loaded, Place, Which, load};
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::errno::Errno;
use crate::mm::page_alloc;
use crate::mm::slab::{kmem_cache_init, shrink_all, validate};
use std::vec::Vec;

const LIMIT: u64 = 1 << 48;
const PAGE: u64 = 4096;

/// Runs `f` on a machine, and sees that it leaves nothing.
fn on_machine<R>(f: impl FnOnce() -> R) -> R {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 32 << 20)], |m| {
        page_alloc::init(m.ram());
        kmem_cache_init(3);
        let before = page_alloc::nr_used_pages();
        let result = f();
        validate();
        shrink_all();
        assert_eq!(page_alloc::nr_used_pages(), before, "something was not freed");
        result
    })
}

/// A program header, in the order of the file.
#[derive(Clone, Copy, Default)]
struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    filesz: u64,
    memsz: u64,
    align: u64,
}

const R: u32 = 4;
const W: u32 = 2;
const X: u32 = 1;

fn segment(flags: u32, offset: u64, vaddr: u64, filesz: u64, memsz: u64) -> Segment {
    Segment { kind: 1, flags, offset, vaddr, filesz, memsz, align: 0x1_0000 }
}

/// Bytes of a file.
#[derive(Clone)]
struct File(Vec<u8>);

impl ExecFile for File {
    fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<usize, Errno> {
        let rest = self.0.get(offset as usize..).unwrap_or(&[]);
        let len = rest.len().min(to.len());
        to[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// An ELF file of `kind` (2: at addresses of its own, 3: at any) with these headers.
fn elf(kind: u16, entry: u64, segments: &[Segment]) -> File {
    let mut bytes = std::vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    bytes.resize(16, 0);
    for half in [kind, 183] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(1u32.to_le_bytes());
    for word in [entry, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0u32.to_le_bytes());
    for half in [64, 56, segments.len() as u16, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for s in segments {
        bytes.extend(s.kind.to_le_bytes());
        bytes.extend(s.flags.to_le_bytes());
        for word in [s.offset, s.vaddr, s.vaddr, s.filesz, s.memsz, s.align] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes.resize(bytes.len().max(0x2_0000), 0xee);
    File(bytes)
}

/// Contents of a range of the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Content {
    File(Which, u64),
    Zeros,
}

/// An address space that is a list of ranges.
#[derive(Default)]
struct Model {
    ranges: Vec<(u64, u64, Content)>,
    cleared: Vec<(u64, u64)>,
    rnd: u64,
    /// The clear of the end of a page fails.
    cannot_clear: bool,
}

fn align(len: u64) -> Option<u64> {
    Some(len.checked_add(PAGE - 1)? & !(PAGE - 1))
}

impl Model {
    fn place(&self, at: u64, len: u64, place: Place) -> Result<u64, Errno> {
        if len > LIMIT || at > LIMIT - len {
            return Err(Errno::ENOMEM);
        }
        let is_free =
            |at: u64| at + len <= LIMIT && !self.ranges.iter().any(|r| r.0 < at + len && at < r.1);
        match place {
            Place::Fixed => Ok(at),
            Place::FixedNoreplace if is_free(at) => Ok(at),
            Place::FixedNoreplace => Err(Errno::EEXIST),
            Place::Hint if at != 0 && is_free(at) => Ok(at),
            // Top-down from below the stack.
            Place::Hint => {
                let ends = self.ranges.iter().map(|r| r.0).chain([0x7f_ffff_f000]);
                let starts = ends.filter_map(|end| end.checked_sub(len));
                starts.filter(|&at| at < 0x7f_ffff_f000 && is_free(at)).max().ok_or(Errno::ENOMEM)
            }
        }
    }

    fn put(&mut self, at: u64, len: u64, content: Content) {
        self.munmap(at, len);
        self.ranges.push((at, at + len, content));
        self.ranges.sort_by_key(|r| r.0);
    }
}

impl AddressSpace for Model {
    fn mmap(&mut self, m: &FileMapping) -> Result<u64, Errno> {
        let len = align(m.len).ok_or(Errno::ENOMEM)?;
        if !m.offset.is_multiple_of(PAGE) || m.offset.checked_add(len).is_none() || len == 0 {
            return Err(Errno::EINVAL);
        }
        assert_eq!(m.addr % PAGE, 0);
        let at = self.place(m.addr, len, m.place)?;
        self.put(at, len, Content::File(m.which, m.offset));
        Ok(at)
    }

    fn munmap(&mut self, addr: u64, len: u64) {
        let Some(len) = align(len) else { return };
        if addr > LIMIT || len > LIMIT - addr {
            return;
        }
        let end = addr + len;
        let shift = |content, by| match content {
            Content::File(which, offset) => Content::File(which, offset + by),
            Content::Zeros => Content::Zeros,
        };
        let split = self.ranges.iter().flat_map(|&(from, to, content)| {
            let before = (from, to.min(addr), content);
            let after = (from.max(end), to, shift(content, from.max(end) - from));
            [before, after].into_iter().filter(|r| r.0 < r.1)
        });
        self.ranges = split.collect();
        self.ranges.dedup();
    }

    fn brk_flags(&mut self, addr: u64, len: u64, _: bool) -> Result<(), Errno> {
        if len == 0 {
            return Ok(());
        }
        let len = align(len).ok_or(Errno::ENOMEM)?;
        let at = self.place(addr, len, Place::Fixed)?;
        self.put(at, len, Content::Zeros);
        Ok(())
    }

    fn clear(&mut self, addr: u64, len: u64) -> bool {
        self.cleared.push((addr, len));
        !self.cannot_clear
    }

    fn mmap_rnd(&mut self) -> u64 {
        self.rnd
    }
}

/// Opens a program and its interpreter, and maps them.
fn exec(mm: &mut Model, program: &File, interpreter: Option<&File>) -> Result<Loaded, Errno> {
    let (image, kind): (Image, ElfType) = Image::open_program(&program.0, program)?;
    let interpreter = interpreter.map(|file| Image::open_interpreter(file)).transpose()?;
    load(mm, &image, kind, interpreter.as_ref())
}
