/* CNTFRQ_EL0 was never set. */
    msr     cntfrq_el0, xzr
    hand_over
