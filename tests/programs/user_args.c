// Calls all numbers with arguments from everywhere. Whatever the results are, the kernel stays.
#include "user.h"

static u64 state = 88172645463325252ul;

static u64 random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

void start(u64 *sp, u64 x0)
{
	u64 rounds = sp[0] > 1 ? number((char *)sp[2]) : 100;
	// A page with a hole behind it, and one that can't be written.
	u8 *page = (u8 *)call6(NR_mmap, 0, 3 * 4096, 3, 0x22, -1, 0);

	// O_CREAT | O_RDWR. Reading from the console would wait for somebody to type.
	i64 file = call6(NR_openat, -100, (u64)"/tmp/args", 0102, 0600, 0, 0);

	(void)x0;
	CHECK(file > 2);
	CHECK((i64)page > 0);
	CHECK(call(NR_munmap, page + 4096, 4096, 0) == 0);
	CHECK(call(NR_mprotect, page + 8192, 4096, 1) == 0);
	u64 values[] = {
		0, 1, 2, 7, 8, 63, 64, 4095, 4096, 4097, 1ul << 20, 1ul << 31, 1ul << 32, 1ul << 47, 1ul << 48,
		1ul << 63, -1ul, -8ul, -4096ul, -100ul, 0x7fffffff, 0xffffffff, 0xfffffffff000,
		0xffff000040000000, 0xffff000040200000, 0xffff800000000000, 0xffff800000010008,
		0xfffffe0000000000, 0xffffffffff000000, 0xffff000000000000 - 4,
		(u64)page, (u64)page + 4095, (u64)page + 4088, (u64)page + 4092, (u64)page + 4096,
		(u64)page + 8192, (u64)page + 8191, (u64)page + 1, (u64)sp, 3, 4, 5, 6, 0x12, 0x22, 0x32,
	};
	enum { N = sizeof(values) / sizeof(values[0]) };

	for (u64 round = 0; round < rounds; round++) {
		for (i64 n = 0; n < 470; n++) {
			u64 a[6];

			// exit, exit_group, signals to itself, sleeping, reboot, execve; fork and its kind.
			if (n == 93 || n == 94 || (n >= 129 && n <= 131) || n == 101 || n == 115 || n == 142 ||
			    n == 221 || n == 281 || n == 220 || n == 435)
				continue;
			// What would take the program's own memory or output away.
			if (n == 215 || n == 226 || n == 216 || n == 222 || n == 57 || n == 24 || n == 436 || n == 233 ||
			    n == 462 || n == 234 || n == 71 || n == 72 || n == 73 || n == 133 || n == 98 || n == 164 || n == 261)
				continue;
			for (int i = 0; i < 6; i++)
				a[i] = values[random() % N];
			// read, readv, pread64, preadv, splice, copy_file_range, preadv2
			if (n == 63 || n == 65 || n == 67 || n == 69 || n == 76 || n == 285 || n == 286)
				a[0] = file;
			call6(n, a[0], a[1], a[2], a[3], a[4], a[5]);
		}
	}
	print("still here\n");
	exit(0);
}
