/* CNTVCT_EL0 wraps in 0.52 ms: after the kernel started its clock, and before it sets the timer,
   which QEMU never fires at a time that it was given before the wrap. */
    mrs     x9, cntpct_el0
    mov     x10, #0x8000
    add     x9, x9, x10
    msr     cntvoff_el2, x9
    to_el1
    hand_over
