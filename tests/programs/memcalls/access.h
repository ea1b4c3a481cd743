/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Reads and writes at addresses where there may be nothing. */
#ifndef MEMCALLS_ACCESS_H
#define MEMCALLS_ACCESS_H

enum access {
	ACCESS_READ,
	ACCESS_WRITE,
	ACCESS_EXEC,
};

/* Gets ready, with handlers of signals if `signals`, and without an instruction that faults if not. */
void access_begin(int signals);
/* Tries an access of a byte, or a call; prints what was read, or the error or signal. */
void access_try(enum access access, unsigned long address, unsigned char value);
/* An access that no handler stands behind. */
void access_bare(enum access access, unsigned long address);
/* Prints for a page a digest of what it holds: `.` if it cannot be read, `0` if all is 0. */
void page_print(unsigned long address);

#endif
