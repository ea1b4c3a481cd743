//! From a path to a program that can run (Linux: fs/exec.c, load_elf_binary of fs/binfmt_elf.c).

use super::Process;
use crate::addr::{PAGE_SIZE, UserAddr};
use crate::arch::exception::PtRegs;
use crate::arch::features::user_ids;
use crate::arch::uaccess::UserSlice;
use crate::drivers::random::{get_random_bytes, get_random_u64};
use crate::errno::Errno;
use crate::fs::vfs::{self, OpenFile};
use crate::mm::alloc::{KArc, KVec};
use crate::mm::filemap::MappedFile;
use crate::mm::gfp::Gfp;
use crate::mm::mm_struct::{Limits, MMAP_RND_BITS, MmapArgs, UserMm};
use crate::mm::util::randomize_va_space;
use crate::unsize;
use crate::user::exec::args::Args;
use crate::user::exec::elf::{ElfType, Image};
use crate::user::exec::load::{self, FileMapping, Place, Which};
use crate::user::exec::random::{self, ADDR_NO_RANDOMIZE};
use crate::user::exec::stack::{self, Aux};
use crate::user::exec::{BINPRM_BUF_SIZE, ExecFile, script};
use crate::user::vdso;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::{self as abi, AT_FDCWD};

impl ExecFile for KArc<OpenFile> {
    fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<usize, Errno> {
        vfs::kernel_read(self, offset, to)
    }
}

/// A program's files and headers, all checked that can be before the old program is given up.
pub(super) struct Binary {
    program: (KArc<OpenFile>, Image),
    kind: ElfType,
    interpreter: Option<(KArc<OpenFile>, Image)>,
}

/// Opens a file to execute it, and reads its start. Zeros follow behind its end.
fn open(process: &Process, path: &[u8]) -> Result<(KArc<OpenFile>, [u8; BINPRM_BUF_SIZE]), Errno> {
    let file = process.with_caller(|caller| vfs::open_exec(caller, AT_FDCWD, path, 0))?;
    let mut buf = [0; BINPRM_BUF_SIZE];
    file.read_at(0, &mut buf)?;
    Ok((file, buf))
}

impl Binary {
    /// Opens the program at `path`; a script's interpreter in its place, with arguments to match.
    /// Process context (Linux: exec_binprm).
    ///
    /// # Errors
    /// Those of execve(2).
    pub(super) fn open(process: &Process, path: &[u8], args: &mut Args) -> Result<Self, Errno> {
        let (mut file, mut buf) = open(process, path)?;
        let mut name = KVec::new();
        name.extend_from_slice(path, Gfp::GFP_KERNEL)?;
        let mut depth = 0;
        while let Some(line) = script::parse(&buf)? {
            args.run_script(&line, &name)?;
            name.clear();
            name.extend_from_slice(line.interpreter, Gfp::GFP_KERNEL)?;
            (file, buf) = open(process, &name)?;
            depth += 1;
            if depth > script::MAX_DEPTH {
                return Err(Errno::ELOOP);
            }
        }
        let (image, kind) = Image::open_program(&buf, &file)?;
        let interpreter = match image.interpreter(&file)? {
            Some(path) => {
                let file =
                    process.with_caller(|caller| vfs::open_exec(caller, AT_FDCWD, &path, 0))?;
                let image = Image::open_interpreter(&file)?;
                Some((file, image))
            }
            None => None,
        };
        Ok(Self { program: (file, image), kind, interpreter })
    }

    /// The file of the program.
    pub(super) fn exe(&self) -> KArc<OpenFile> {
        self.program.0.clone()
    }
}

/// Places that are random (Linux: randomize_va_space).
#[derive(Clone, Copy)]
pub(super) struct Randomize(u32);

impl Randomize {
    /// As the machine and the process want it.
    pub(super) fn of(process: &Process) -> Self {
        let is_off = process.personality().load(Relaxed) & ADDR_NO_RANDOMIZE != 0;
        Self(if is_off { 0 } else { randomize_va_space() })
    }

    /// Returns true if stack, mappings and the program are moved.
    pub(super) const fn is_on(self) -> bool {
        self.0 != 0
    }

    /// Returns true if the heap is moved, too.
    const fn moves_brk(self) -> bool {
        self.0 > 1
    }
}

/// Maps segments into a new address space.
struct Loader<'a> {
    mm: &'a UserMm,
    limits: &'a Limits,
    binary: &'a Binary,
    randomize: bool,
}

impl load::AddressSpace for Loader<'_> {
    fn mmap(&mut self, mapping: &FileMapping) -> Result<u64, Errno> {
        let (file, _) = match (mapping.which, &self.binary.interpreter) {
            (Which::Interpreter, Some(interpreter)) => interpreter,
            _ => &self.binary.program,
        };
        let page = PAGE_SIZE as u64;
        // As vm_mmap checks it (Linux: vm_mmap).
        let end = mapping.len.checked_next_multiple_of(page);
        let end = end.and_then(|len| mapping.offset.checked_add(len));
        if end.is_none() || !mapping.offset.is_multiple_of(page) {
            return Err(Errno::EINVAL);
        }
        let bit = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
        let prot = bit(mapping.prot.read, abi::PROT_READ)
            | bit(mapping.prot.write, abi::PROT_WRITE)
            | bit(mapping.prot.exec, abi::PROT_EXEC);
        let place = match mapping.place {
            Place::Hint => 0,
            Place::Fixed => abi::MAP_FIXED,
            Place::FixedNoreplace => abi::MAP_FIXED_NOREPLACE,
        };
        let args = MmapArgs {
            addr: mapping.addr as usize,
            len: mapping.len as usize,
            prot,
            flags: abi::MAP_PRIVATE | place,
            file: Some(unsize!(KArc, file.clone() => dyn MappedFile)),
            pgoff: mapping.offset / page,
        };
        self.mm.mmap(args, self.limits).map(|at| at.get() as u64)
    }

    fn munmap(&mut self, addr: u64, len: u64) {
        let _ = self.mm.munmap(addr as usize, len as usize);
    }

    fn brk_flags(&mut self, addr: u64, len: u64, exec: bool) -> Result<(), Errno> {
        self.mm.vm_brk_flags(addr as usize, len as usize, exec, self.limits)
    }

    fn clear(&mut self, addr: u64, len: u64) -> bool {
        let slice = UserAddr::new(addr as usize)
            .and_then(|addr| UserSlice::from_size(addr, len as usize).ok());
        slice.is_some_and(|slice| slice.clear().is_ok())
    }

    fn mmap_rnd(&mut self) -> u64 {
        if self.randomize {
            (get_random_u64() & ((1 << MMAP_RND_BITS) - 1)) * PAGE_SIZE as u64
        } else {
            0
        }
    }
}

/// Bytes that a stack has below what is on it at first, if its limit allows that (Linux:
/// setup_arg_pages).
const STACK_EXPAND: usize = 128 << 10;

/// Maps the stack: pages for the strings, and some below.
fn setup_stack(
    mm: &UserMm,
    args: &Args,
    top: usize,
    exec: bool,
    limits: &Limits,
) -> Result<(), Errno> {
    let strings = 8 + args.filename().len() + args.argv().len() + args.envp().len();
    let size = strings.next_multiple_of(PAGE_SIZE);
    let range = mm.setup_arg_pages(top, size, exec, limits)?;
    let wanted = (size + STACK_EXPAND).min(limits.stack as usize & !(PAGE_SIZE - 1));
    if wanted > size
        && let Some(to) = UserAddr::new(top - wanted)
    {
        mm.expand_stack(range.start(), to, limits).map_err(|_| Errno::EFAULT)?;
    }
    Ok(())
}

/// Loads a program into the address space `mm`, which has no areas yet, and is that of the current
/// task. Process context (Linux: load_elf_binary, from begin_new_exec on).
///
/// # Errors
/// Linux's; the program can't run then.
pub(super) fn load_binary(
    process: &Process,
    mm: &UserMm,
    binary: &Binary,
    args: &Args,
    randomize: Randomize,
) -> Result<PtRegs, Errno> {
    let limits = process.mm_limits();
    // Faults look at them, where a stack grows.
    mm.set_limits(limits);
    let random = |is_wanted: bool| is_wanted.then(get_random_u64);
    let top = random::stack_top(random(randomize.is_on()));
    let (_, image) = &binary.program;
    setup_stack(mm, args, top as usize, image.executable_stack() == Some(true), &limits)?;
    let interpreter = binary.interpreter.as_ref().map(|(_, image)| image);
    let mut loader = Loader { mm, limits: &limits, binary, randomize: randomize.is_on() };
    let loaded = load::load(&mut loader, image, binary.kind, interpreter)?;
    let vdso = vdso::map(mm, &limits)?;

    let mut bytes = [0; 16];
    get_random_bytes(&mut bytes);
    let aux = Aux {
        sysinfo_ehdr: vdso.get() as u64,
        hwcap: user_ids().hwcap(),
        ids: [0; 4],
        secure: false,
        random: bytes,
    };
    // Linux moves the stack pointer by up to a page.
    let shift = random(randomize.is_on()).map_or(0, |random| random % PAGE_SIZE as u64);
    let stack = stack::build(args, &loaded, &aux, top, shift)?;
    let sp = UserAddr::new(stack.sp as usize).ok_or(Errno::EFAULT)?;
    UserSlice::from_size(sp, stack.bytes.len())?.copy_from(&stack.bytes)?;
    let brk = random::brk_start(&loaded, random(randomize.moves_brk())) as usize;
    mm.set_marks(|marks| {
        marks.start_code = loaded.start_code as usize;
        marks.end_code = loaded.end_code as usize;
        marks.start_data = loaded.start_data as usize;
        marks.end_data = loaded.end_data as usize;
        (marks.start_brk, marks.brk) = (brk, brk);
        marks.start_stack = stack.sp as usize;
        (marks.arg_start, marks.arg_end) = (stack.arg_start as usize, stack.arg_end as usize);
        (marks.env_start, marks.env_end) = (stack.arg_end as usize, stack.env_end as usize);
    });
    let pc = UserAddr::new(loaded.start as usize).ok_or(Errno::EINVAL)?;
    Ok(PtRegs::user(pc, sp))
}
