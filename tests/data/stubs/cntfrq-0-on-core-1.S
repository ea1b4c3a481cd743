/* Core 1 waits in a spin table, with a CNTFRQ_EL0 that was never set. */
    mov     x1, #1
    adr     x2, core_1
    cpu_on
    hand_over
core_1:
    msr     cntfrq_el0, xzr
    spin_table
    .balign 8
.org 0xff8
release:
    .quad   0
