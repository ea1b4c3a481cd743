/*
 * Core 1 waits in a spin table, and EL2, which this file stays at, answers for its ID registers:
 * as they are, but without PAN.
 */
    mov     x1, #1
    adr     x2, core_1
    cpu_on
    hand_over
core_1:
    adr     x9, vectors_el2
    msr     vbar_el2, x9
    mrs     x9, midr_el1
    msr     vpidr_el2, x9
    mrs     x9, mpidr_el1
    msr     vmpidr_el2, x9
    msr     cntvoff_el2, xzr
    to_el1 (1 << 18)                // TID3
    spin_table

/* x29 and x30 in TPIDR_EL2 and VTTBR_EL2, which nobody uses: there is no stack. */
trapped:
    msr     tpidr_el2, x30
    msr     vttbr_el2, x29
    mrs     x30, elr_el2
    add     x30, x30, #4
    msr     elr_el2, x30
    mrs     x29, esr_el2
    ubfx    x30, x29, #1, #4        // CRm
    ubfx    x29, x29, #17, #3       // Op2
    add     x30, x29, x30, lsl #3
    adr     x29, readers
    add     x29, x29, x30, lsl #3
    br      x29
readers:
    .irp crm, 0, 1, 2, 3, 4, 5, 6, 7
    .irp op2, 0, 1, 2, 3, 4, 5, 6, 7
    mrs     x29, S3_0_C0_C\crm\()_\op2
    b       1f
    .endr
    .endr
1:  cmp     x30, #(7 * 8 + 1)       // ID_AA64MMFR1_EL1
    b.ne    2f
    bic     x29, x29, #(0xf << 20)
2:  msr     far_el2, x29
    mrs     x30, esr_el2
    ubfx    x30, x30, #5, #5        // Rt
    adr     x29, writers
    add     x29, x29, x30, lsl #4
    br      x29
writers:
    .irp rt, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28
    mrs     x\rt, far_el2
    mrs     x29, vttbr_el2
    mrs     x30, tpidr_el2
    eret
    .endr
    mrs     x29, far_el2            // x29
    mrs     x30, tpidr_el2
    eret
    nop
    mrs     x30, far_el2            // x30
    mrs     x29, vttbr_el2
    eret
    nop

.balign 2048
vectors_el2:
    .rept 8
    .balign 128
    b       .
    .endr
    .balign 128
    b       trapped
    .rept 7
    .balign 128
    b       .
    .endr
.balign 4096
.org 0x3ff8
release:
    .quad   0
