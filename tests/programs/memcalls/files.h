/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The files that operations map. */
#ifndef MEMCALLS_FILES_H
#define MEMCALLS_FILES_H

#include "random.h"

enum file {
	FILE_READ_WRITE,	/* a few pages and a part of one */
	FILE_DELETED,		/* has no name any more; most of it holes */
	FILE_READ_ONLY,		/* the first one, opened in other ways */
	FILE_WRITE_ONLY,
	FILE_ZERO,		/* /dev/zero */
	FILE_NULL,		/* /dev/null, which nobody can map */
	FILE_FOLDER,
	FILE_CLOSED,		/* a number that is no file's */
	FILE_NONE,		/* -1 */
	FILES
};

#define FILE_PAGES	6
#define DELETED_PAGES	20

/* Opens all of them; prints what failed. */
void files_begin(void);
int file_number(enum file file);
const char *file_name(enum file file);
/* The name of the file with that device, as in maps, and inode; `?` if it is none of these. */
const char *file_name_of(unsigned long device, unsigned long inode);
enum file pick_file(struct random *random);
/* A file that can be written to. */
enum file pick_writable_file(struct random *random);

#endif
