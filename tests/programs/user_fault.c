// Makes the fault that its first argument names.
#include "user.h"

static const u64 constant = 1;

void start(u64 *sp, u64 x0)
{
	const char *what = (char *)sp[2];
	u64 at = sp[0] > 2 ? number((char *)sp[3]) : 0;

	(void)x0;
	if (same(what, "read"))
		*(volatile u8 *)at;
	if (same(what, "write"))
		*(volatile u8 *)at = 1;
	if (same(what, "jump"))
		((void (*)(void))at)();
	if (same(what, "const"))
		*(volatile u64 *)&constant = 2;
	if (same(what, "stack"))
		((void (*)(void))sp)();
	if (same(what, "undefined"))
		asm volatile("udf #1");
	if (same(what, "privileged"))
		asm volatile("mrs x0, sctlr_el1");
	if (same(what, "brk"))
		asm volatile("brk #1");
	if (same(what, "pc"))
		asm volatile("br %0" : : "r"((u64)start + 2));
	if (same(what, "sp"))
		asm volatile("mov x1, sp\n sub sp, x1, #1\n ldr x0, [sp]\n mov sp, x1" : : : "x0", "x1");
	if (same(what, "exclusive"))
		asm volatile("ldxr x0, [%0]" : : "r"((u64)sp + 1) : "x0");
	if (same(what, "deep")) {
		// Down the stack, a page at a time.
		for (volatile u8 *p = (u8 *)sp;; p -= 4096)
			*p = 1;
	}
	if (same(what, "loop"))
		for (;;)
			;
	if (same(what, "kill"))
		call(129, call(NR_getpid, 0, 0, 0), at, 0);
	exit(7);
}
