/* PPI 27, the virtual timer's, was taken and never ended, on this CPU. */
    enable_gicv2
    mov     w11, #(1 << 27)
    str     w11, [x10, #0x100]      // GICD_ISENABLER0
    mov     x13, #1
    msr     cntv_cval_el0, xzr
    msr     cntv_ctl_el0, x13
    isb
1:  ldr     w11, [x12, #0xc]        // GICC_IAR
    and     w13, w11, #0x3ff
    cmp     w13, #27
    b.ne    1b
    msr     cntv_ctl_el0, xzr
    isb
    hand_over
