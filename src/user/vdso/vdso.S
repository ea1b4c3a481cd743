/*
 * The vDSO: an ELF library that the kernel maps into each program (Linux: arch/arm64/kernel/vdso).
 * It is written out here as the bytes of its file, of two pages as Linux's, so that no linker is needed
 * beside the kernel's. Offsets are those from vdso_start. Programs look its functions up in the dynamic
 * symbol table by name and by the version LINUX_2.6.39.
 *
 * Its data lies two pages before (mod.rs, VdsoData); the page between is Linux's for time namespaces:
 *   0  u32  sequence number, odd while the rest is being written
 *   4  u32  1 if the counter tells the time
 *   8  u64  value of the counter when the kernel started
 *  16  u64  nanoseconds in a tick, times 2^32
 *  24  u64  realtime when the kernel started, in nanoseconds
 */

.macro vdso_symbol name, start, end
    .word \name - vdso_strtab
    .byte 0x12, 0               // global function
    .hword 1                    // of some section: not undefined
    .quad \start - vdso_start
    .quad \end - \start
.endm

.macro vdso_dyn tag, value
    .quad \tag, \value
.endm

// x5 = nanoseconds since the kernel's start, x11 = realtime at its start; to `none` if the counter
// doesn't tell. Uses x3 to x10.
.macro vdso_read none
    adr x3, vdso_start - 8192
1:  ldr w4, [x3]
    tbnz w4, #0, 1b
    dmb ishld
    ldr w5, [x3, #4]
    cbz w5, \none
    isb
    mrs x5, cntvct_el0
    // Erratum 858921 of the Cortex-A73: of two reads, the one that met no change of bit 32.
    mrs x6, cntvct_el0
    eor x7, x5, x6
    tst x7, #(1 << 32)
    csel x5, x5, x6, ne
    ldp x6, x7, [x3, #8]
    ldr x11, [x3, #24]
    dmb ishld
    ldr w8, [x3]
    cmp w8, w4
    b.ne 1b
    sub x5, x5, x6
    mul x9, x5, x7
    umulh x10, x5, x7
    extr x5, x10, x9, #32
.endm

// x7 = seconds and x5 = nanoseconds of x5 nanoseconds. Uses x6.
.macro vdso_split
    mov x6, #(1000000000 & 0xffff)
    movk x6, #(1000000000 >> 16), lsl #16
    udiv x7, x5, x6
    msub x5, x7, x6, x5
.endm

    .pushsection .rodata.vdso, "a"
    .balign 4096
    .global vdso_start, vdso_end, vdso_sigtramp
vdso_start:
    // The header of the file.
    .byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0
    .quad 0
    .hword 3, 183
    .word 1
    .quad 0, vdso_phdrs - vdso_start, 0
    .word 0
    .hword 64, 56, 2, 64, 0, 0
vdso_phdrs:
    .word 1, 5                  // PT_LOAD, to be read and executed
    .quad 0, 0, 0, vdso_end - vdso_start, vdso_end - vdso_start, 4096
    .word 2, 4                  // PT_DYNAMIC
    .quad vdso_dynamic - vdso_start, vdso_dynamic - vdso_start, vdso_dynamic - vdso_start
    .quad vdso_dynamic_end - vdso_dynamic, vdso_dynamic_end - vdso_dynamic, 8

    .balign 8
vdso_hash:                      // one bucket, with all symbols in a chain
    .word 1, 5
    .word 1
    .word 0, 2, 3, 4, 0

    .balign 8
vdso_symtab:
    .quad 0, 0, 0
    vdso_symbol vdso_n_gettime, vdso_clock_gettime, vdso_clock_gettime_end
    vdso_symbol vdso_n_getres, vdso_clock_getres, vdso_clock_getres_end
    vdso_symbol vdso_n_gettod, vdso_gettimeofday, vdso_gettimeofday_end
    vdso_symbol vdso_n_sigret, vdso_sigtramp, vdso_sigtramp_end

vdso_strtab:
    .byte 0
vdso_n_soname: .asciz "linux-vdso.so.1"
vdso_n_version: .asciz "LINUX_2.6.39"
vdso_n_gettime: .asciz "__kernel_clock_gettime"
vdso_n_getres: .asciz "__kernel_clock_getres"
vdso_n_gettod: .asciz "__kernel_gettimeofday"
vdso_n_sigret: .asciz "__kernel_rt_sigreturn"
vdso_strtab_end:

    .balign 2
vdso_versym:
    .hword 0, 2, 2, 2, 2

    .balign 8
vdso_verdef:
    .hword 1, 1, 1, 1           // version 1 is the library itself
    .word 0xdeebfa1, 20, 28
    .word vdso_n_soname - vdso_strtab, 0
    .hword 1, 0, 2, 1
    .word 0x75fcb89, 20, 0
    .word vdso_n_version - vdso_strtab, 0

    .balign 8
vdso_dynamic:
    vdso_dyn 14, vdso_n_soname - vdso_strtab            // DT_SONAME
    vdso_dyn 4, vdso_hash - vdso_start                  // DT_HASH
    vdso_dyn 5, vdso_strtab - vdso_start                // DT_STRTAB
    vdso_dyn 6, vdso_symtab - vdso_start                // DT_SYMTAB
    vdso_dyn 10, vdso_strtab_end - vdso_strtab          // DT_STRSZ
    vdso_dyn 11, 24                                     // DT_SYMENT
    vdso_dyn 0x6ffffff0, vdso_versym - vdso_start       // DT_VERSYM
    vdso_dyn 0x6ffffffc, vdso_verdef - vdso_start       // DT_VERDEF
    vdso_dyn 0x6ffffffd, 2                              // DT_VERDEFNUM
    vdso_dyn 0, 0
vdso_dynamic_end:

    .balign 16
    // int clock_gettime(clockid_t, struct timespec *): CLOCK_REALTIME, CLOCK_MONOTONIC,
    // CLOCK_MONOTONIC_RAW and CLOCK_BOOTTIME; the others by a system call.
vdso_clock_gettime:
    cmp w0, #7
    b.hi 9f
    mov w2, #0x93
    lsr w2, w2, w0
    tbz w2, #0, 9f
    vdso_read 9f
    cbnz w0, 2f
    add x5, x5, x11
2:  vdso_split
    stp x7, x5, [x1]
    mov w0, #0
    ret
9:  mov x8, #113
    svc #0
    ret
vdso_clock_gettime_end:

    .balign 16
    // int clock_getres(clockid_t, struct timespec *): a nanosecond for the same clocks.
vdso_clock_getres:
    cmp w0, #7
    b.hi 9f
    mov w2, #0x93
    lsr w2, w2, w0
    tbz w2, #0, 9f
    cbz x1, 2f
    mov x2, #1
    stp xzr, x2, [x1]
2:  mov w0, #0
    ret
9:  mov x8, #114
    svc #0
    ret
vdso_clock_getres_end:

    .balign 16
    // int gettimeofday(struct timeval *, struct timezone *): the time zone is UTC.
vdso_gettimeofday:
    cbz x0, 2f
    vdso_read 9f
    add x5, x5, x11
    vdso_split
    mov x6, #1000
    udiv x5, x5, x6
    stp x7, x5, [x0]
2:  cbz x1, 3f
    str xzr, [x1]
3:  mov w0, #0
    ret
9:  mov x8, #169
    svc #0
    ret
vdso_gettimeofday_end:

    .balign 16
    // Unwinders look for the NOP, and for these two instructions.
    nop
vdso_sigtramp:
    mov x8, #139
    svc #0
vdso_sigtramp_end:

    .balign 4096
    .skip 4096
vdso_end:
    .popsection
