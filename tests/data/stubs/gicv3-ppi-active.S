/* PPI 27 and SGI 5 were taken and never ended. */
    enable_gicv3
    ldr     w11, =0x80808080
    str     w11, [x12, #0x418]      // GICR_IPRIORITYR6
    mov     w11, #(1 << 27)
    str     w11, [x12, #0x100]      // GICR_ISENABLER0
    mov     x13, #1
    msr     cntv_cval_el0, xzr
    msr     cntv_ctl_el0, x13
    isb
1:  mrs     x11, S3_0_C12_C12_0     // ICC_IAR1_EL1
    cmp     x11, #27
    b.ne    1b
    msr     cntv_ctl_el0, xzr
    isb
    mov     w11, #0x20
    str     w11, [x12, #0x100]
    str     wzr, [x12, #0x404]      // its priority is above the running one
    str     w11, [x12, #0x200]      // GICR_ISPENDR0
2:  mrs     x11, S3_0_C12_C12_0
    cmp     x11, #5
    b.ne    2b
    hand_over
