// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "../sys.h"
#include "text.h"

static char buffer[1 << 15];
static unsigned long filled;

void text_flush(void)
{
	unsigned long done = 0;

	while (done < filled) {
		long written = sys(__NR_write, 1, buffer + done, filled - done);

		if (written <= 0)
			sys(__NR_exit_group, 99);
		done += written;
	}
	filled = 0;
}

void put_char(char c)
{
	if (filled == sizeof(buffer))
		text_flush();
	buffer[filled++] = c;
}

void put(const char *text)
{
	while (*text)
		put_char(*text++);
}

void put_some(const char *text, unsigned long length)
{
	while (length--)
		put_char(*text++);
}

void put_dec(unsigned long value)
{
	if (value >= 10)
		put_dec(value / 10);
	put_char('0' + value % 10);
}

void put_hex(unsigned long value)
{
	int shift = 60;

	put("0x");
	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put_char("0123456789abcdef"[value >> shift & 15]);
}

void put_bits(unsigned long value, const struct name *names, unsigned int count)
{
	const char *between = "";

	for (unsigned int i = 0; i < count; i++) {
		if (!names[i].value || (value & names[i].value) != names[i].value)
			continue;
		value &= ~names[i].value;
		put(between);
		put(names[i].name);
		between = "|";
	}
	if (value || !*between) {
		put(between);
		put_hex(value);
	}
}

void put_prot(unsigned long prot)
{
	put_char(prot & 1 ? 'r' : '-');
	put_char(prot & 2 ? 'w' : '-');
	put_char(prot & 4 ? 'x' : '-');
	if (prot & ~7UL) {
		put_char('|');
		put_hex(prot & ~7UL);
	}
}

void put_error(long error)
{
	static const struct name names[] = {
		{ EPERM, "EPERM" }, { ENOENT, "ENOENT" }, { ESRCH, "ESRCH" }, { EINTR, "EINTR" },
		{ EIO, "EIO" }, { ENXIO, "ENXIO" }, { EBADF, "EBADF" }, { EAGAIN, "EAGAIN" },
		{ ENOMEM, "ENOMEM" }, { EACCES, "EACCES" }, { EFAULT, "EFAULT" }, { EBUSY, "EBUSY" },
		{ EEXIST, "EEXIST" }, { ENODEV, "ENODEV" }, { EMFILE, "EMFILE" }, { EISDIR, "EISDIR" }, { EINVAL, "EINVAL" },
		{ EFBIG, "EFBIG" }, { ENOSPC, "ENOSPC" }, { ETXTBSY, "ETXTBSY" }, { ENOSYS, "ENOSYS" },
		{ EOVERFLOW, "EOVERFLOW" }, { EOPNOTSUPP, "EOPNOTSUPP" },
	};

	put_char('-');
	for (unsigned int i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (names[i].value == (unsigned long)-error) {
			put(names[i].name);
			return;
		}
	}
	put_dec(-error);
}

void put_result(long result)
{
	if (is_error(result))
		put_error(result);
	else
		put_dec(result);
}

int text_equal(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

unsigned long text_length(const char *text)
{
	unsigned long length = 0;

	while (text[length])
		length++;
	return length;
}

unsigned long text_number(const char **text, unsigned int base)
{
	unsigned long value = 0;

	for (;; (*text)++) {
		char c = **text;
		unsigned int digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if (base == 16 && c >= 'a' && c <= 'f')
			digit = c - 'a' + 10;
		else
			return value;
		value = value * base + digit;
	}
}

int text_skip(const char **text, const char *word)
{
	const char *at = *text;

	while (*word)
		if (*at++ != *word++)
			return 0;
	*text = at;
	return 1;
}
