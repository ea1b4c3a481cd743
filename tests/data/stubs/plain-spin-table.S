/* Core 1 waits in a spin table. */
    mov     x1, #1
    adr     x2, core_1
    cpu_on
    hand_over
core_1:
    spin_table
    .balign 8
.org 0xff8
release:
    .quad   0
