// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Calls that change what other calls look at: files' sizes, limits, rights, the system's settings. */
#include <linux/capability.h>
#include <linux/falloc.h>
#include <linux/fcntl.h>
#include <linux/resource.h>

#include "../sys.h"
#include "files.h"
#include "maps.h"
#include "operations.h"
#include "place.h"
#include "settings.h"
#include "text.h"

#define OVERCOMMIT	"/proc/sys/vm/overcommit_memory"
#define OVERCOMMIT_SIZE	"/proc/sys/vm/overcommit_kbytes"
#define MAP_COUNT	"/proc/sys/vm/max_map_count"
#define MAP_COUNT_FIRST	65530

static const struct name limits[] = {
	{ RLIMIT_DATA, "DATA" }, { RLIMIT_STACK, "STACK" }, { RLIMIT_MEMLOCK, "MEMLOCK" }, { RLIMIT_AS, "AS" },
};
#define LIMITS	(sizeof(limits) / sizeof(*limits))

static unsigned long first_size, first_data;
static struct rlimit64 first_limits[LIMITS];

void op_ftruncate(struct random *random)
{
	enum file file = pick_writable_file(random);
	unsigned long size = below(random, 24) * PAGE + (chance(random, 50) ? below(random, PAGE) : 0);

	put("ftruncate(");
	put(file_name(file));
	put(", ");
	put_hex(size);
	put(") = ");
	put_result(sys(__NR_ftruncate, file_number(file), size));
}

void op_fallocate(struct random *random)
{
	static const struct name names[] = {
		{ FALLOC_FL_KEEP_SIZE, "KEEP_SIZE" }, { FALLOC_FL_PUNCH_HOLE, "PUNCH_HOLE" },
	};
	static const unsigned char modes[] = {
		0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	};
	enum file file = pick_writable_file(random);
	unsigned long mode = CHOOSE(random, modes);
	unsigned long offset = below(random, 20) * PAGE + (chance(random, 30) ? below(random, PAGE) : 0);
	unsigned long size = below(random, 6) * PAGE + (chance(random, 30) ? below(random, PAGE) : 0);

	put("fallocate(");
	put(file_name(file));
	put(", ");
	PUT_BITS(mode, names);
	put(", ");
	put_hex(offset);
	put(", ");
	put_hex(size);
	put(") = ");
	put_result(sys(__NR_fallocate, file_number(file), mode, offset, size));
}

void op_limit(struct random *random)
{
	const struct name *limit = &CHOOSE(random, limits);
	unsigned long value = chance(random, 15) ? 0 : below(random, 30) * place.unit;
	struct rlimit64 new = { RLIM64_INFINITY, RLIM64_INFINITY }, old = { 0, 0 };
	long result;

	put("prlimit(");
	put(limit->name);
	put(", ");
	if (chance(random, 30)) {
		put("infinity");
	} else if (limit->value == RLIMIT_AS || limit->value == RLIMIT_DATA) {
		/* Beyond what the program had at its start. */
		put("first+");
		put_hex(value);
		new.rlim_cur = value + (limit->value == RLIMIT_AS ? first_size : first_data);
	} else {
		if (limit->value == RLIMIT_STACK)
			value = below(random, 40) << 18;
		put_hex(value);
		new.rlim_cur = value;
	}
	result = sys(__NR_prlimit64, 0, limit->value, 0, &old);
	/* Without the right to raise it, it stays what it is. */
	new.rlim_max = old.rlim_max;
	if (new.rlim_cur > new.rlim_max)
		new.rlim_cur = new.rlim_max;
	put(") = ");
	if (!is_error(result))
		result = sys(__NR_prlimit64, 0, limit->value, &new, 0);
	put_result(result);
}

void op_drop_capabilities(struct random *random)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	struct rlimit64 limit = { 0, 8 << 20 };

	memset(data, 0, sizeof(data));
	put("capset(none) = ");
	put_result(sys(__NR_capset, &header, data));
	/* It counts from now on. */
	limit.rlim_cur = below(random, 24) * PAGE;
	put("\nprlimit(MEMLOCK, ");
	put_hex(limit.rlim_cur);
	put(") = ");
	put_result(sys(__NR_prlimit64, 0, RLIMIT_MEMLOCK, &limit, 0));
}

static void setting_write(const char *path, unsigned long value)
{
	char digits[20];
	int at = sizeof(digits);
	long fd = sys(__NR_openat, AT_FDCWD, path, O_WRONLY), result = fd;

	do
		digits[--at] = '0' + value % 10;
	while (value /= 10);
	if (!is_error(fd)) {
		result = sys(__NR_write, fd, digits + at, sizeof(digits) - at);
		sys(__NR_close, fd);
	}
	put_result(result);
}

void op_overcommit(struct random *random)
{
	unsigned long mode = below(random, 3), size = 1 + below(random, 8);

	put("overcommit(");
	put_dec(mode);
	put(") = ");
	setting_write(OVERCOMMIT, mode);
	if (mode == 2) {
		/* Sizes of mappings are multiples of 16 MiB: less than that is no difference. */
		size = (size << 14) + (1 << 13);
		put("; kbytes(");
		put_dec(size);
		put(") = ");
		setting_write(OVERCOMMIT_SIZE, size);
	}
}

void op_max_map_count(struct random *random)
{
	unsigned long count = chance(random, 20) ? MAP_COUNT_FIRST : 12 + below(random, 30);

	put("max_map_count(");
	put_dec(count);
	put(") = ");
	setting_write(MAP_COUNT, count);
}

/* The system's settings outlive the program. */
static void of_system_reset(void)
{
	put("settings ");
	setting_write(OVERCOMMIT, 0);
	put_char(' ');
	setting_write(MAP_COUNT, MAP_COUNT_FIRST);
	put_char('\n');
}

void settings_begin(int of_system)
{
	first_size = status_bytes("VmSize:");
	first_data = status_bytes("VmData:");
	for (unsigned int i = 0; i < LIMITS; i++)
		sys(__NR_prlimit64, 0, limits[i].value, 0, &first_limits[i]);
	if (of_system)
		of_system_reset();
}

/* Limits outlive execve. */
void settings_end(int of_system)
{
	for (unsigned int i = 0; i < LIMITS; i++)
		sys(__NR_prlimit64, 0, limits[i].value, &first_limits[i], 0);
	if (of_system)
		of_system_reset();
}
