/* The UART's interrupt, SPI 33, is enabled, for CPU 0, and asks. */
    ldr     x10, =UART
    mov     w11, #0x301
    str     w11, [x10, #0x30]
    mov     w11, #0x20
    str     w11, [x10, #0x38]
    mov     w11, #'U'
    str     w11, [x10]
    enable_gicv3
    mov     w11, #2
    str     w11, [x10, #0x84]       // GICD_IGROUPR1
    mov     x13, #0x6108
    str     xzr, [x10, x13]         // GICD_IROUTER33
    str     w11, [x10, #0x104]      // GICD_ISENABLER1
    hand_over
