// Hands addresses of the kernel's half to system calls, to read from and to write to: each is EFAULT,
// and the kernel lives to say so. (What a program does there itself ends it: user_fault.c.)
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
	// The linear map, the image, vmalloc, the descriptors, and anywhere.
	static const u64 parts[] = {
		0xffff000040000000, 0xffff800000000000, 0xffff800100000000, 0xfffffe0000000000,
		0xffff000000000000,
	};
	static const u64 masks[] = {
		0x7fffffff, 0xffffff, 0xfffffffff, 0x3ffffff, 0xffffffffffff,
	};
	// O_CREAT | O_RDWR
	int file = call6(NR_openat, -100, (u64)"/tmp/attack", 0102, 0600, 0, 0);

	(void)sp;
	(void)x0;
	CHECK(file >= 0);
	for (int n = 0; n < 10000; n++) {
		u64 at = parts[n % 5] + (random() & masks[n % 5]);

		// Written from there: nothing of the kernel's memory gets out. Never into it: it stays as it was.
		CHECK(call(NR_write, file, at, 64) == -14);
		CHECK(call(NR_uname, at, 0, 0) == -14);
		CHECK(call(NR_clock_gettime, 1, at, 0) == -14);
	}
	print("10000 addresses: EFAULT each\n");
	exit(0);
}
