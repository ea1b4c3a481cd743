/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The first instruction of a program without a C library. */
#include "sys.h"

void begin(long *stack) __attribute__((noreturn, used));

asm(".globl _start\n"
    "_start:\n"
    "	mov	x29, #0\n"
    "	mov	x30, #0\n"
    "	mov	x0, sp\n"
    "	b	begin\n");

/* The stack holds argc, argv and a null pointer, envp and a null pointer. */
void begin(long *stack)
{
	char **argv = (char **)(stack + 1);

	sys(__NR_exit_group, program((int)*stack, argv, argv + *stack + 1));
	__builtin_unreachable();
}

/* The compiler calls these for what it doesn't do in place. */
void *memcpy(void *to, const void *from, unsigned long size)
{
	char *out = to;
	const char *in = from;

	while (size--)
		*out++ = *in++;
	return to;
}

void *memset(void *to, int value, unsigned long size)
{
	char *out = to;

	while (size--)
		*out++ = (char)value;
	return to;
}
