/* Core 1 waits in a spin table, and says to be the first of the second cluster. */
    mov     x1, #1
    adr     x2, core_1
    cpu_on
    hand_over
core_1:
    mrs     x9, midr_el1
    msr     vpidr_el2, x9
    ldr     x9, =0x80000100
    msr     vmpidr_el2, x9
    msr     cntvoff_el2, xzr
    to_el1
    spin_table
    .balign 8
.org 0xff8
release:
    .quad   0
