/* CNTFRQ_EL0 is below any tick. */
    mov     x9, #50
    msr     cntfrq_el0, x9
    hand_over
