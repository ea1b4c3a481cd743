/* Core 9 is the one that boots; core 0 is off. */
    mov     x1, #9
    adr     x2, core_9
    cpu_on
    ldr     x0, =0x84000002         // PSCI's CPU_OFF
    smc     #0
core_9:
    hand_over
