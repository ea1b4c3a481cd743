/* The UART's interrupt, SPI 33, is enabled, for CPU 0, and asks. */
    ldr     x10, =UART
    mov     w11, #0x301             // UARTCR: transmit, receive, enabled
    str     w11, [x10, #0x30]
    mov     w11, #0x20              // UARTIMSC: transmit
    str     w11, [x10, #0x38]
    mov     w11, #'U'
    str     w11, [x10]
    enable_gicv2
    mov     w11, #0x100
    str     w11, [x10, #0x820]      // GICD_ITARGETSR8
    ldr     w11, =0xa0a0a0a0
    str     w11, [x10, #0x420]      // GICD_IPRIORITYR8
    mov     w11, #2
    str     w11, [x10, #0x104]      // GICD_ISENABLER1
    hand_over
