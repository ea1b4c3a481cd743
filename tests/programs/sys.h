/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* System calls without a C library, and the way into a program. */
#ifndef PROGRAMS_SYS_H
#define PROGRAMS_SYS_H

#include <asm/unistd.h>
#include <linux/errno.h>

#define PAGE		4096UL

/* What a system call returns: from -4095 to -1 an error. */
static inline long sys6(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 asm("x8") = number;
	register long x0 asm("x0") = a;
	register long x1 asm("x1") = b;
	register long x2 asm("x2") = c;
	register long x3 asm("x3") = d;
	register long x4 asm("x4") = e;
	register long x5 asm("x5") = f;

	asm volatile("svc #0"
		     : "+r" (x0)
		     : "r" (x8), "r" (x1), "r" (x2), "r" (x3), "r" (x4), "r" (x5)
		     : "memory", "cc");
	return x0;
}

#define SYS_ARGUMENTS(number, a, b, c, d, e, f, ...) \
	sys6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* sys(__NR_name, argument...): up to six arguments, the others are 0. */
#define sys(...)	SYS_ARGUMENTS(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

static inline int is_error(long result)
{
	return result < 0 && result >= -4095;
}

void *memcpy(void *to, const void *from, unsigned long size);
void *memset(void *to, int value, unsigned long size);

/* Each program's own; what it returns is its exit status. */
int program(int argc, char **argv, char **envp);

#endif
