/* LPI 8192 is enabled and pending, and its tables are in RAM that the tree has free. */
.equ PROPERTIES, 0x4b000000
.equ PENDING, 0x4b010000
    enable_gicv3
    ldr     x13, =PROPERTIES
    mov     w11, #0x81              // priority, enable
    strb    w11, [x13]
    ldr     x14, =PENDING
    mov     w11, #1
    strb    w11, [x14, #1024]       // a bit for each number
    ldr     x12, =GICR
    orr     x13, x13, #0xe          // of 15 bits
    str     x13, [x12, #0x70]       // GICR_PROPBASER
    str     x14, [x12, #0x78]       // GICR_PENDBASER
    dsb     sy
    ldr     w11, [x12]
    orr     w11, w11, #1
    str     w11, [x12]              // GICR_CTLR.EnableLPIs
    dsb     sy
    ldr     w11, [x12]
1:  tbz     w11, #0, 1b
    hand_over
