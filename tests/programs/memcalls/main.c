// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Runs a program of memory calls and accesses that a seed stands for, and prints each call with its result,
 * what has changed in /proc/self/maps, and at the end what smaps, status and the memory itself say.
 *
 *   memcalls MODE SEED [OPERATIONS [KEPT]]
 *   memcalls MODE FROM-TO [OPERATIONS]     a seed after the other: each in a new process by execve
 *   memcalls layout 0                      maps and smaps of a process at its start, byte by byte
 *
 * MODE is `calls`, in which the kernel's own copying tells what can be read and written; `signals`, in which
 * instructions do, and a handler prints what they raise; or `fatal`, in which the last one raises a signal
 * that ends the program. KEPT names operations, as `0-4,7`: the others are left out, and these stay what
 * they are. With OPERATIONS given, each is printed at once: the next one may end the kernel. All that a program does depends on its arguments alone.
 */
#include "../sys.h"
#include "access.h"
#include "files.h"
#include "maps.h"
#include "operations.h"
#include "place.h"
#include "settings.h"
#include "text.h"

#define OPERATIONS	40
/* Most of the first ones fill the arena. */
#define FILLS		9
/* After so many operations smaps is printed. */
#define SMAPS_EVERY	16

enum mode { CALLS, SIGNALS, FATAL, LAYOUT, MODES };
static const char *const modes[MODES] = { "calls", "signals", "fatal", "layout" };

/* What a program is about: which operations it has, and how often. */
enum theme { ANY, MERGE, FILE, MOVE, LOCK, STACK, TABLES, COMMIT, COUNT, SEAL, THEMES };
static const struct {
	const char *name;
	unsigned int unit;	/* pages */
} themes[THEMES] = {
	[ANY] = { "any", 1 }, [MERGE] = { "merge", 1 }, [FILE] = { "file", 1 }, [MOVE] = { "move", 1 },
	[LOCK] = { "lock", 1 }, [STACK] = { "stack", 64 }, [TABLES] = { "tables", 256 }, [COMMIT] = { "commit", 1 },
	[COUNT] = { "count", 1 }, [SEAL] = { "seal", 1 },
};

static const struct {
	operation *run;
	unsigned char weights[THEMES];
} operations[] = {
	/*			   any mrg fil mov lck stk tab com cnt seal */
	{ op_mmap_fixed,	{ 14, 25,  8, 16, 14,  6, 14, 10, 25, 16 } },
	{ op_mmap_other,	{  6,  4,  4,  2,  3,  2,  2,  2,  2,  2 } },
	{ op_mmap_file,		{  7,  2, 20,  6,  4,  1,  4,  2,  4,  3 } },
	{ op_mmap_hint,		{  6,  3,  3,  3,  4,  2,  3,  3,  4,  2 } },
	{ op_mmap_large,	{  0,  0,  0,  0,  0,  0,  0, 25,  0,  0 } },
	{ op_growsdown,		{  1,  0,  0,  0,  1, 16,  0,  0,  0,  0 } },
	{ op_munmap,		{  6, 10,  6,  5,  5,  4,  5,  4, 10,  9 } },
	{ op_mprotect,		{  9, 20,  9,  6,  5,  6,  5,  6, 14, 10 } },
	{ op_mremap,		{  9,  4,  7, 28,  8,  4, 12,  3,  6,  8 } },
	{ op_mremap_odd,	{  4,  2,  3,  8,  2,  2,  3,  2,  2,  4 } },
	{ op_brk,		{  4,  3,  1,  2,  4,  3,  3,  4,  4,  3 } },
	{ op_remap_file_pages,	{  2,  1,  9,  1,  1,  0,  1,  0,  1,  1 } },
	{ op_mseal,		{  0,  0,  0,  0,  0,  0,  0,  0,  0, 10 } },
	{ op_madvise,		{ 12,  9, 12,  5,  6,  3,  9,  0,  5, 16 } },
	{ op_mincore,		{  3,  1,  4,  2,  3,  1,  3,  1,  1,  1 } },
	{ op_msync,		{  3,  1,  5,  1,  2,  1,  1,  1,  1,  2 } },
	{ op_mlock,		{  2,  2,  1,  2, 10,  1,  2,  0,  2,  1 } },
	{ op_mlock2,		{  2,  1,  1,  2,  8,  1,  2,  0,  1,  1 } },
	{ op_munlock,		{  2,  2,  1,  1,  8,  1,  1,  0,  2,  1 } },
	{ op_mlockall,		{  1,  0,  0,  1,  4,  1,  0,  0,  1,  0 } },
	{ op_munlockall,	{  1,  0,  0,  1,  3,  1,  0,  0,  1,  0 } },
	{ op_read,		{  7,  3,  9,  6,  4, 10, 10,  4,  2,  5 } },
	{ op_write,		{  8,  5, 10,  8,  5, 14, 14,  6,  4,  6 } },
	{ op_exec,		{  2,  1,  1,  1,  1,  1,  1,  0,  1,  1 } },
	{ op_plant,		{  1,  1,  1,  1,  1,  0,  1,  0,  1,  1 } },
	{ op_stack,		{  2,  0,  0,  0,  2, 14,  0,  0,  0,  0 } },
	{ op_ftruncate,		{  1,  0,  6,  1,  0,  0,  0,  0,  0,  1 } },
	{ op_fallocate,		{  1,  0,  5,  1,  0,  0,  0,  0,  0,  0 } },
	{ op_limit,		{  2,  0,  0,  1,  9,  6,  0,  2,  1,  0 } },
	{ op_overcommit,	{  0,  0,  0,  0,  0,  0,  0,  9,  0,  0 } },
	{ op_max_map_count,	{  0,  0,  0,  0,  0,  0,  0,  0,  7,  0 } },
};
#define KINDS	(sizeof(operations) / sizeof(*operations))

/* Indices for random numbers that are no operation's. */
#define INDEX_THEME	1000000
#define INDEX_FATAL	1000001

static void operation_run(enum theme theme, unsigned long seed, unsigned long index)
{
	struct random random = random_of(seed, index);
	unsigned long sum = 0, at;

	if (index < FILLS && chance(&random, 75)) {
		put_dec(index);
		put_char(' ');
		(theme == FILE ? op_fill_with_files : op_fill)(&random);
		put_char('\n');
		return;
	}
	for (unsigned int i = 0; i < KINDS; i++)
		sum += operations[i].weights[theme];
	at = below(&random, sum);
	for (unsigned int i = 0; i < KINDS; i++) {
		if (at < operations[i].weights[theme]) {
			put_dec(index);
			put_char(' ');
			operations[i].run(&random);
			put_char('\n');
			return;
		}
		at -= operations[i].weights[theme];
	}
}

/* Whether a list as `0-4,7` has the number; an empty one has all. */
static int is_kept(const char *list, unsigned long number)
{
	if (!list)
		return 1;
	while (*list) {
		unsigned long from = text_number(&list, 10), to = from;

		if (text_skip(&list, "-"))
			to = text_number(&list, 10);
		if (number >= from && number <= to)
			return 1;
		if (!text_skip(&list, ","))
			break;
	}
	return 0;
}

static void memory_print(void)
{
	put("  memory");
	for (unsigned long unit = 0; unit < ARENA_UNITS; unit++) {
		put_char(' ');
		page_print(place.arena + unit * place.unit);
	}
	put("\n  slots");
	for (int i = 0; i < SLOTS; i++) {
		put_char(' ');
		page_print(place.slots[i].start);
	}
	put_char('\n');
}

/* Ends the program, unless the access is allowed. */
static void fatal(unsigned long seed)
{
	struct random random = random_of(seed, INDEX_FATAL);
	unsigned long address = pick_own(&random) & -PAGE;
	enum access access = below(&random, 3);

	if (access == ACCESS_EXEC)
		address += 0xff0;
	put("bare access ");
	put_dec(access);
	put_char(' ');
	put_address(address);
	put_char('\n');
	text_flush();
	access_bare(access, address);
	put("allowed\n");
}

/* With `at_once`, each operation is printed before the next one begins. */
static void seed_run(enum mode mode, unsigned long seed, unsigned long count, const char *kept, int at_once)
{
	struct random random = random_of(seed, INDEX_THEME);
	enum theme theme = below(&random, THEMES);
	int of_system = theme == COMMIT || theme == COUNT;

	put("== ");
	put(modes[mode]);
	put_char(' ');
	put_dec(seed);
	put_char(' ');
	put(themes[theme].name);
	put_char('\n');
	maps_begin();
	place_begin(themes[theme].unit * PAGE);
	settings_begin(of_system);
	files_begin();
	access_begin(mode == SIGNALS);
	if (theme == LOCK && chance(&random, 60)) {
		op_drop_capabilities(&random);
		put_char('\n');
	}
	status_print();
	maps_print_changes();
	for (unsigned long index = 0; index < count; index++) {
		if (!is_kept(kept, index))
			continue;
		operation_run(theme, seed, index);
		maps_print_changes();
		if (index % SMAPS_EVERY == SMAPS_EVERY - 1) {
			smaps_print();
			status_print();
		}
		if (at_once)
			text_flush();
	}
	smaps_print();
	status_print();
	memory_print();
	settings_end(of_system);
	if (mode == FATAL)
		fatal(seed);
	put("== end ");
	put(modes[mode]);
	put_char(' ');
	put_dec(seed);
	put_char('\n');
	text_flush();
}

/* Where the kernel puts what every process has, as it says it. */
static void layout_print(void)
{
	unsigned long end = sys(__NR_brk, 0);

	put("== layout 0 all\n");
	file_print("/proc/self/maps");
	put("brk ");
	put_hex(end);
	put(", a page more ");
	put_hex(sys(__NR_brk, end + PAGE));
	put_char('\n');
	file_print("/proc/self/maps");
	file_print("/proc/self/smaps");
	put("== end layout 0\n");
	text_flush();
}

/* Writes to all of the program's own memory, so that none of it comes later. */
static void touch_own(void)
{
	extern char __data_start[], _end[];

	for (volatile char *at = __data_start; at < _end; at += PAGE)
		*at = *at;
}

static void next(char **argv, char **envp, unsigned long from, unsigned long to)
{
	static char range[48];
	char digits[24];
	int at = 0, filled = 0;
	const unsigned long numbers[] = { from, to };

	for (int i = 0; i < 2; i++) {
		unsigned long value = numbers[i];

		for (at = 0; !at || value; value /= 10)
			digits[at++] = '0' + value % 10;
		while (at)
			range[filled++] = digits[--at];
		range[filled++] = i ? 0 : '-';
	}
	argv[2] = range;
	put("execve = ");
	put_result(sys(__NR_execve, argv[0], argv, envp));
	put_char('\n');
	text_flush();
}

int program(int argc, char **argv, char **envp)
{
	unsigned long from, to, count = OPERATIONS;
	const char *at;
	int mode = 0;

	while (argc > 1 && mode < MODES && !text_equal(argv[1], modes[mode]))
		mode++;
	if (argc < 3 || mode == MODES) {
		put("usage: memcalls calls|signals|fatal SEED|FROM-TO [OPERATIONS [KEPT]], or layout 0\n");
		text_flush();
		return 2;
	}
	touch_own();
	if (mode == LAYOUT) {
		layout_print();
		return 0;
	}
	at = argv[2];
	from = to = text_number(&at, 10);
	if (text_skip(&at, "-"))
		to = text_number(&at, 10);
	if (argc > 3) {
		at = argv[3];
		count = text_number(&at, 10);
	}
	seed_run(mode, from, count, argc > 4 ? argv[4] : 0, argc > 3);
	if (from < to)
		next(argv, envp, from + 1, to);
	return 0;
}
