/* SPI 34, the clock's, was taken and never ended, and SGI 3 is pending. */
    enable_gicv2
    mov     w11, #0x010000
    str     w11, [x10, #0x820]      // GICD_ITARGETSR8
    mov     w11, #4
    str     w11, [x10, #0x104]      // GICD_ISENABLER1
    str     w11, [x10, #0x204]      // GICD_ISPENDR1
1:  ldr     w11, [x12, #0xc]        // GICC_IAR
    and     w13, w11, #0x3ff
    cmp     w13, #34
    b.ne    1b
    ldr     w11, =0x00010003
    str     w11, [x10, #0xf00]      // GICD_SGIR
    hand_over
