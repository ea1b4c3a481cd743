//! Mapping the segments of a program and of its interpreter (Linux: fs/binfmt_elf.c,
//! load_elf_binary, load_elf_interp).

use super::elf::{ElfType, Image, ProgramHeader};
use crate::addr::{PAGE_SIZE, TASK_SIZE};
use crate::errno::Errno;
use elf::abi;

/// Place of programs that run at any address and have an interpreter (Linux: ELF_ET_DYN_BASE).
pub const ELF_ET_DYN_BASE: u64 = 2 * LIMIT / 3;

const LIMIT: u64 = TASK_SIZE as u64;
const PAGE: u64 = PAGE_SIZE as u64;

/// One of the two files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// The program.
    Program,
    /// The interpreter that it names.
    Interpreter,
}

/// Kind of a mapping's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// There, or elsewhere.
    Hint,
    /// There, in place of what is there (MAP_FIXED).
    Fixed,
    /// There, or nowhere (MAP_FIXED_NOREPLACE).
    FixedNoreplace,
}

/// Rights of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prot {
    /// PROT_READ
    pub read: bool,
    /// PROT_WRITE
    pub write: bool,
    /// PROT_EXEC
    pub exec: bool,
}

impl Prot {
    fn of(segment: &ProgramHeader) -> Self {
        let has = |flag| segment.p_flags & flag != 0;
        Self { read: has(abi::PF_R), write: has(abi::PF_W), exec: has(abi::PF_X) }
    }
}

/// Private mapping of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileMapping {
    /// The file.
    pub which: Which,
    /// Start, a multiple of the page size; any number.
    pub addr: u64,
    /// Number of bytes; any number.
    pub len: u64,
    /// The rights.
    pub prot: Prot,
    /// Kind of `addr`.
    pub place: Place,
    /// Offset in the file; any number.
    pub offset: u64,
}

/// The address space that segments are mapped into. Its methods may sleep, and check all numbers.
pub trait AddressSpace {
    /// Maps a file privately; returns where (Linux: vm_mmap).
    ///
    /// # Errors
    /// Those of mmap.
    fn mmap(&mut self, mapping: &FileMapping) -> Result<u64, Errno>;

    /// Takes mappings away (Linux: vm_munmap, of which the loader ignores errors).
    fn munmap(&mut self, addr: u64, len: u64);

    /// Maps zeros with the rights to read and write in place of what is there; nothing for no bytes
    /// (Linux: vm_brk_flags).
    ///
    /// # Errors
    /// Those of brk.
    fn brk_flags(&mut self, addr: u64, len: u64, exec: bool) -> Result<(), Errno>;

    /// Writes zeros (Linux: clear_user). Returns false if it can't.
    fn clear(&mut self, addr: u64, len: u64) -> bool;

    /// Returns the random offset of mappings, 0 if none is wanted (Linux: arch_mmap_rnd).
    fn mmap_rnd(&mut self) -> u64;
}

/// The program, as it was loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// Address where execution starts: the interpreter's entry if there is one.
    pub start: u64,
    /// The program's own entry (AT_ENTRY).
    pub entry: u64,
    /// Address of the program headers (AT_PHDR).
    pub phdr: u64,
    /// Number of program headers (AT_PHNUM).
    pub phnum: u16,
    /// Base of the interpreter; 0 without one (AT_BASE).
    pub base: u64,
    /// First address of code.
    pub start_code: u64,
    /// End of code.
    pub end_code: u64,
    /// First address of the last segment of data.
    pub start_data: u64,
    /// End of data that is in the file.
    pub end_data: u64,
    /// Start of the heap, before it is moved by a random distance: a multiple of the page size.
    pub brk: u64,
    /// `brk` is far from the segments: no gap is wanted.
    pub brk_moved: bool,
}

const fn page_start(addr: u64) -> u64 {
    addr & !(PAGE - 1)
}

const fn page_offset(addr: u64) -> u64 {
    addr & (PAGE - 1)
}

const fn page_align(addr: u64) -> u64 {
    addr.wrapping_add(PAGE - 1) & !(PAGE - 1)
}

/// Returns an address below the user's limit (Linux: BAD_ADDR).
fn good(addr: u64) -> Result<u64, Errno> {
    if addr < LIMIT { Ok(addr) } else { Err(Errno::EINVAL) }
}

/// Bytes from the first page of the segments to their end; 0 if there are none.
fn total_mapping_size(image: &Image) -> u64 {
    let min = image.loads().map(|s| page_start(s.p_vaddr)).min();
    let max = image.loads().map(|s| s.p_vaddr.wrapping_add(s.p_memsz)).max();
    match (min, max) {
        (Some(min), Some(max)) => max.wrapping_sub(min),
        _ => 0,
    }
}

/// The largest alignment that is a power of two, at least a page; 0 if none is.
fn maximum_alignment(image: &Image) -> u64 {
    let aligns = image.loads().map(|s| s.p_align).filter(|align| align.is_power_of_two());
    page_align(aligns.max().unwrap_or(0))
}

/// Returns true if the addresses of a segment, the first of which is `start`, can't be a user's.
fn is_beyond(segment: &ProgramHeader, start: u64) -> bool {
    start >= LIMIT
        || segment.p_filesz > segment.p_memsz
        || segment.p_memsz > LIMIT
        || LIMIT - segment.p_memsz < start
}

/// Maps what the file has of a segment; all of `total` bytes at first if that is not 0, and then
/// takes the rest away, so that there is room for all segments (Linux: elf_map).
fn elf_map(
    mm: &mut impl AddressSpace,
    (which, place): (Which, Place),
    addr: u64,
    segment: &ProgramHeader,
    total: u64,
) -> Result<u64, Errno> {
    let size = page_align(segment.p_filesz.wrapping_add(page_offset(segment.p_vaddr)));
    let offset = segment.p_offset.wrapping_sub(page_offset(segment.p_vaddr));
    let addr = page_start(addr);
    if size == 0 {
        return Ok(addr);
    }
    let len = if total == 0 { size } else { page_align(total) };
    let prot = Prot::of(segment);
    let at = mm.mmap(&FileMapping { which, addr, len, prot, place, offset })?;
    if total != 0 {
        mm.munmap(at.wrapping_add(size), len.wrapping_sub(size));
    }
    Ok(at)
}

/// Maps a segment: what the file has, and zeros behind (Linux: elf_load).
fn elf_load(
    mm: &mut impl AddressSpace,
    how: (Which, Place),
    addr: u64,
    segment: &ProgramHeader,
    total: u64,
) -> Result<u64, Errno> {
    let in_page = page_offset(segment.p_vaddr);
    let has_zeros = segment.p_memsz > segment.p_filesz;
    let (at, zero_start) = if segment.p_filesz == 0 {
        (page_start(addr), page_start(addr))
    } else {
        let at = good(elf_map(mm, how, addr, segment, total)?)?;
        let end = at.wrapping_add(in_page).wrapping_add(segment.p_filesz);
        let rest = page_offset(end.wrapping_neg());
        // A segment that can't be written keeps what the file has there.
        if has_zeros && rest != 0 && !mm.clear(end, rest) && segment.p_flags & abi::PF_W != 0 {
            return Err(Errno::EFAULT);
        }
        (at, end)
    };
    if has_zeros {
        let zero_start = page_align(zero_start);
        let zero_end = page_align(at.wrapping_add(in_page).wrapping_add(segment.p_memsz));
        let exec = segment.p_flags & abi::PF_X != 0;
        mm.brk_flags(zero_start, zero_end.wrapping_sub(zero_start), exec)?;
    }
    good(at)
}

/// The bias of a program that runs at any address, and how its first segment is placed.
fn dyn_bias(
    mm: &mut impl AddressSpace,
    program: &Image,
    first: &ProgramHeader,
    has_interpreter: bool,
    total: u64,
) -> Result<(u64, Place), Errno> {
    let alignment = maximum_alignment(program);
    let align = |bias: u64| if alignment == 0 { bias } else { bias & !(alignment - 1) };
    if has_interpreter {
        let bias = ELF_ET_DYN_BASE.wrapping_add(mm.mmap_rnd());
        return Ok((align(bias), Place::FixedNoreplace));
    }
    if alignment <= PAGE {
        return Ok((0, Place::Hint));
    }
    // A mapping at any place tells where there is room.
    let at = elf_load(mm, (Which::Program, Place::Hint), 0, first, total)?;
    mm.munmap(at, total);
    Ok((align(at), Place::FixedNoreplace))
}

/// Maps a program, and its interpreter if it has one (Linux: load_elf_binary, from the first segment
/// on). Process context.
///
/// # Errors
/// Those of the address space; EINVAL for segments and entries that are no addresses of users, EFAULT
/// where the zeros behind a segment can't be written. Part of the segments may be mapped then.
pub fn load(
    mm: &mut impl AddressSpace,
    program: &Image,
    kind: ElfType,
    interpreter: Option<&Image>,
) -> Result<Loaded, Errno> {
    let (mut bias, mut phdr, mut brk) = (0u64, 0u64, 0u64);
    let (mut start_code, mut end_code, mut start_data, mut end_data) = (u64::MAX, 0, 0, 0);
    for (n, segment) in program.loads().enumerate() {
        let (mut place, mut total) = (Place::Fixed, 0);
        let vaddr = segment.p_vaddr;
        if n == 0 && kind == ElfType::Exec {
            place = Place::FixedNoreplace;
        } else if n == 0 {
            total = total_mapping_size(program);
            if total == 0 {
                return Err(Errno::EINVAL);
            }
            (bias, place) = dyn_bias(mm, program, segment, interpreter.is_some(), total)?;
            bias = page_start(bias.wrapping_sub(vaddr));
        }
        let addr = bias.wrapping_add(vaddr);
        let at = elf_load(mm, (Which::Program, place), addr, segment, total)?;
        if n == 0 && kind == ElfType::Dyn {
            bias = bias.wrapping_add(at.wrapping_sub(page_start(addr)));
        }
        // The segment that has the program headers, if one has.
        let phoff = program.header.phoff();
        let end = segment.p_offset.wrapping_add(segment.p_filesz);
        if segment.p_offset <= phoff && phoff < end {
            phdr = (phoff - segment.p_offset).wrapping_add(vaddr);
        }
        let is_code = segment.p_flags & abi::PF_X != 0;
        if is_code {
            start_code = start_code.min(vaddr);
        }
        start_data = start_data.max(vaddr);
        if is_beyond(segment, vaddr) {
            return Err(Errno::EINVAL);
        }
        let file_end = vaddr.wrapping_add(segment.p_filesz);
        if is_code {
            end_code = end_code.max(file_end);
        }
        end_data = end_data.max(file_end);
        brk = brk.max(vaddr.wrapping_add(segment.p_memsz));
    }
    let entry = program.header.entry().wrapping_add(bias);
    let (start, base) = match interpreter {
        Some(interpreter) => {
            let base = load_interp(mm, interpreter, bias != 0)?;
            (good(base.wrapping_add(interpreter.header.entry()))?, base)
        }
        None => (good(entry)?, 0),
    };
    let brk_moved = kind == ElfType::Dyn && interpreter.is_none();
    Ok(Loaded {
        start,
        entry,
        phdr: phdr.wrapping_add(bias),
        phnum: program.header.phnum(),
        base,
        start_code: start_code.wrapping_add(bias),
        end_code: end_code.wrapping_add(bias),
        start_data: start_data.wrapping_add(bias),
        end_data: end_data.wrapping_add(bias),
        brk: page_align(if brk_moved { ELF_ET_DYN_BASE } else { brk.wrapping_add(bias) }),
        brk_moved,
    })
}

/// Maps an interpreter; returns its base. One at any address is asked for at its own addresses, or at
/// none where the program has a bias (Linux: load_elf_interp).
fn load_interp(mm: &mut impl AddressSpace, image: &Image, is_biased: bool) -> Result<u64, Errno> {
    // Linux has -1 for a file of another kind.
    let kind = image.header.elf_type().ok_or(Errno::EPERM)?;
    let mut total = total_mapping_size(image);
    if total == 0 {
        return Err(Errno::EINVAL);
    }
    let mut base = 0u64;
    for (n, segment) in image.loads().enumerate() {
        let is_placed = kind == ElfType::Exec || n > 0;
        let place = if is_placed { Place::Fixed } else { Place::Hint };
        let is_anywhere = !is_placed && is_biased;
        let addr = if is_anywhere { 0 } else { base.wrapping_add(segment.p_vaddr) };
        let at = elf_load(mm, (Which::Interpreter, place), addr, segment, total)?;
        total = 0;
        if !is_placed {
            base = at.wrapping_sub(page_start(segment.p_vaddr));
        }
        if is_beyond(segment, base.wrapping_add(segment.p_vaddr)) {
            return Err(Errno::ENOMEM);
        }
    }
    Ok(base)
}
