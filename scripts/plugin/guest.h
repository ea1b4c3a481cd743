/* Registers and page tables of the guest, as a plugin of version 4 can read them. */
#ifndef GRANULE_GUEST_H
#define GRANULE_GUEST_H

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "qemu.h"

enum { PAGE = 12 };

/* Virtual address at which the kernel maps physical address 0. */
static uint64_t linear;

static struct qemu_plugin_register *x[31], *ttbr[2];
static GByteArray *buffer;

static void found_register(const qemu_plugin_reg_descriptor *r)
{
    unsigned int n;
    char rest;

    if (sscanf(r->name, "x%u%c", &n, &rest) == 1 && n < 31)
        x[n] = r->handle;
    else if (!strcasecmp(r->name, "TTBR0_EL1"))
        ttbr[0] = r->handle;
    else if (!strcasecmp(r->name, "TTBR1_EL1"))
        ttbr[1] = r->handle;
}

static uint64_t read_register(struct qemu_plugin_register *r)
{
    uint64_t value = 0;

    g_byte_array_set_size(buffer, 0);
    if (r && qemu_plugin_read_register(r, buffer) >= 8)
        memcpy(&value, buffer->data, 8);
    return value;
}

static uint64_t read_x(unsigned int n) { return n < 31 ? read_register(x[n]) : 0; }

/*
 * Physical address of `va`, log2 of the mapping's size in *shift and the address of the last
 * descriptor in *leaf (0 where there is none): 4 KiB granule, 48 bits.
 */
static uint64_t walk(uint64_t va, unsigned int *shift, uint64_t *leaf)
{
    const uint64_t address_bits = 0x0000fffffffff000;
    uint64_t table = read_register(ttbr[va >> 55 & 1]) & address_bits;

    *leaf = 0;
    for (int level = 0; level <= 3; level++) {
        unsigned int bits = 39 - 9 * level;
        uint64_t entry = table + (va >> bits & 511) * 8, descriptor;

        g_byte_array_set_size(buffer, 0);
        if (!qemu_plugin_read_memory_vaddr(linear + entry, buffer, 8))
            break;
        memcpy(&descriptor, buffer->data, 8);
        if (!(descriptor & 1))
            break;
        *leaf = entry;
        if (level == 3 || !(descriptor & 2)) {
            uint64_t base = descriptor & address_bits & ~((1ull << bits) - 1);

            *shift = bits + (descriptor >> 52 & 1 ? 4 : 0);
            return base | (va & ((1ull << bits) - 1));
        }
        table = descriptor & address_bits;
    }
    *shift = PAGE;
    return va - linear;
}

/* Finds the registers that are read. To be called when a vCPU has come. */
static bool find_registers(void)
{
    if (!buffer)
        buffer = g_byte_array_new();
    GArray *registers = qemu_plugin_get_registers();
    for (unsigned int i = 0; i < registers->len; i++)
        found_register((qemu_plugin_reg_descriptor *)registers->data + i);
    return x[0] && ttbr[0] && ttbr[1];
}

#endif
