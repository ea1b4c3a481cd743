/*
 * What a boot loader may leave behind, for QEMU's machine virt: each file beside this one brings
 * the machine into a state, and then goes to the image as booting.rst asks for.
 * scripts/tests/cpus puts this file before each of them.
 */
.equ IMAGE, 0x40200000
.equ TREE, 0x48000000
.equ GICD, 0x08000000
.equ GICC, 0x08010000
.equ GICR, 0x080a0000
.equ UART, 0x09000000
.equ PSCI_CPU_ON, 0xc4000003

.macro hand_over
    ldr     x0, =TREE
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    ldr     x4, =IMAGE
    br      x4
.endm

/* Goes on behind it at EL1, from EL2, with these bits of HCR_EL2 beside RW; x9 changes. */
.macro to_el1 hcr=0
    mov     x9, #3
    msr     cnthctl_el2, x9
    ldr     x9, =(1 << 31 | \hcr)
    msr     hcr_el2, x9
    mov     x9, #0x33ff
    msr     cptr_el2, x9
    ldr     x9, =0x30d00800
    msr     sctlr_el1, x9
    mov     x9, #0x3c5
    msr     spsr_el2, x9
    adr     x9, 100f
    msr     elr_el2, x9
    isb
    eret
100:
.endm

/* Sends core x1 to x2 by SMC, which QEMU answers where there is an EL2. */
.macro cpu_on
    ldr     x0, =PSCI_CPU_ON
    mov     x3, xzr
    smc     #0
.endm

/* Waits for the word at label release, as a spin table does, and goes where it says. */
.macro spin_table
    adr     x10, release
200:
    wfe
    ldr     x11, [x10]
    cbz     x11, 200b
    mov     x0, xzr
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    br      x11
.endm

/* A GICv2 that takes interrupts. x10 = distributor, x12 = CPU interface. */
.macro enable_gicv2
    ldr     x10, =GICD
    mov     w11, #1
    str     w11, [x10]
    ldr     x12, =GICC
    mov     w11, #0xff
    str     w11, [x12, #4]
    mov     w11, #1
    str     w11, [x12]
.endm

/* A GICv3 that takes group 1. x10 = distributor, x12 = SGI page of the first redistributor. */
.macro enable_gicv3
    ldr     x10, =GICD
    mov     w11, #0x12
    str     w11, [x10]
    ldr     x12, =GICR
    str     wzr, [x12, #0x14]
    ldr     x12, =GICR + 0x10000
    mov     w11, #-1
    str     w11, [x12, #0x80]
    mov     x11, #1
    msr     S3_0_C12_C12_5, x11
    isb
    mov     x11, #0xff
    msr     S3_0_C4_C6_0, x11
    mov     x11, #1
    msr     S3_0_C12_C12_7, x11
    isb
.endm

.text
