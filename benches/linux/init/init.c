// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The first process, and the only one: loads the module, which measures what it can from
 * inside, then measures what a process sees, and turns the machine off.
 */
#include "line.h"
#include "sys.h"

#define MODULE		"/granule_bench.ko"
#define SYMBOLS		"/proc/kallsyms"

static unsigned long length(const char *text)
{
	unsigned long n = 0;

	while (text[n])
		n++;
	return n;
}

static int same(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

/* The end of `text` where it has been appended to `to`. */
static char *append(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	*to = 0;
	return to;
}

static char *append_number(char *to, unsigned long value, unsigned int base, int digits)
{
	char text[24], *at = text + sizeof(text);

	*--at = 0;
	do {
		*--at = "0123456789abcdef"[value % base];
		value /= base;
	} while (--digits > 0 || value);
	return append(to, at);
}

void say(const char *text)
{
	unsigned long left = length(text);

	while (left) {
		long written = sys(__NR_write, 1, (long)text, left, 0, 0);

		/* There is nobody else to tell. */
		if (written <= 0)
			return;
		text += written;
		left -= written;
	}
}

static void power_off(void)
{
	for (;;)
		sys(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		    LINUX_REBOOT_CMD_POWER_OFF, 0, 0);
}

void die(const char *what, long error)
{
	char text[128], *at = append(text, "error: ");

	at = append(at, what);
	at = append(at, " failed with ");
	at = append_number(at, -error, 10, 1);
	append(at, "\n");
	say(text);
	power_off();
	__builtin_unreachable();
}

void line_add(struct line *line, unsigned int took)
{
	/* The first round warms up. */
	if (line->rounds++ == 0)
		return;
	if (line->rounds == 2 || took < line->min)
		line->min = took;
	line->sum += took;
}

static char *append_figure(char *to, const char *key, unsigned long instructions,
			   unsigned long ops)
{
	unsigned long hundredths = (instructions * 100 + ops / 2) / ops;

	to = append(to, key);
	to = append_number(to, hundredths / 100, 10, 1);
	to = append(to, ".");
	return append_number(to, hundredths % 100, 10, 2);
}

void line_print(const struct line *line)
{
	char text[256], *at = append(text, "{\"bench\":\"");

	MARK(MARK_ROW, line);
	at = append(at, line->name);
	at = append_figure(at, "\",\"instructions_per_op\":", line->min, line->ops);
	at = append_figure(at, ",\"min\":", line->min, line->ops);
	at = append_figure(at, ",\"mean\":", line->sum, (unsigned long)ROUNDS * line->ops);
	at = append(at, ",\"ops\":");
	at = append_number(at, line->ops, 10, 1);
	append(at, "}\n");
	say(text);
}

/* Functions of the kernel that the module is not given. */
static struct symbol {
	const char *name;
	unsigned long address;
} symbols[] = {
	{ "dma_alloc_from_contiguous", 0 },
	{ "dma_release_from_contiguous", 0 },
};

#define SYMBOLS_WANTED	(sizeof(symbols) / sizeof(*symbols))

/* A line is "address kind name", and "[module]" where it is one's. */
static void read_symbol(char *line)
{
	unsigned long address = 0;
	char *name;

	for (; *line && *line != ' '; line++)
		address = address * 16 + (*line <= '9' ? *line - '0' : *line - 'a' + 10);
	if (length(line) < 4)
		return;
	name = line + 3;
	for (unsigned int i = 0; i < SYMBOLS_WANTED; i++)
		if (same(symbols[i].name, name))
			symbols[i].address = address;
}

static void find_symbols(void)
{
	static char buffer[4096], line[256];
	unsigned int used = 0;
	long got, file = check(SYMBOLS, sys(__NR_openat, AT_FDCWD, (long)SYMBOLS, O_RDONLY, 0, 0));

	while ((got = check(SYMBOLS, sys(__NR_read, file, (long)buffer, sizeof(buffer), 0, 0))) > 0)
		for (long i = 0; i < got; i++) {
			if (buffer[i] == '\n') {
				line[used] = 0;
				read_symbol(line);
				used = 0;
			} else if (used < sizeof(line) - 1) {
				line[used++] = buffer[i];
			}
		}
	sys(__NR_close, file, 0, 0, 0, 0);
}

static void load_module(void)
{
	char parameters[256], *at = parameters;
	long file = check(MODULE, sys(__NR_openat, AT_FDCWD, (long)MODULE, O_RDONLY, 0, 0));

	for (unsigned int i = 0; i < SYMBOLS_WANTED; i++) {
		at = append(at, i ? " " : "");
		at = append(at, symbols[i].name);
		at = append(at, "=0x");
		at = append_number(at, symbols[i].address, 16, 1);
	}
	check("init_module", sys(__NR_finit_module, file, (long)parameters, 0, 0, 0));
	sys(__NR_close, file, 0, 0, 0, 0);
}

static void measure_calls(void)
{
	MEASURE("empty_loop_el0", 10000, asm volatile(""));
	MEASURE("null_syscall_getpid", 1000, sys(__NR_getpid, 0, 0, 0, 0, 0));
}

void _start(void)
{
	sys(__NR_mkdirat, AT_FDCWD, (long)"/proc", 0555, 0, 0);
	check("mount /proc", sys(__NR_mount, (long)"proc", (long)"/proc", (long)"proc", 0, 0));
	find_symbols();
	check("umount /proc", sys(__NR_umount2, (long)"/proc", 0, 0, 0, 0));
	load_module();
	measure_calls();
	measure_memory();
	measure_processes();
	say("granule_bench: done\n");
	power_off();
}
