/*
 * The exception vectors (Arm ARM D1.3.1): the kernel's own, and those that hold
 * from the first instruction until the MMU is on.
 */

.equ STACK_SHIFT, 16                // linker.ld: STACK_SIZE
.equ FRAME_SIZE, 304                // exception::PtRegs

.section .vectors.text, "ax"

/*
 * An exception pushes a frame on the stack, unless the stack is what overflowed:
 * stacks begin at multiples of twice the size of the largest, so a bit of SP tells, and it is
 * tested without a register to spare.
 */
.macro ventry kind
    .balign 128
    sub     sp, sp, #FRAME_SIZE
    add     sp, sp, x0
    sub     x0, sp, x0
    tbnz    x0, #STACK_SHIFT, 1f
    sub     x0, sp, x0
    sub     sp, sp, x0
    stp     x0, x1, [sp]
    mov     x0, #\kind
    b       exception_entry
1:  sub     x0, sp, x0              // x0, as it was
    msr     cntv_cval_el0, x0
    sub     sp, sp, x0              // the overflown SP, less a frame
    b       stack_overflow
.endm

.balign 2048
.global vectors
vectors:
    ventry  0                       // current EL with SP_EL0
    ventry  1
    ventry  2
    ventry  3
    ventry  4                       // current EL with SP_ELx
    ventry  5
    ventry  6
    ventry  7
    el0_ventry 8                    // lower EL, AArch64: el0_entry.S
    el0_ventry 9
    el0_ventry 10
    el0_ventry 11
    ventry  12                      // lower EL, AArch32
    ventry  13
    ventry  14
    ventry  15

.section .text, "ax"

.macro save_frame
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x22, elr_el1
    mrs     x23, spsr_el1
    mrs     x24, esr_el1
    mrs     x25, far_el1
    stp     x22, x23, [sp, #256]
    stp     x24, x25, [sp, #272]
    stp     x29, x22, [sp, #288]    // a frame record: backtraces go on through it
    add     x29, sp, #288
.endm

exception_entry:
    save_frame
    add     x21, sp, #FRAME_SIZE
    stp     x30, x21, [sp, #240]
    mov     x1, x0
    mov     x0, sp
    bl      exception_handler

    ldp     x22, x23, [sp, #256]
    msr     elr_el1, x22
    msr     spsr_el1, x23
    ldp     x30, x21, [sp, #240]
    ldp     x28, x29, [sp, #224]
    ldp     x26, x27, [sp, #208]
    ldp     x24, x25, [sp, #192]
    ldp     x22, x23, [sp, #176]
    ldp     x20, x21, [sp, #160]
    ldp     x18, x19, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp], #FRAME_SIZE
    eret

/*
 * The registers go to this CPU's emergency stack, and it ends there. Those stacks lie at
 * multiples of twice STACK_SIZE too, so that an overflow of one begins again at its top.
 *
 * There is one register to work with, x0, which CNTV_CVAL_EL0 keeps: the CPU needs no timer any
 * more. TPIDR_EL0 and TPIDRRO_EL0 are the user's. The number n of the CPU goes above the 48 bits of
 * the address of the boot CPU's EMERGENCY_STACK; its shifted copy adds n times 2^24, the distance between
 * two CPUs' statics, and 0x800000 as the upper half of those 48 bits (exception.rs).
 */
stack_overflow:
    mrs     x0, tpidr_el1
    lsl     x0, x0, #48
    movk    x0, #:abs_g2_nc:EMERGENCY_STACK
    movk    x0, #:abs_g1_nc:EMERGENCY_STACK
    movk    x0, #:abs_g0_nc:EMERGENCY_STACK
    add     x0, x0, x0, lsr #24
    sub     x0, x0, #0x800, lsl #12
    orr     x0, x0, #0xffff000000000000
    ldr     x0, [x0]
    cbz     x0, 1f
    sub     x0, x0, #FRAME_SIZE
    str     x1, [x0, #8]
    mov     x1, sp
    mov     sp, x0
    mrs     x0, cntv_cval_el0
    str     x0, [sp]
    save_frame
    add     x21, x1, #FRAME_SIZE
    stp     x30, x21, [sp, #240]
    mov     x0, sp
    bl      stack_overflow_handler
1:  wfe
    b       1b

/*
 * Before the MMU is on: no stack to trust, no console. What is known goes to the
 * semihosting host; where the fault is the HLT itself there is none, and the CPU parks.
 */
.section .idmap.text, "ax"

.macro early_ventry kind
    .balign 128
    mov     x28, #\kind
    b       early_exception
.endm

.balign 2048
.global early_vectors
early_vectors:
    .irp kind, 0, 1, 2, 3, 4, 5, 6, 7
    early_ventry \kind
    .endr
    .balign 128
    b       early_call
    .irp kind, 9, 10, 11, 12, 13, 14, 15
    early_ventry \kind
    .endr

/*
 * What a lower exception level asks of EL2 or EL3, where the kernel was entered there: these
 * vectors stay in place, and the firmware that the device tree speaks of is not there. A call
 * by HVC or SMC is answered with NOT_SUPPORTED (Arm DEN 0028).
 */
early_call:
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.lo    2f
    b.hi    1f
    mrs     x1, esr_el2
    b       3f
1:  mrs     x1, esr_el3
    b       3f
2:  mrs     x1, esr_el1
3:  lsr     x1, x1, #26
    sub     x1, x1, #0x16           // HVC and SMC from AArch64
    cmp     x1, #1
    b.hi    4f
    mov     x0, #-1
    eret
4:  mov     x28, #8
    b       early_exception

early_exception:
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.eq    2f
    b.hi    3f
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    b       4f
2:  mrs     x0, esr_el2
    mrs     x1, elr_el2
    mrs     x2, far_el2
    b       4f
3:  mrs     x0, esr_el3
    mrs     x1, elr_el3
    mrs     x2, far_el3
4:  adr     x3, early_hlt
    cmp     x1, x3
    b.eq    early_park
    adrp    x3, _boot_stack_top
    mov     sp, x3
    mov     x3, x28
    mov     x4, x30
    b       early_fault

/* early_semihosting(op, parameter) */
.global early_semihosting
early_semihosting:
early_hlt:
    hlt     #0xf000
    ret

.global early_park
early_park:
    wfe
    b       early_park
