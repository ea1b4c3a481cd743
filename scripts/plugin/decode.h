/* Instructions of AArch64 that the cache model looks at, by their words. */
#ifndef GRANULE_DECODE_H
#define GRANULE_DECODE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Immediates of the HINTs. BEGIN: what follows, until END, belongs to the row that X0 names
 * by any value of its own. ROW: that row is complete. START: the simulation begins.
 */
enum marker { BEGIN = 112, END, ROW, START };

static bool is_marker(uint32_t op)
{
    unsigned int hint = op >> 5 & 127;

    return (op & 0xfffff01f) == 0xd503201f && hint >= BEGIN && hint <= START;
}
static bool is_zva(uint32_t op) { return (op & ~31u) == 0xd50b7420; }
/* DC IVAC, CIVAC. */
static bool is_invalidate(uint32_t op) { return (op & ~31u) == 0xd5087620 || (op & ~31u) == 0xd50b7e20; }
static bool is_tlbi(uint32_t op) { return (op & 0xfff8f000) == 0xd5088000; }
/* PRFM of a base register and an offset: scaled or not. */
static bool is_prfm(uint32_t op)
{
    return (op & 0xffc00000) == 0xf9800000 || (op & 0xffe00c00) == 0xf8800000;
}

/* Offset in bytes of a PRFM. */
static int64_t prfm_offset(uint32_t op)
{
    return op >> 24 & 1 ? (op >> 10 & 0xfff) * 8 : (int64_t)((uint64_t)op << 43) >> 55;
}

#endif
