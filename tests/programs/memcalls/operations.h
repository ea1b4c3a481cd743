/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The operations that a program is made of. Each prints itself and its result, without a line's end. */
#ifndef MEMCALLS_OPERATIONS_H
#define MEMCALLS_OPERATIONS_H

#include "random.h"

typedef void operation(struct random *random);

/* mapping.c */
operation op_fill, op_fill_with_files, op_mmap_fixed, op_mmap_other, op_mmap_file, op_mmap_hint, op_mmap_large;
operation op_munmap, op_mprotect, op_mremap, op_mremap_odd, op_brk, op_remap_file_pages, op_mseal;
operation op_growsdown;
/* residence.c */
operation op_madvise, op_mincore, op_msync, op_mlock, op_mlock2, op_munlock, op_mlockall, op_munlockall;
operation op_read, op_write, op_exec, op_plant, op_stack;
/* settings.c */
operation op_ftruncate, op_fallocate, op_limit, op_drop_capabilities, op_overcommit, op_max_map_count;

#endif
