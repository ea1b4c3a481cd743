// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/fcntl.h>

#include "../sys.h"
#include "files.h"
#include "maps.h"
#include "place.h"
#include "text.h"

#define AREAS		512
#define NAME_SIZE	32

struct area {
	unsigned long start, end, offset, device, inode;
	char perm[4];
	char name[NAME_SIZE];
};

struct areas {
	unsigned int count;
	struct area all[AREAS];
};

static struct areas before, now;
static char text[1 << 18];

static void cannot(const char *what, const char *path, long result)
{
	put(what);
	put(path);
	put(" = ");
	put_result(result);
	put_char('\n');
}

long file_read(const char *path, char *buffer, unsigned long size)
{
	long fd = sys(__NR_openat, AT_FDCWD, path, O_RDONLY), got = 0;
	unsigned long filled = 0;

	if (is_error(fd))
		return fd;
	while (filled < size - 1) {
		got = sys(__NR_read, fd, buffer + filled, size - 1 - filled);
		if (got <= 0)
			break;
		filled += got;
	}
	sys(__NR_close, fd);
	buffer[filled] = 0;
	return got < 0 ? got : (long)filled;
}

void file_print(const char *path)
{
	long result = file_read(path, text, sizeof(text));

	if (is_error(result))
		cannot("read ", path, result);
	else
		put(text);
}

/* A line of maps, at *at; moves *at to the next one. */
static void area_parse(const char **at, struct area *area)
{
	const char *name;
	unsigned long length = 0;

	area->start = text_number(at, 16);
	text_skip(at, "-");
	area->end = text_number(at, 16);
	text_skip(at, " ");
	for (int i = 0; i < 4 && **at; i++)
		area->perm[i] = *(*at)++;
	text_skip(at, " ");
	area->offset = text_number(at, 16);
	text_skip(at, " ");
	area->device = text_number(at, 16) << 20;
	text_skip(at, ":");
	area->device |= text_number(at, 16);
	text_skip(at, " ");
	area->inode = text_number(at, 10);
	while (text_skip(at, " "))
		;
	/* The last part of a path, with what follows it. */
	name = *at;
	for (; **at && **at != '\n'; (*at)++)
		if (**at == '/')
			name = *at + 1;
	while (name + length < *at && length < NAME_SIZE - 1) {
		area->name[length] = name[length];
		length++;
	}
	area->name[length] = 0;
	text_skip(at, "\n");
}

static void areas_read(struct areas *areas)
{
	const char *at = text;
	long result = file_read("/proc/self/maps", text, sizeof(text));

	areas->count = 0;
	if (is_error(result)) {
		cannot("read ", "/proc/self/maps", result);
		return;
	}
	while (*at && areas->count < AREAS)
		area_parse(&at, &areas->all[areas->count++]);
}

static int area_equal(const struct area *one, const struct area *other)
{
	for (int i = 0; i < 4; i++)
		if (one->perm[i] != other->perm[i])
			return 0;
	return one->start == other->start && one->end == other->end && one->offset == other->offset &&
	       one->device == other->device && one->inode == other->inode && text_equal(one->name, other->name);
}

static void area_print(const struct area *area)
{
	put_address(area->start);
	put_char(' ');
	put_address(area->end);
	put_char(' ');
	put_some(area->perm, 4);
	put_char(' ');
	put_hex(area->offset);
	if (area->device || area->inode) {
		put_char(' ');
		put(file_name_of(area->device, area->inode));
	}
	if (*area->name) {
		put_char(' ');
		put(area->name);
	}
}

static void line_print(const char *mark, const struct area *area)
{
	put(mark);
	area_print(area);
	put_char('\n');
}

void maps_begin(void)
{
	areas_read(&before);
	place.brk = sys(__NR_brk, 0);
	place.mmap_top = TASK_SIZE;
	for (unsigned int i = 0; i < before.count; i++) {
		struct area *area = &before.all[i];

		if (text_equal(area->name, "[stack]"))
			place.stack_end = area->end;
		else if (area->start > TASK_SIZE / 2 && area->start < place.mmap_top)
			place.mmap_top = area->start;
	}
}

void maps_print_changes(void)
{
	unsigned int old = 0, new = 0;

	areas_read(&now);
	while (old < before.count || new < now.count) {
		const struct area *gone = &before.all[old], *come = &now.all[new];

		if (old < before.count && new < now.count && area_equal(gone, come)) {
			old++, new++;
		} else if (new == now.count || (old < before.count && gone->start <= come->start)) {
			line_print("  - ", gone);
			old++;
		} else {
			line_print("  + ", come);
			new++;
		}
	}
	before.count = now.count;
	for (new = 0; new < now.count; new++)
		before.all[new] = now.all[new];
}

/* The fields of smaps that say the same on each boot and with any number of CPUs. */
static const char *const smaps_fields[] = {
	"Rss:", "Pss:", "Shared_Clean:", "Shared_Dirty:", "Private_Clean:", "Private_Dirty:", "Anonymous:",
	"AnonHugePages:", "Swap:", "Locked:",
};

/* Of the lines under an area's: a known field with its number where that is not 0, or the flags. */
static void smaps_field_print(const char *at)
{
	for (unsigned int i = 0; i < sizeof(smaps_fields) / sizeof(*smaps_fields); i++) {
		unsigned long value;

		if (!text_skip(&at, smaps_fields[i]))
			continue;
		while (text_skip(&at, " "))
			;
		value = text_number(&at, 10);
		if (!value)
			return;
		put_char(' ');
		put_some(smaps_fields[i], text_length(smaps_fields[i]) - 1);
		put_char('=');
		put_dec(value);
		return;
	}
	if (!text_skip(&at, "VmFlags:"))
		return;
	while (*at && *at != '\n')
		put_char(*at++);
}

/* The program's own file, and what the kernel gives every process, are no matter of the operations. */
static int is_watched(const struct area *area)
{
	return area->end > place.brk && area->end < place.mmap_top;
}

void smaps_print(void)
{
	const char *at = text;
	long result = file_read("/proc/self/smaps", text, sizeof(text));
	struct area area;
	int watched = 0, open = 0;

	if (is_error(result)) {
		cannot("read ", "/proc/self/smaps", result);
		return;
	}
	while (*at) {
		/* Fields begin with a capital. */
		if (*at < 'A' || *at > 'Z') {
			if (open)
				put_char('\n');
			area_parse(&at, &area);
			open = watched = is_watched(&area);
			if (watched) {
				put("  smaps ");
				area_print(&area);
			}
			continue;
		}
		if (watched)
			smaps_field_print(at);
		while (*at && *at++ != '\n')
			;
	}
	if (open)
		put_char('\n');
}

static const char *const status_fields[] = {
	"VmPeak:", "VmSize:", "VmLck:", "VmPin:", "VmData:", "VmStk:", "VmExe:", "VmLib:", "VmPTE:", "VmSwap:",
};
#define STATUS_FIELDS	(sizeof(status_fields) / sizeof(*status_fields))

static void status_read(long *values)
{
	const char *at = text;

	for (unsigned int i = 0; i < STATUS_FIELDS; i++)
		values[i] = -1;
	if (is_error(file_read("/proc/self/status", text, sizeof(text))))
		return;
	while (*at) {
		for (unsigned int i = 0; i < STATUS_FIELDS; i++) {
			if (!text_skip(&at, status_fields[i]))
				continue;
			while (text_skip(&at, " ") || text_skip(&at, "\t"))
				;
			values[i] = text_number(&at, 10);
			break;
		}
		while (*at && *at++ != '\n')
			;
	}
}

unsigned long status_bytes(const char *field)
{
	long values[STATUS_FIELDS];

	status_read(values);
	for (unsigned int i = 0; i < STATUS_FIELDS; i++)
		if (text_equal(field, status_fields[i]))
			return values[i] * 1024;
	return 0;
}

void status_print(void)
{
	static long first[STATUS_FIELDS];
	static int begun;
	long values[STATUS_FIELDS];

	status_read(values);
	if (begun)
		put("  status");
	for (unsigned int i = 0; i < STATUS_FIELDS; i++) {
		if (!begun) {
			first[i] = values[i];
			continue;
		}
		put_char(' ');
		put_some(status_fields[i], text_length(status_fields[i]) - 1);
		put(values[i] < first[i] ? "-" : "+");
		put_dec(values[i] < first[i] ? first[i] - values[i] : values[i] - first[i]);
	}
	if (begun)
		put_char('\n');
	begun = 1;
}
