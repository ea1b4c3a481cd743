// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <asm/sigcontext.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <asm/ucontext.h>
#include <linux/fcntl.h>

#include "../sys.h"
#include "access.h"
#include "place.h"
#include "text.h"

#define PATH	"/tmp/memcalls.scratch"

/* What a caught fault told, and where the program goes on after one. */
static volatile int caught_signal, caught_code;
static volatile unsigned long caught_address, recover;
static int with_signals;
static int scratch;

void restorer(void);
asm("restorer:\n"
    "	mov	x8, #139\n"
    "	svc	#0\n");

static void handler(int signal, siginfo_t *info, void *context)
{
	caught_signal = signal;
	caught_code = info->si_code;
	caught_address = (unsigned long)info->si_addr;
	((struct ucontext *)context)->uc_mcontext.pc = recover;
}

void access_begin(int signals)
{
	struct sigaction action = {
		.sa_handler = (__sighandler_t)(void *)handler,
		.sa_flags = SA_SIGINFO | SA_RESTORER,
		.sa_restorer = (__sigrestore_t)restorer,
	};
	static const int caught[] = { SIGSEGV, SIGBUS, SIGILL };

	with_signals = signals;
	if (!signals) {
		scratch = sys(__NR_openat, AT_FDCWD, PATH, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		return;
	}
	for (unsigned int i = 0; i < sizeof(caught) / sizeof(*caught); i++)
		sys(__NR_rt_sigaction, caught[i], &action, 0, sizeof(action.sa_mask));
}

/* The access itself; a handler continues behind it. */
static unsigned long access_real(enum access access, unsigned long address, unsigned char value)
{
	register unsigned long x0 asm("x0") = value;
	register unsigned long x1 asm("x1") = address;
	register volatile unsigned long *x2 asm("x2") = &recover;

	switch (access) {
	case ACCESS_READ:
		asm volatile("adr x3, 1f\n\tstr x3, [x2]\n\tldrb w0, [x1]\n1:"
			     : "+r" (x0) : "r" (x1), "r" (x2) : "x3", "memory");
		break;
	case ACCESS_WRITE:
		asm volatile("adr x3, 1f\n\tstr x3, [x2]\n\tstrb w0, [x1]\n1:"
			     : "+r" (x0) : "r" (x1), "r" (x2) : "x3", "memory");
		break;
	case ACCESS_EXEC:
		/* No code but `ret` is ever where this goes to. */
		asm volatile("adr x3, 1f\n\tstr x3, [x2]\n\tblr x1\n1:"
			     : "+r" (x0) : "r" (x1), "r" (x2) : "x3", "x30", "memory");
		break;
	}
	return x0;
}

void access_bare(enum access access, unsigned long address)
{
	access_real(access, address, 0x55);
}

static void caught_print(void)
{
	static const struct name signals[] = {
		{ SIGSEGV, "SIGSEGV" }, { SIGBUS, "SIGBUS" }, { SIGILL, "SIGILL" },
	};

	for (unsigned int i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		if (signals[i].value == (unsigned long)caught_signal)
			put(signals[i].name);
	put(" code ");
	put_dec(caught_code);
	put_char(' ');
	put_address(caught_address);
}

static void try_real(enum access access, unsigned long address, unsigned char value)
{
	unsigned long result;

	caught_signal = 0;
	result = access_real(access, address, value);
	if (caught_signal)
		caught_print();
	else if (access == ACCESS_READ)
		put_hex(result);
	else
		put("done");
}

/* The kernel's copy to or from the user's address tells as much as the instruction would. */
static void try_by_kernel(enum access access, unsigned long address, unsigned char value)
{
	long result;

	if (access == ACCESS_WRITE) {
		sys(__NR_pwrite64, scratch, &value, 1, 0);
		result = sys(__NR_pread64, scratch, address, 1, 0);
	} else {
		result = sys(__NR_pwrite64, scratch, address, 1, 0);
	}
	if (result != 1) {
		put_result(result);
	} else if (access == ACCESS_WRITE) {
		put("done");
	} else {
		sys(__NR_pread64, scratch, &value, 1, 0);
		put_hex(value);
	}
}

void access_try(enum access access, unsigned long address, unsigned char value)
{
	if (with_signals)
		try_real(access, address, value);
	else
		try_by_kernel(access, address, value);
}

static int is_readable(unsigned long address)
{
	if (with_signals) {
		caught_signal = 0;
		access_real(ACCESS_READ, address, 0);
		return !caught_signal;
	}
	return sys(__NR_pwrite64, scratch, address, 1, 0) == 1;
}

void page_print(unsigned long address)
{
	static unsigned long page[PAGE / sizeof(unsigned long)];
	unsigned long hash = 0, any = 0;
	const unsigned long *from = (const unsigned long *)address;

	if (!is_readable(address)) {
		put_char('.');
		return;
	}
	if (!with_signals) {
		long result = sys(__NR_pwrite64, scratch, address, PAGE, 0);

		if (result != (long)PAGE || sys(__NR_pread64, scratch, page, PAGE, 0) != (long)PAGE) {
			put_result(result);
			return;
		}
		from = page;
	}
	for (unsigned long i = 0; i < PAGE / sizeof(*page); i++) {
		any |= from[i];
		hash = (hash ^ from[i]) * 0x100000001b3;
		hash ^= hash >> 29;
	}
	if (any)
		put_hex(hash);
	else
		put_char('0');
}
