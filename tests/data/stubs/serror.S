/* An SError is pending: HCR_EL2.AMO and VSE. */
    to_el1 (1 << 5 | 1 << 8)
    hand_over
