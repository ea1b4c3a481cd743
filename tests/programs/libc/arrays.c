// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Large arrays: zeroed ones that are hardly touched, initialised ones, numbers with a fraction. */
#include <stdio.h>
#include <string.h>

#define SPARSE	(256UL << 20)
#define DENSE	(1UL << 21)
#define N	120

static unsigned char sparse[SPARSE];
static unsigned int dense[DENSE];
static unsigned int initialised[5000] = { 1, 2, 3, [4999] = 4 };
static const char constant[100000] = { [99999] = 'z' };
static double a[N][N], b[N][N], c[N][N];

/* A sieve over the whole array. */
static unsigned int primes(void)
{
	unsigned int count = 0;

	memset(dense, 1, sizeof(dense));
	for (unsigned long i = 2; i < DENSE; i++) {
		if (!dense[i])
			continue;
		count++;
		for (unsigned long j = i * i; j < DENSE; j += i)
			dense[j] = 0;
	}
	return count;
}

static double product(void)
{
	double sum = 0;

	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++)
			a[i][j] = i + j * 0.5, b[i][j] = i - j * 0.25;
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++)
			for (int k = 0; k < N; k++)
				c[i][j] += a[i][k] * b[k][j];
	for (int i = 0; i < N; i++)
		sum += c[i][(i * 7) % N];
	return sum;
}

int main(void)
{
	unsigned long sum = 0;

	for (unsigned long at = 0; at < SPARSE; at += 1234567) {
		sum += sparse[at];
		sparse[at] = (unsigned char)at;
	}
	for (unsigned long at = 0; at < SPARSE; at += 4096)
		sum += sparse[at];
	for (unsigned int i = 0; i < 5000; i++)
		sum += initialised[i] += i;
	printf("%lu %u %c\n", sum, initialised[4999], constant[99999]);
	printf("%u primes\n", primes());
	printf("%.3f\n", product());
	return 0;
}
