/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the program prints. */
#ifndef MEMCALLS_TEXT_H
#define MEMCALLS_TEXT_H

struct name {
	unsigned long value;
	const char *name;
};

void put(const char *text);
void put_char(char c);
void put_dec(unsigned long value);
void put_hex(unsigned long value);
void put_some(const char *text, unsigned long length);
/* Writes to standard output what has been put since the last time. */
void text_flush(void);

/* The names of the bits of `value`, between `|`, and what has no name in hex. */
void put_bits(unsigned long value, const struct name *names, unsigned int count);
#define PUT_BITS(value, names)	put_bits(value, names, sizeof(names) / sizeof(*(names)))
/* A protection, as `rw-`, and other bits in hex. */
void put_prot(unsigned long prot);
/* `-EINVAL`, or the number where it has no name. */
void put_error(long error);
/* 0 or an error. */
void put_result(long result);

int text_equal(const char *one, const char *other);
unsigned long text_length(const char *text);
/* The number at *text, in base 10 or 16; moves *text behind it. */
unsigned long text_number(const char **text, unsigned int base);
/* Whether *text begins with `word`; if so, moves it behind that. */
int text_skip(const char **text, const char *word);

#endif
