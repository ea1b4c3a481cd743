/*
 * Exceptions from EL0, and the way there (Linux: arch/arm64/kernel/entry.S).
 *
 * While the CPU is at EL0, SP_EL1 is the address of a frame, el0_entry::Frame, at the end of the
 * kernel stack that is in use; so an exception from EL0 finds room, whatever comes. SP_EL0 is the
 * user's stack pointer at EL0, and at EL1 what the kernel had there when it went to EL0 (the
 * current task), which the frame keeps.
 *
 * On the fast path x19 to x28 stay where they are: the handler preserves them, as any function
 * does. Where the handler wants all registers it says so, and they are saved then.
 */

.equ EL0_FRAME_SIZE, 336            // el0_entry::Frame
.equ EL0_TASK, 304
.equ EL0_RECORD, 288                // a frame record: backtraces go on through it

.macro el0_save
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    str     x18, [sp, #144]
    mrs     x8, sp_el0
    mrs     x9, elr_el1
    mrs     x10, spsr_el1
    ldr     x11, [sp, #EL0_TASK]
    str     x29, [sp, #232]
    stp     x30, x8, [sp, #240]
    stp     x9, x10, [sp, #256]
    msr     sp_el0, x11
    add     x29, sp, #EL0_RECORD
.endm

/* An exception through vector 8 to 11. */
.macro el0_ventry kind
    .balign 128
    el0_save
    .if \kind == 8
    mrs     x1, esr_el1
    .else
    mov     x1, #\kind
    .endif
    mov     x0, sp
    .if \kind == 8
    bl      el0_sync
    .elseif \kind == 9
    bl      el0_irq
    .else
    bl      el0_other
    .endif
    cbnz    x0, el0_all_registers
    b       el0_return
.endm

/* Next to the vectors: conditional branches reach 1 MiB, and .text is larger. */
.section .entry.text, "ax"

/* The rest of the registers is saved, and a second handler called. */
el0_all_registers:
    stp     x19, x20, [sp, #152]
    stp     x21, x22, [sp, #168]
    stp     x23, x24, [sp, #184]
    stp     x25, x26, [sp, #200]
    stp     x27, x28, [sp, #216]
    mov     x0, sp
    bl      el0_exception
    cbnz    x0, leave_el0
el0_return_all:
    ldp     x19, x20, [sp, #152]
    ldp     x21, x22, [sp, #168]
    ldp     x23, x24, [sp, #184]
    ldp     x25, x26, [sp, #200]
    ldp     x27, x28, [sp, #216]
el0_return:
    ldp     x9, x10, [sp, #256]
    ldp     x30, x8, [sp, #240]
    ldr     x29, [sp, #232]
    msr     elr_el1, x9
    msr     spsr_el1, x10
    msr     sp_el0, x8
    ldr     x18, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    eret

/* enter_el0(frame) */
.global enter_el0
enter_el0:
    stp     x29, x30, [sp, #-112]!
    mov     x29, sp
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mrs     x9, daif
    str     x9, [sp, #96]
    msr     daifset, #0xf
    sub     sp, sp, #EL0_FRAME_SIZE
    mov     x9, sp
1:  ldp     x10, x11, [x0], #16
    stp     x10, x11, [x9], #16
    cmp     x9, x29
    b.ne    1b
    adr     x10, leave_el0
    stp     x29, x10, [sp, #EL0_RECORD]
    mrs     x9, sp_el0
    str     x9, [sp, #EL0_TASK]
    b       el0_return_all

leave_el0:
    add     sp, sp, #EL0_FRAME_SIZE
    ldr     x9, [sp, #96]
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    msr     daif, x9
    ldp     x29, x30, [sp], #112
    ret
