/* Nothing. */
    hand_over
