/* Caches and TLBs of the CPUs that are simulated, and their state. */
#ifndef GRANULE_GEOMETRY_H
#define GRANULE_GEOMETRY_H

#include "model.h"

struct geometry {
    const char *name;
    struct { unsigned int bytes, ways; } l1i, l1d, l2;
    struct { unsigned int entries, ways; } itlb, dtlb, l2tlb;
    unsigned int l1_block;  /* largest reach of an L1 TLB entry, log2 */
    bool l2_shared;
};
/* Arm 100095 (Cortex-A72 TRM) and 100616 (Neoverse N1 TRM). */
static const struct geometry geometries[] = {
    { "a72", { 48 << 10, 3 }, { 32 << 10, 2 }, { 1 << 20, 16 },
      { 48, 48 }, { 32, 32 }, { 1024, 4 }, 20, true },
    { "n1", { 64 << 10, 4 }, { 64 << 10, 4 }, { 1 << 20, 8 },
      { 48, 48 }, { 48, 48 }, { 1280, 5 }, 21, false },
};

enum { LINE = 6, CPUS = 8, STREAMS = 8, NO_PAGE = 1 };

struct cpu {
    struct ways l1i, l1d, own_l2, *l2, lost;
    struct ways itlb, dtlb, l2tlb;
    uint64_t fetch_line, fetch_page, data_page;
    uint64_t streams[STREAMS];
    unsigned int stream;
};

static void cpu_init(struct cpu *cpu, const struct geometry *g, struct cpu *first)
{
    ways_init(&cpu->l1i, g->l1i.bytes >> LINE, g->l1i.ways);
    ways_init(&cpu->l1d, g->l1d.bytes >> LINE, g->l1d.ways);
    ways_init(&cpu->own_l2, g->l2.bytes >> LINE, g->l2.ways);
    ways_init(&cpu->lost, 4096, 8);
    ways_init(&cpu->itlb, g->itlb.entries, g->itlb.ways);
    ways_init(&cpu->dtlb, g->dtlb.entries, g->dtlb.ways);
    ways_init(&cpu->l2tlb, g->l2tlb.entries, g->l2tlb.ways);
    cpu->l2 = g->l2_shared ? &first->own_l2 : &cpu->own_l2;
    cpu->fetch_page = cpu->data_page = NO_PAGE;
}

#endif
