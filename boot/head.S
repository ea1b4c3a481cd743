/*
 * The first instructions: the arm64 Image header, the drop to EL1, a stack, Rust.
 *
 * On entry, as Linux's Documentation/arch/arm64/booting.rst asks of a boot loader:
 * MMU and data cache off, interrupts masked, x0 = physical address of the device
 * tree, the image cleaned to the point of coherency. Entered at EL1, EL2 or EL3.
 *
 * Until the MMU is on, x19 = device tree, x20 = physical address of the image,
 * x21 = the exception level that the boot loader entered at.
 */

.macro mov_q reg, value
    movz    \reg, #((\value >> 16) & 0xffff), lsl #16
    movk    \reg, #(\value & 0xffff)
.endm

.section .head.text, "ax"
.global _start
_start:
    b       primary_entry
    .long   0
    .quad   0                       // text_offset: none
    .quad   _image_size             // made to cover the symbol table by scripts/mkimage
    .quad   0xa                     // little endian, 4 KiB pages, anywhere in RAM
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

.section .idmap.text, "ax"

primary_entry:
    msr     daifset, #0xf
    mov     x19, x0
    adrp    x20, _text
    mrs     x21, CurrentEL
    ubfx    x21, x21, #2, #2
    bl      drop_to_el1
    bl      start_cycle_counter
    adrp    x0, _boot_stack_top
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    bl      early_map               // returns with the MMU on, in the identity map
    ldr     x8, =primary_switched
    br      x8

/*
 * Another core comes here, from PSCI's CPU_ON or a spin table, in the state that the
 * boot protocol asks for. SECONDARY_DATA (smp.rs) has what all cores need, and for each
 * that may come a record with its affinity: a core without one parks.
 */
.global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    bl      drop_to_el1
    bl      start_cycle_counter
    adrp    x9, SECONDARY_DATA
    add     x9, x9, :lo12:SECONDARY_DATA
    mrs     x2, mpidr_el1
    and     x3, x2, #0xff00000000   // Aff3
    and     x2, x2, #0xffffff       // Aff2 to Aff0
    orr     x2, x2, x3
    ldr     x3, [x9, #40]           // records
    add     x10, x9, #48
    mov     x11, xzr                // x11 = CPU number
1:  ldr     x0, [x10], #16
    cmp     x0, x2
    b.eq    2f
    add     x11, x11, #1
    cmp     x11, x3
    b.lo    1b
    b       early_park
2:  ldp     x1, x2, [x9]            // MAIR, TCR
    ldp     x3, x4, [x9, #16]       // SCTLR, TTBR0
    ldr     x5, [x9, #32]           // TTBR1
    msr     mair_el1, x1
    msr     tcr_el1, x2
    msr     ttbr0_el1, x4
    msr     ttbr1_el1, x5
    isb
    tlbi    vmalle1
    dsb     nsh
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el1, x3
    isb
    ldr     x8, =secondary_switched
    br      x8

/* Drops from EL3 or EL2 to EL1, MMU and caches off, early vectors; x0 to x3 change. */
drop_to_el1:
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    adrp    x0, early_vectors
    add     x0, x0, :lo12:early_vectors
    b.lo    at_el1
    b.eq    at_el2

at_el3:
    msr     vbar_el3, x0
    mov     x1, #0x531              // SCR_EL3: RW, HCE, NS, and the RES1 bits 5:4
    mrs     x2, id_aa64mmfr0_el1
    ubfx    x2, x2, #56, #4
    cbz     x2, 1f
    orr     x1, x1, #(1 << 27)      // FGTEn: EL2 reaches the fine-grained traps
1:  mrs     x2, id_aa64mmfr1_el1
    ubfx    x2, x2, #40, #4
    cbz     x2, 1f
    orr     x1, x1, #(1 << 38)      // HXEn: and HCRX_EL2
1:  mrs     x2, id_aa64pfr1_el1
    ubfx    x2, x2, #24, #4
    cbz     x2, 1f
    orr     x1, x1, #(1 << 41)      // EnTP2: TPIDR2_EL0, which comes with SME
1:  msr     scr_el3, x1
    msr     cptr_el3, xzr
    msr     mdcr_el3, xzr
    /*
     * A core that starts at EL3 has no firmware that made it coherent with the others:
     * CPUECTLR_EL1.SMPEN of the Cortex-A53, A35, A57, A72 and A73, before any cache is on.
     */
    mrs     x1, midr_el1
    lsr     x1, x1, #4
    mov     x2, #0xfff
    movk    x2, #0xff0, lsl #16     // implementer and part
    and     x1, x1, x2
    mov     x2, #0xd03
    movk    x2, #0x410, lsl #16
    sub     x1, x1, x2              // 0, 1, 4, 5 or 6
    cmp     x1, #6
    b.hi    1f
    mov     x2, #0x73
    lsr     x2, x2, x1
    tbz     x2, #0, 1f
    mrs     x1, S3_1_C15_C2_1       // CPUECTLR_EL1
    orr     x1, x1, #(1 << 6)
    msr     S3_1_C15_C2_1, x1
    isb
1:  mrs     x1, id_aa64pfr0_el1
    ubfx    x2, x1, #24, #4         // GIC: a system-register interface is there
    cbz     x2, 1f
    mov     x2, #0xf                // SRE, DFB, DIB, Enable
    msr     S3_6_C12_C12_5, x2      // ICC_SRE_EL3
    isb
1:  ubfx    x1, x1, #8, #4          // EL2 implemented?
    cbz     x1, 2f
    mov     x2, #0x3c9              // EL2h, DAIF masked
    msr     spsr_el3, x2
    adr     x2, at_el2
    msr     elr_el3, x2
    isb
    eret
2:  mov_q   x2, 0x30d00800          // SCTLR_EL1: MMU and caches off, RES1 bits
    msr     sctlr_el1, x2
    mov     x2, #0x3c5              // EL1h, DAIF masked
    msr     spsr_el3, x2
    adr     x2, at_el1
    msr     elr_el3, x2
    isb
    eret

at_el2:
    adrp    x0, early_vectors
    add     x0, x0, :lo12:early_vectors
    msr     vbar_el2, x0
    mov     x1, #(1 << 31)          // HCR_EL2: EL1 is AArch64; nothing trapped
    msr     hcr_el2, x1
    isb
    mov     x1, #3                  // CNTHCTL_EL2: EL1 may read the counter and timer
    msr     cnthctl_el2, x1
    msr     cntvoff_el2, xzr
    mrs     x1, midr_el1
    msr     vpidr_el2, x1
    mrs     x1, mpidr_el1
    msr     vmpidr_el2, x1
    mov     x1, #0x33ff             // CPTR_EL2: no trap of FP and SIMD
    msr     cptr_el2, x1
    msr     hstr_el2, xzr
    msr     vttbr_el2, xzr

    mrs     x1, id_aa64dfr0_el1
    ubfx    x1, x1, #8, #4          // PMUVer: 0 none, 15 not the architected one
    mov     x2, xzr
    cbz     x1, 1f
    cmp     x1, #15
    b.eq    1f
    mrs     x2, pmcr_el0
    ubfx    x2, x2, #11, #5         // all event counters to EL1
1:  msr     mdcr_el2, x2

    mrs     x1, id_aa64pfr0_el1
    ubfx    x1, x1, #24, #4
    cbz     x1, 2f
    mrs     x1, S3_4_C12_C9_5       // ICC_SRE_EL2
    orr     x1, x1, #1              // SRE
    orr     x1, x1, #8              // Enable: EL1 may use its own
    msr     S3_4_C12_C9_5, x1
    isb
    mrs     x1, S3_4_C12_C9_5       // does not stick where EL3 runs the GIC as a GICv2
    tbz     x1, #0, 2f
    msr     S3_4_C12_C11_0, xzr     // ICH_HCR_EL2

2:  mrs     x1, id_aa64mmfr0_el1
    ubfx    x1, x1, #56, #4         // FGT: fine-grained traps, all off
    cbz     x1, 3f
    msr     S3_4_C3_C1_4, xzr       // HDFGRTR_EL2
    msr     S3_4_C3_C1_5, xzr       // HDFGWTR_EL2
    mrs     x1, id_aa64pfr1_el1
    ubfx    x1, x1, #24, #4         // SME
    cbz     x1, 1f
    mov     x1, #(1 << 55)          // nTPIDR2_EL0: no trap
1:  msr     S3_4_C1_C1_4, x1        // HFGRTR_EL2
    msr     S3_4_C1_C1_5, x1        // HFGWTR_EL2
    msr     S3_4_C1_C1_6, xzr       // HFGITR_EL2
3:  mrs     x1, id_aa64mmfr1_el1
    ubfx    x1, x1, #40, #4         // HCX
    cbz     x1, 4f
    msr     S3_4_C1_C2_2, xzr       // HCRX_EL2
4:  mov_q   x1, 0x30d00800
    msr     sctlr_el1, x1
    mov     x1, #0x3c5
    msr     spsr_el2, x1
    adr     x1, at_el1
    msr     elr_el2, x1
    isb
    eret

at_el1:
    msr     spsel, #1
    adrp    x0, early_vectors
    add     x0, x0, :lo12:early_vectors
    msr     vbar_el1, x0
    mov_q   x0, 0x30d00800
    msr     sctlr_el1, x0
    /*
     * What EL0 may use, and whether EL1 may use floating point, is unknown after a reset
     * (Linux: __cpu_setup). Nothing here, until the kernel lets it.
     */
    msr     cpacr_el1, xzr          // no floating point, SIMD, SVE or SME, no trace registers
    mov     x0, #(1 << 12)
    msr     mdscr_el1, x0           // TDCC: no debug channel at EL0; no step, no breakpoints
    msr     cntkctl_el1, xzr        // no counters and timers at EL0, no event stream
    mrs     x0, id_aa64dfr0_el1
    ubfx    x0, x0, #8, #4          // PMUVer: 0 none, 15 not the architected one
    cbz     x0, 1f
    cmp     x0, #15
    b.eq    1f
    msr     pmuserenr_el0, xzr      // no counters of the PMU at EL0
1:  mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #44, #4         // AMU
    cbz     x0, 1f
    msr     S3_3_C13_C2_3, xzr      // AMUSERENR_EL0: nor of activity monitors
1:  isb
    ret

/* The cycle counter runs from here on, where there is one; x1 changes. */
start_cycle_counter:
    mrs     x1, id_aa64dfr0_el1
    ubfx    x1, x1, #8, #4
    cbz     x1, 1f
    cmp     x1, #15
    b.eq    1f
    mov     x1, #0x45               // PMCR_EL0: enable, reset and widen the cycle counter
    msr     pmcr_el0, x1
    msr     pmccfiltr_el0, xzr
    mov     x1, #(1 << 31)
    msr     pmcntenset_el0, x1
    isb
1:  ret

.section .text, "ax"

primary_switched:
    adrp    x0, _boot_stack_top     // the same stack by its virtual address
    mov     sp, x0
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0
    msr     tpidr_el1, xzr          // CPU 0
    adrp    x0, INIT_TASK           // the current task (sched::current)
    add     x0, x0, :lo12:INIT_TASK
    msr     sp_el0, x0
    isb

    adrp    x0, _bss
    adrp    x1, _ebss
1:  stp     xzr, xzr, [x0], #16
    stp     xzr, xzr, [x0], #16
    stp     xzr, xzr, [x0], #16
    stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    mov     x1, x20
    mov     x2, x21
    bl      start_kernel
2:  wfe
    b       2b

secondary_switched:
    adrp    x9, SECONDARY_DATA
    add     x9, x9, :lo12:SECONDARY_DATA
    add     x9, x9, x11, lsl #4
    ldr     x0, [x9, #56]           // its own stack, for good
    mov     sp, x0
    msr     tpidr_el1, x11
    adrp    x0, INIT_TASK           // until it is told its own
    add     x0, x0, :lo12:INIT_TASK
    msr     sp_el0, x0
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0
    isb
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x11
    bl      secondary_start_kernel
1:  wfe
    b       1b
