// Looks at all that a program finds at its first instruction.
#include "user.h"

#include <linux/auxvec.h>

static volatile u8 bss[200000];
static volatile u32 data = 0x1234567;
static __thread volatile int tls = 5;

static volatile int tls_used = 1;
static u64 aux[64];

struct dyn { i64 tag; u64 value; };
struct sym { u32 name; u8 info, other; unsigned short section; u64 value, size; };

// A function of the vDSO, looked up as musl does it.
static void *vdso(const u8 *base, const char *name)
{
	const u8 *phdr = base + *(u64 *)(base + 32);
	struct dyn *dyn = 0;

	for (int n = 0; n < *(unsigned short *)(base + 56); n++, phdr += 56)
		if (*(u32 *)phdr == 2)
			dyn = (void *)(base + *(u64 *)(phdr + 8));
	CHECK(dyn);
	const char *strings = 0;
	struct sym *syms = 0;
	u32 *hash = 0;
	unsigned short *versions = 0;
	const u8 *def = 0;

	for (; dyn->tag; dyn++) {
		const void *at = base + dyn->value;

		if (dyn->tag == 4) hash = (u32 *)at;
		if (dyn->tag == 5) strings = at;
		if (dyn->tag == 6) syms = (void *)at;
		if (dyn->tag == 0x6ffffff0) versions = (void *)at;
		if (dyn->tag == 0x6ffffffc) def = at;
	}
	CHECK(strings && syms && hash && versions && def);
	for (u32 n = 1; n < hash[1]; n++) {
		const u8 *d = def;

		if (!same(strings + syms[n].name, name))
			continue;
		// The definition of its version.
		while (*(unsigned short *)(d + 4) != (versions[n] & 0x7fff))
			d += *(u32 *)(d + 16);
		CHECK(same(strings + *(u32 *)(d + 20), "LINUX_2.6.39"));
		CHECK(syms[n].section != 0 && syms[n].info == 0x12);
		return (void *)(base + syms[n].value);
	}
	return 0;
}

void start(u64 *sp, u64 x0)
{
	u64 argc = *sp;
	char **argv = (char **)(sp + 1);
	char **envp = argv + argc + 1;
	u64 *auxv;

	CHECK(x0 == 0);
	CHECK(((u64)sp & 15) == 0);
	CHECK(argc == 3 && !argv[3]);
	CHECK(same(argv[0], "/bin/user_stack") && same(argv[1], "") && same(argv[2], "a b"));
	CHECK(same(envp[0], "HOME=/") && same(envp[1], "A=") && !envp[2]);
	for (auxv = (u64 *)(envp + 3); *auxv; auxv += 2) {
		CHECK(*auxv < 64);
		aux[*auxv] = auxv[1];
	}
	for (u64 n = 0; n < sizeof(bss); n++)
		CHECK(bss[n] == 0);
	CHECK(data == 0x1234567);
	CHECK(aux[AT_PAGESZ] == 4096 && aux[AT_CLKTCK] == 100 && aux[AT_PHENT] == 56);
	CHECK(aux[AT_BASE] == 0 && aux[AT_FLAGS] == 0 && aux[AT_SECURE] == 0);
	CHECK((aux[AT_UID] | aux[AT_EUID] | aux[AT_GID] | aux[AT_EGID]) == 0);
	CHECK(aux[AT_ENTRY] == (u64)({ extern char _start[]; _start; }));
	CHECK(same((char *)aux[AT_PLATFORM], "aarch64"));
	CHECK(same((char *)aux[AT_EXECFN], "/bin/user_stack"));
	CHECK(aux[51] == 4720);
	// FP and SIMD, and no CPUID.
	CHECK((aux[AT_HWCAP] & 3) == 3 && !(aux[AT_HWCAP] >> 11 & 1));
	CHECK(((u64 *)aux[AT_RANDOM])[0] != 0 && ((u64 *)aux[AT_RANDOM])[1] != 0);
	// The TLS segment is found by the program headers.
	const u8 *phdr = (u8 *)aux[AT_PHDR];
	int has_tls = 0, own = tls_used;

	for (u64 n = 0; n < aux[AT_PHNUM]; n++, phdr += aux[AT_PHENT])
		if (*(u32 *)phdr == 7)
			has_tls = *(int *)*(u64 *)(phdr + 16) == 5;
	CHECK(has_tls);
	if (!own)
		tls = 6; // so that there is one

	// Registers that programs may read, and those that the kernel reads for them.
	u64 x;

	asm volatile("mrs %0, ctr_el0" : "=r"(x));
	CHECK(x >> 31 & 1);
	asm volatile("mrs %0, dczid_el0" : "=r"(x));
	asm volatile("mrs %0, tpidr_el0" : "=r"(x));
	CHECK(x == 0);
	asm volatile("msr tpidr_el0, %0" : : "r"(77ul));
	asm volatile("mrs %0, midr_el1" : "=r"(x));
	CHECK(x != 0);
	asm volatile("mrs %0, s3_0_c0_c4_0" : "=r"(x)); // ID_AA64PFR0_EL1
	CHECK((x & 0xff) == 0x11);
	asm volatile("mrs %0, s3_0_c0_c7_0" : "=r"(x)); // ID_AA64MMFR0_EL1
	CHECK(x == 0xff000000);
	asm volatile("movi v0.2d, #0\n fmov %0, d0" : "=r"(x) : : "v0");
	CHECK(x == 0);

	// The clock of the vDSO is that of the system calls.
	const u8 *base = (u8 *)aux[AT_SYSINFO_EHDR];
	i64 a[2], b[2], c[2];

	CHECK(base && *(u32 *)base == 0x464c457f);
	i64 (*gettime)(u64, i64 *) = vdso(base, "__kernel_clock_gettime");
	i64 (*getres)(u64, i64 *) = vdso(base, "__kernel_clock_getres");
	i64 (*gettod)(i64 *, int *) = vdso(base, "__kernel_gettimeofday");

	CHECK(gettime && getres && gettod && vdso(base, "__kernel_rt_sigreturn"));
	CHECK(!vdso(base, "__vdso_time"));
	for (u64 clock = 0; clock < 12; clock++) {
		i64 made = call(NR_clock_gettime, clock, a, 0);

		CHECK(gettime(clock, b) == made);
		if (made)
			continue;
		CHECK(call(NR_clock_gettime, clock, c, 0) == 0);
		CHECK(b[1] >= 0 && b[1] < 1000000000);
		CHECK(a[0] * 1000000000 + a[1] <= b[0] * 1000000000 + b[1]);
		CHECK(b[0] * 1000000000 + b[1] <= c[0] * 1000000000 + c[1]);
	}
	CHECK(getres(1, a) == 0 && a[0] == 0 && a[1] == 1);
	CHECK(getres(1, 0) == 0 && getres(99, a) == -EINVAL);
	int zone[2] = { 7, 7 };

	CHECK(call(NR_clock_gettime, 0, a, 0) == 0 && gettod(b, zone) == 0);
	CHECK(b[0] - a[0] <= 1 && b[1] >= 0 && b[1] < 1000000 && !zone[0] && !zone[1]);
	CHECK(gettod(0, 0) == 0);
	print("ok\n");
	exit(42);
}
