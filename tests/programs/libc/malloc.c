// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Allocations of all sizes that come, grow and go; each holds a pattern that is checked. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS	2000
#define ROUNDS	60000

static struct {
	unsigned char *at;
	size_t size;
	unsigned char fill;
} slots[SLOTS];
static uint64_t state = 1;
static unsigned long wrong;

static unsigned int random_below(unsigned int limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 20) % limit;
}

/* Mostly small; some that a C library maps by themselves. */
static size_t random_size(void)
{
	unsigned int kind = random_below(1000);

	if (kind < 900)
		return 1 + random_below(600);
	if (kind < 990)
		return 1 + random_below(20000);
	return 1 + random_below(1 << 20);
}

/* The first and last bytes, and one of each page. */
static void mark(unsigned int n)
{
	for (size_t i = 0; i < slots[n].size; i += 4096)
		slots[n].at[i] = slots[n].fill;
	slots[n].at[slots[n].size - 1] = slots[n].fill;
}

static void check(unsigned int n, size_t size)
{
	for (size_t i = 0; i < size; i += 4096)
		wrong += slots[n].at[i] != slots[n].fill;
}

int main(void)
{
	unsigned long allocated = 0, grown = 0, freed = 0, zeroed = 0;

	for (int round = 0; round < ROUNDS; round++) {
		unsigned int n = random_below(SLOTS), kind = random_below(10);
		size_t size = random_size();

		if (slots[n].at && kind < 3) {
			size_t least = size < slots[n].size ? size : slots[n].size;

			slots[n].at = realloc(slots[n].at, size);
			if (!slots[n].at)
				return 1;
			check(n, least);
			slots[n].size = size;
			mark(n);
			grown++;
			continue;
		}
		if (slots[n].at) {
			check(n, slots[n].size);
			free(slots[n].at);
			freed++;
		}
		slots[n].at = kind == 9 ? calloc(1, size) : malloc(size);
		if (!slots[n].at)
			return 1;
		for (size_t i = 0; kind == 9 && i < size; i++)
			wrong += slots[n].at[i] != 0;
		zeroed += kind == 9;
		slots[n].size = size;
		slots[n].fill = round * 7 + 1;
		mark(n);
		allocated++;
	}
	for (int n = 0; n < SLOTS; n++) {
		if (slots[n].at)
			check(n, slots[n].size);
		free(slots[n].at);
	}
	printf("%lu allocated, %lu zeroed, %lu resized, %lu freed, %lu wrong\n", allocated, zeroed, grown, freed, wrong);
	printf("too much: %s\n", malloc(SIZE_MAX / 4) ? "granted" : "refused");
	return wrong != 0;
}
