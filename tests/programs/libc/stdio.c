// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Formatted output and input, files in a temporary folder, sorting, conversions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH	"/tmp/stdio"
#define LINES	20000

static int compare(const void *one, const void *other)
{
	return strcmp(*(char *const *)one, *(char *const *)other);
}

static void formats(void)
{
	char text[64];
	int count = 0;
	unsigned int hex;
	double number;

	printf("[%d] [%5d] [%-5d] [%05d] [%x] [%#o] [%c] [%s] [%.3s]\n", -1, 42, 42, 42, 0xbeefu, 8u, 'x', "text", "longer");
	printf("[%ld] [%lu] [%zu] [%.6f] [%g] [%e] [%10.2f]\n", -1L, ~0UL, (size_t)7, 1.0 / 3, 1e10, 12345.678, 2.5);
	snprintf(text, sizeof(text), "%d %x %lf", 12, 0xabcu, 6.25);
	printf("%d\n", sscanf(text, "%d %x %lf", &count, &hex, &number));
	printf("%d %x %.2f %ld %.4f\n", count, hex, number, strtol("-0x7f", NULL, 16), strtod("1e-3", NULL));
}

/* Writes lines, reads them back from some places, sorts and counts them. */
static void files(void)
{
	FILE *file = fopen(PATH, "w+");
	static char *lines[LINES];
	char line[80];
	unsigned long sum = 0;

	if (!file) {
		printf("fopen: %s\n", strerror(errno));
		exit(1);
	}
	for (unsigned int i = 0; i < LINES; i++)
		fprintf(file, "%08x line %u\n", i * 2654435761u, i);
	printf("size %ld\n", ftell(file));
	fseek(file, 8000, SEEK_SET);
	fgets(line, sizeof(line), file);
	printf("at 8000: %s", line);
	rewind(file);
	for (unsigned int i = 0; fgets(line, sizeof(line), file); i++)
		lines[i] = strdup(line);
	fclose(file);
	qsort(lines, LINES, sizeof(*lines), compare);
	printf("first %slast %s", lines[0], lines[LINES - 1]);
	for (unsigned int i = 0; i < LINES; i++) {
		sum = sum * 31 + strlen(lines[i]) + lines[i][3];
		free(lines[i]);
	}
	printf("sum %lu\n", sum);
	printf("remove %d\n", remove(PATH));
	errno = 0;
	printf("again %d", remove(PATH));
	printf(" %s\n", errno == ENOENT ? "ENOENT" : "?");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOFBF, 1000);
	formats();
	files();
	printf("%d arguments, last %s\n", argc, argc > 1 ? argv[argc - 1] : "none");
	fprintf(stderr, "to standard error\n");
	return argc > 1 ? atoi(argv[argc - 1]) : 0;
}
