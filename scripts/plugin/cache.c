/*
 * A TCG plugin that simulates the caches and TLBs of a Cortex-A72 or Neoverse N1 and counts
 * misses, for each row of a benchmark and for each instruction.
 *
 *     -plugin file=cache.so,cpu=a72,linear=0xADDRESS,out=FILE[,misses=FILE]
 *
 * linear   virtual address at which the kernel maps physical address 0: page tables are read
 *          there, for the sizes of TLB entries
 * out      one JSON object for each row
 * misses   one line "ADDRESS INSTRUCTIONS EVENT..." for each instruction executed in a row
 *
 * The guest says which instructions belong to a row by HINT instructions, which any CPU
 * executes as NOP (markers below). Simulation begins with the first of them.
 *
 * Caches are physically indexed, write-allocate, with exact LRU. A miss on the line next to
 * one of the CPU's last eight misses is counted as sequential, for hardware prefetches those.
 * DC ZVA allocates a line without a read; PRFM reads one without a stall. A store takes the
 * line from the other CPUs' caches; their next miss on it is a coherence miss. The count is
 * deterministic wherever the guest is (-icount).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "decode.h"
#include "geometry.h"
#include "guest.h"
#include "model.h"
#include "qemu.h"

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

#define EVENTS(X)                                                                              \
    X(instructions)                                                                            \
    X(fetch_l2) X(fetch_mem)                                                                   \
    X(load_l2) X(load_mem) X(store_l2) X(store_mem) X(sequential_l2) X(sequential_mem)         \
    X(coherence) X(prefetches)                                                                 \
    X(tlb_l2) X(tlb_walk) X(walk_mem)
#define NAME_OF(event) event,
enum event { EVENTS(NAME_OF) EVENT_COUNT };
#define TEXT_OF(event) #event,
static const char *const names[] = { EVENTS(TEXT_OF) };

static struct cpu cpus[CPUS];
static unsigned int cpu_count;
static const struct geometry *geometry = &geometries[0];
static FILE *out;
static const char *misses;

struct insn {
    uint64_t address;
    uint32_t opcode;
    uint64_t counts[EVENT_COUNT];
    struct insn *next;
};
enum { BUCKETS = 1 << 16 };
static struct insn *buckets[BUCKETS];

/* Rows that have begun and are not complete. */
enum { ROWS = 16 };
static struct row {
    uint64_t key;
    bool used;
    uint64_t counts[EVENT_COUNT];
} rows[ROWS];
static struct row *row;  /* the one that events count for, or NULL */
static bool started;

static void count(struct insn *insn, enum event event)
{
    if (row) {
        row->counts[event]++;
        insn->counts[event]++;
    }
}

/* --- TLBs --------------------------------------------------------------------------- */

static const unsigned int l1_sizes[] = { PAGE, 16, 20, 21 };
static const unsigned int l2_sizes[] = { PAGE, 16, 21, 30 };
enum { SIZES = 4 };

static uint64_t tlb_key(uint64_t va, unsigned int shift) { return va >> shift | (uint64_t)shift << 56; }

static bool tlb_find(struct ways *tlb, uint64_t va, const unsigned int *sizes)
{
    for (unsigned int i = 0; i < SIZES; i++)
        if (ways_have(tlb, tlb_key(va, sizes[i])))
            return ways_touch(tlb, tlb_key(va, sizes[i]));
    return false;
}

/* The largest of `sizes` that is no larger than the mapping and `most`. */
static unsigned int tlb_size(const unsigned int *sizes, unsigned int shift, unsigned int most)
{
    unsigned int size = PAGE;

    for (unsigned int i = 0; i < SIZES; i++)
        if (sizes[i] <= shift && sizes[i] <= most)
            size = sizes[i];
    return size;
}

static void tlb_access(struct cpu *cpu, struct ways *tlb, struct insn *insn, uint64_t va)
{
    unsigned int shift;
    uint64_t leaf;

    if (tlb_find(tlb, va, l1_sizes))
        return;
    walk(va, &shift, &leaf);
    count(insn, tlb_l2);
    if (!tlb_find(&cpu->l2tlb, va, l2_sizes)) {
        count(insn, tlb_walk);
        if (leaf && !ways_touch(cpu->l2, leaf >> LINE))
            count(insn, walk_mem);
        ways_touch(&cpu->l2tlb, tlb_key(va, tlb_size(l2_sizes, shift, 30)));
    }
    ways_touch(tlb, tlb_key(va, tlb_size(l1_sizes, shift, geometry->l1_block)));
}

static void tlb_forget(struct cpu *cpu, const uint64_t *va)
{
    struct ways *const tlbs[] = { &cpu->itlb, &cpu->dtlb, &cpu->l2tlb };

    cpu->fetch_page = cpu->data_page = NO_PAGE;
    for (unsigned int t = 0; t < 3; t++) {
        const unsigned int *sizes = t < 2 ? l1_sizes : l2_sizes;

        if (!va)
            ways_clear(tlbs[t]);
        for (unsigned int i = 0; va && i < SIZES; i++)
            ways_drop(tlbs[t], tlb_key(*va, sizes[i]));
    }
}

/* TLBI of one address, or of more than this decodes: then of all. */
static void tlb_maintenance(struct cpu *cpu, uint32_t opcode)
{
    unsigned int op2 = opcode >> 5 & 7, crm = opcode >> 8 & 15;
    uint64_t operand, va;
    bool by_address = (op2 & 1) && (crm == 1 || crm == 3 || crm == 7);

    if (by_address) {
        operand = read_x(opcode & 31);
        va = (uint64_t)((int64_t)(operand << 20) >> 8);
    }
    for (unsigned int i = 0; i < cpu_count; i++)
        if (crm != 7 || &cpus[i] == cpu)
            tlb_forget(&cpus[i], by_address ? &va : NULL);
}

/* --- caches ------------------------------------------------------------------------- */

static bool sequential(struct cpu *cpu, uint64_t line)
{
    for (unsigned int i = 0; i < STREAMS; i++) {
        if (cpu->streams[i] + 1 == line || cpu->streams[i] - 1 == line) {
            cpu->streams[i] = line;
            return true;
        }
    }
    cpu->streams[cpu->stream++ % STREAMS] = line;
    return false;
}

static void take_from_others(struct cpu *cpu, uint64_t line)
{
    for (unsigned int i = 0; i < cpu_count; i++) {
        struct cpu *other = &cpus[i];

        if (other == cpu)
            continue;
        bool had = ways_drop(&other->l1d, line);
        if (!geometry->l2_shared)
            had |= ways_drop(other->l2, line);
        if (had)
            ways_touch(&other->lost, line);
    }
}

static void data_access(struct cpu *cpu, struct insn *insn, uint64_t line, bool store)
{
    if (store && cpu_count > 1)
        take_from_others(cpu, line);
    if (ways_touch(&cpu->l1d, line))
        return;
    bool in_l2 = ways_touch(cpu->l2, line);
    bool next = sequential(cpu, line);
    if (cpu_count > 1 && ways_drop(&cpu->lost, line))
        count(insn, coherence);
    else if (next)
        count(insn, in_l2 ? sequential_l2 : sequential_mem);
    else if (store)
        count(insn, in_l2 ? store_l2 : store_mem);
    else
        count(insn, in_l2 ? load_l2 : load_mem);
}

static void accessed(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t va, void *data)
{
    struct cpu *cpu = &cpus[vcpu % CPUS];
    struct insn *insn = data;
    struct qemu_plugin_hwaddr *hwaddr;

    if (!started)
        return;
    hwaddr = qemu_plugin_get_hwaddr(info, va);
    if (!hwaddr || qemu_plugin_hwaddr_is_io(hwaddr))
        return;
    uint64_t physical = qemu_plugin_hwaddr_phys_addr(hwaddr);
    uint64_t last = physical + (1u << qemu_plugin_mem_size_shift(info)) - 1;
    if (va >> PAGE != cpu->data_page) {
        cpu->data_page = va >> PAGE;
        tlb_access(cpu, &cpu->dtlb, insn, va);
    }
    for (uint64_t line = physical >> LINE; line <= last >> LINE; line++)
        data_access(cpu, insn, line, qemu_plugin_mem_is_store(info));
}

/* --- instructions ------------------------------------------------------------------- */

static struct row *row_of(uint64_t key)
{
    struct row *unused = NULL;

    for (unsigned int i = 0; i < ROWS; i++) {
        if (rows[i].used && rows[i].key == key)
            return &rows[i];
        if (!rows[i].used)
            unused = &rows[i];
    }
    if (!unused) {
        fprintf(stderr, "cache: more than %d rows at a time\n", ROWS);
        exit(1);
    }
    memset(unused, 0, sizeof *unused);
    unused->used = true;
    unused->key = key;
    return unused;
}

static void print_row(struct row *r)
{
    for (unsigned int i = 0; i < EVENT_COUNT; i++)
        fprintf(out, "%s\"%s\":%" PRIu64, i ? "," : "{", names[i], r->counts[i]);
    fprintf(out, "}\n");
    r->used = false;
}

static void marked(unsigned int vcpu, void *data)
{
    struct insn *insn = data;
    (void)vcpu;

    started = true;
    switch (insn->opcode >> 5 & 127) {
    case BEGIN: row = row_of(read_x(0)); break;
    case END: row = NULL; break;
    case ROW: print_row(row_of(read_x(0))); break;
    }
}

static void executed(unsigned int vcpu, void *data)
{
    struct cpu *cpu = &cpus[vcpu % CPUS];
    struct insn *insn = data;
    uint64_t line = insn->address >> LINE;

    count(insn, instructions);
    if (!started || line == cpu->fetch_line)
        return;
    cpu->fetch_line = line;
    if (line >> (PAGE - LINE) != cpu->fetch_page) {
        cpu->fetch_page = line >> (PAGE - LINE);
        tlb_access(cpu, &cpu->itlb, insn, insn->address);
    }
    /* By virtual address: images are placed so that both index alike. */
    if (!ways_touch(&cpu->l1i, line))
        count(insn, ways_touch(cpu->l2, line | 1ull << 60) ? fetch_l2 : fetch_mem);
}

/* Instructions whose work no memory callback tells of. */
static void special(unsigned int vcpu, void *data)
{
    struct cpu *cpu = &cpus[vcpu % CPUS];
    struct insn *insn = data;
    uint32_t op = insn->opcode;
    unsigned int shift;
    uint64_t va, leaf, line;

    if (!started)
        return;
    if (is_tlbi(op)) {
        tlb_maintenance(cpu, op);
        return;
    }
    if (is_prfm(op)) {
        count(insn, prefetches);
        va = read_x(op >> 5 & 31) + (uint64_t)prfm_offset(op);
    } else {
        va = read_x(op & 31);
    }
    line = walk(va, &shift, &leaf) >> LINE;
    if (is_invalidate(op)) {
        for (unsigned int i = 0; i < cpu_count; i++) {
            ways_drop(&cpus[i].l1d, line);
            ways_drop(cpus[i].l2, line);
        }
        return;
    }
    if (is_zva(op)) {
        cpu->data_page = NO_PAGE;
        tlb_access(cpu, &cpu->dtlb, insn, va);
        take_from_others(cpu, line);
    }
    ways_touch(&cpu->l1d, line);
    ways_touch(cpu->l2, line);
}

static struct insn *insn_at(uint64_t address, uint32_t opcode)
{
    struct insn **bucket = &buckets[(address >> 2) % BUCKETS];

    for (struct insn *i = *bucket; i; i = i->next)
        if (i->address == address && i->opcode == opcode)
            return i;
    struct insn *i = calloc(1, sizeof *i);
    if (!i)
        abort();
    i->address = address;
    i->opcode = opcode;
    i->next = *bucket;
    *bucket = i;
    return i;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *q = qemu_plugin_tb_get_insn(tb, i);
        uint32_t op = 0;

        qemu_plugin_insn_data(q, &op, sizeof op);
        struct insn *insn = insn_at(qemu_plugin_insn_vaddr(q), op);
        if (is_marker(op)) {
            qemu_plugin_register_vcpu_insn_exec_cb(q, marked, QEMU_PLUGIN_CB_R_REGS, insn);
            continue;
        }
        /* A walk of the tables reads registers. */
        qemu_plugin_register_vcpu_insn_exec_cb(q, executed, QEMU_PLUGIN_CB_R_REGS, insn);
        if (is_zva(op) || is_invalidate(op) || is_tlbi(op) || is_prfm(op))
            qemu_plugin_register_vcpu_insn_exec_cb(q, special, QEMU_PLUGIN_CB_R_REGS, insn);
        else
            qemu_plugin_register_vcpu_mem_cb(q, accessed, QEMU_PLUGIN_CB_R_REGS,
                                             QEMU_PLUGIN_MEM_RW, insn);
    }
}

/* --- set-up ------------------------------------------------------------------------- */

static void vcpu_came(qemu_plugin_id_t id, unsigned int vcpu)
{
    struct cpu *cpu = &cpus[vcpu % CPUS];
    (void)id;

    if (vcpu >= CPUS) {
        fprintf(stderr, "cache: more than %d CPUs\n", CPUS);
        exit(1);
    }
    if (!find_registers()) {
        fprintf(stderr, "cache: this QEMU does not show X0, TTBR0_EL1 and TTBR1_EL1\n");
        exit(1);
    }
    cpu_init(cpu, geometry, &cpus[0]);
    if (vcpu >= cpu_count)
        cpu_count = vcpu + 1;
}

static void end(qemu_plugin_id_t id, void *data)
{
    (void)id, (void)data;
    fclose(out);
    FILE *file = misses ? fopen(misses, "w") : NULL;
    if (misses && !file)
        perror(misses);
    if (!file)
        return;
    fprintf(file, "address");
    for (unsigned int e = 0; e < EVENT_COUNT; e++)
        fprintf(file, " %s", names[e]);
    fprintf(file, "\n");
    for (unsigned int b = 0; b < BUCKETS; b++) {
        for (struct insn *i = buckets[b]; i; i = i->next) {
            if (!i->counts[instructions])
                continue;
            fprintf(file, "%" PRIx64, i->address);
            for (unsigned int e = 0; e < EVENT_COUNT; e++)
                fprintf(file, " %" PRIu64, i->counts[e]);
            fprintf(file, "\n");
        }
    }
    fclose(file);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc,
                               char **argv)
{
    const char *path = NULL, *name = "a72";
    (void)info;

    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "cpu=", 4))
            name = argv[i] + 4;
        else if (!strncmp(argv[i], "linear=", 7))
            linear = strtoull(argv[i] + 7, NULL, 0);
        else if (!strncmp(argv[i], "out=", 4))
            path = argv[i] + 4;
        else if (!strncmp(argv[i], "misses=", 7))
            misses = strdup(argv[i] + 7);
    }
    geometry = NULL;
    for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++)
        if (!strcmp(geometries[i].name, name))
            geometry = &geometries[i];
    if (!geometry || !linear || !path) {
        fprintf(stderr, "cache: cpu=a72|n1,linear=ADDRESS,out=FILE are all needed\n");
        return -1;
    }
    out = fopen(path, "w");
    if (!out) {
        perror(path);
        return -1;
    }
    qemu_plugin_register_vcpu_init_cb(id, vcpu_came);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, end, NULL);
    return 0;
}
