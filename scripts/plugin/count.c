/*
 * A TCG plugin that counts how often each guest instruction is executed between two
 * points: from a call of the function at `begin` to the next of the one at `end`, as
 * often as that happens. At the end of the emulator it writes one line "ADDRESS COUNT",
 * in hexadecimal and decimal, for each instruction that was counted.
 *
 *     -plugin file=count.so,begin=0xADDRESS,end=0xADDRESS,out=FILE
 *
 * One CPU only: whether it counts is one flag for all.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu.h"

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

struct counter {
    uint64_t address;
    uint64_t count;
    struct counter *next;
};

enum { BUCKETS = 1 << 14 };
static struct counter *buckets[BUCKETS];
static uint64_t begin, end;
static const char *out;
static bool counting;

static struct counter *counter_of(uint64_t address)
{
    struct counter **bucket = &buckets[(address >> 2) % BUCKETS];
    for (struct counter *c = *bucket; c; c = c->next)
        if (c->address == address)
            return c;
    struct counter *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->address = address;
    c->next = *bucket;
    *bucket = c;
    return c;
}

static void executed(unsigned int vcpu, void *data)
{
    struct counter *c = data;
    (void)vcpu;
    if (c->address == begin)
        counting = true;
    else if (c->address == end)
        counting = false;
    if (counting)
        c->count++;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        struct counter *c = counter_of(qemu_plugin_insn_vaddr(insn));
        qemu_plugin_register_vcpu_insn_exec_cb(insn, executed, QEMU_PLUGIN_CB_NO_REGS, c);
    }
}

static void report(qemu_plugin_id_t id, void *data)
{
    (void)id, (void)data;
    FILE *file = fopen(out, "w");
    if (!file) {
        perror(out);
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct counter *c = buckets[i]; c; c = c->next)
            if (c->count)
                fprintf(file, "%" PRIx64 " %" PRIu64 "\n", c->address, c->count);
    fclose(file);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc,
                               char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "begin=", 6))
            begin = strtoull(argv[i] + 6, NULL, 0);
        else if (!strncmp(argv[i], "end=", 4))
            end = strtoull(argv[i] + 4, NULL, 0);
        else if (!strncmp(argv[i], "out=", 4))
            out = strdup(argv[i] + 4);
    }
    if (!begin || !end || !out) {
        fprintf(stderr, "count: begin=ADDRESS,end=ADDRESS,out=FILE are all needed\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, report, NULL);
    return 0;
}
