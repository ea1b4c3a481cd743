/*
 * For the Raspberry Pi 3, whose image is at 0x200000 and whose tree is in x0: the PL011 asks by the
 * devices' controller, the timer that the cores share by their own, and mailboxes are full.
 */
    mov     x20, x0
    ldr     x10, =0x3f201000
    mov     w11, #0x301
    str     w11, [x10, #0x30]
    mov     w11, #0x20
    str     w11, [x10, #0x38]
    mov     w11, #'U'
    str     w11, [x10]
    ldr     x10, =0x3f00b200
    mov     w11, #(1 << 25)         // of 32 to 63, the PL011's
    str     w11, [x10, #0x14]
    ldr     x10, =0x40000000
    mov     w11, #0xf
    str     w11, [x10, #0x50]       // core 0's mailboxes interrupt it
    ldr     w11, =0xff00ff00
    str     w11, [x10, #0x80]
    str     w11, [x10, #0x84]
    ldr     w11, =(3 << 28 | 1000)
    str     w11, [x10, #0x34]       // the local timer runs and interrupts
    mov     x0, x20
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    ldr     x4, =0x200000
    br      x4
