/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What /proc/self tells of the address space. */
#ifndef MEMCALLS_MAPS_H
#define MEMCALLS_MAPS_H

/* Finds the bases of addresses, and remembers the areas that there are. */
void maps_begin(void);
/* Prints the areas that have gone, come or changed since the last time. */
void maps_print_changes(void);
/* Prints what /proc/self/smaps tells of each area of operations. */
void smaps_print(void);
/* Prints the sizes in /proc/self/status, as differences to those at the start. */
void status_print(void);
/* The bytes of VmSize or VmData. */
unsigned long status_bytes(const char *field);
/* Prints a file as it is. */
void file_print(const char *path);
/* Fills `buffer` with a file, and ends it with a null byte; the length or an error. */
long file_read(const char *path, char *buffer, unsigned long size);

#endif
