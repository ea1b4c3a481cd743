// System calls, output and the first stack, for programs without a C library.
#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

static inline i64 call6(i64 n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 x0 asm("x0") = a;
	register u64 x1 asm("x1") = b;
	register u64 x2 asm("x2") = c;
	register u64 x3 asm("x3") = d;
	register u64 x4 asm("x4") = e;
	register u64 x5 asm("x5") = f;
	register i64 x8 asm("x8") = n;

	asm volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x8) : "memory");
	return x0;
}
#define call(n, a, b, c) call6(n, (u64)(a), (u64)(b), (u64)(c), 0, 0, 0)

enum {
	NR_openat = 56, NR_write = 64, NR_uname = 160, NR_exit_group = 94, NR_getpid = 172, NR_clock_gettime = 113,
	NR_mmap = 222, NR_munmap = 215, NR_mprotect = 226, NR_brk = 214,
};
enum { EFAULT = 14, EINVAL = 22, ENOSYS = 38 };

static inline __attribute__((noreturn)) void exit(int code)
{
	for (;;)
		call(NR_exit_group, code, 0, 0);
}

static inline u64 length(const char *s)
{
	u64 n = 0;

	while (s[n])
		n++;
	return n;
}

static inline void print(const char *s)
{
	call(NR_write, 1, s, length(s));
}

static inline void print_hex(u64 x)
{
	char text[19] = "0x";
	int n = 2;

	for (int shift = 60; shift >= 0; shift -= 4)
		if (x >> shift || shift == 0)
			text[n++] = "0123456789abcdef"[x >> shift & 15];
	text[n] = 0;
	print(text);
}

// Ends the program with the number of the line where something is not as it should be.
#define CHECK(condition) do { \
	if (!(condition)) { \
		print("line " STRING(__LINE__) ": " #condition "\n"); \
		exit(1); \
	} \
} while (0)
#define STRING(x) STRING2(x)
#define STRING2(x) #x

static inline int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static inline u64 number(const char *s)
{
	u64 n = 0;

	for (; *s; s++)
		n = n << 4 | (*s <= '9' ? *s - '0' : *s - 'a' + 10);
	return n;
}

// The program: its first stack pointer, and the value of x0 before.
void start(u64 *sp, u64 x0) __attribute__((noreturn));

asm(".globl _start\n"
    "_start:\n"
    "	mov x1, x0\n"
    "	mov x0, sp\n"
    "	mov x29, #0\n"
    "	mov x30, #0\n"
    "	b start\n");
