/* SGI 5 was taken and never ended: its priority stays the running one. */
    enable_gicv2
    ldr     w11, =0x00010005
    str     w11, [x10, #0xf00]      // GICD_SGIR
1:  ldr     w11, [x12, #0xc]        // GICC_IAR
    and     w13, w11, #0x3ff
    cmp     w13, #5
    b.ne    1b
    hand_over
