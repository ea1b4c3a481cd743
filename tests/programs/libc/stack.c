// SPDX-License-Identifier: GPL-2.0 OR MIT
/* A stack that grows by recursion and by large frames, up to 7 of the 8 MiB that it may have. */
#include <alloca.h>
#include <stdio.h>
#include <string.h>

#define FRAME	1000

static unsigned long descend(unsigned int depth, unsigned long sum)
{
	volatile unsigned char frame[FRAME];

	for (unsigned int i = 0; i < FRAME; i += 100)
		frame[i] = (unsigned char)(depth + i);
	if (depth)
		sum = descend(depth - 1, sum + frame[100]);
	/* After the return, too, the frame holds what was put there. */
	return sum + frame[(depth % 10) * 100];
}

/* One step from the top to far below: pages between are never touched. */
static unsigned long leap(unsigned long size)
{
	volatile char *low = alloca(size);

	low[0] = 1;
	low[size - 1] = 2;
	return low[0] + low[size - 1] + low[size / 2] * 0;
}

static unsigned long mixed(unsigned int depth)
{
	char text[300];

	memset(text, (int)depth, sizeof(text));
	snprintf(text, sizeof(text), "%u", depth);
	return depth ? mixed(depth - 1) + (unsigned long)strlen(text) : 0;
}

int main(void)
{
	printf("%lu\n", descend(100, 0));
	printf("%lu\n", descend(6500, 0));
	printf("%lu\n", leap(7UL << 20));
	printf("%lu\n", mixed(3000));
	return 0;
}
