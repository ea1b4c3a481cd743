/* All cores begin here at EL3: core 1 waits in a spin table. */
    mrs     x1, mpidr_el1
    ands    x1, x1, #0xff
    b.ne    1f
    hand_over
1:  spin_table
    .balign 8
.org 0xff8
release:
    .quad   0
