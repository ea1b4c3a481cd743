/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Random numbers that are the same everywhere. */
#ifndef MEMCALLS_RANDOM_H
#define MEMCALLS_RANDOM_H

struct random {
	unsigned long state;
};

/* splitmix64. */
static inline unsigned long random_next(struct random *random)
{
	unsigned long z = random->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/*
 * Numbers for operation `index` of program `seed`: they depend on nothing else, so that an
 * operation is the same when others are left out.
 */
static inline struct random random_of(unsigned long seed, unsigned long index)
{
	struct random random = { seed };

	random.state = random_next(&random) + index;
	random.state = random_next(&random);
	return random;
}

static inline unsigned long below(struct random *random, unsigned long limit)
{
	return (random_next(random) >> 16) % limit;
}

/* True in `percent` of a hundred cases. */
static inline int chance(struct random *random, unsigned int percent)
{
	return below(random, 100) < percent;
}

#define CHOOSE(random, array)	((array)[below(random, sizeof(array) / sizeof(*(array)))])

#endif
