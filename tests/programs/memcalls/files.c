// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/fcntl.h>
#include <asm/stat.h>

#include "../sys.h"
#include "files.h"
#include "text.h"

#define PATH_FIRST	"/tmp/memcalls.0"
#define PATH_DELETED	"/tmp/memcalls.1"

static struct {
	const char *name;
	const char *path;
	int flags;
	int number;
	unsigned long device, inode;
} files[FILES] = {
	[FILE_READ_WRITE] = { .name = "rw", .path = PATH_FIRST, .flags = O_RDWR | O_CREAT | O_TRUNC },
	[FILE_DELETED] = { .name = "deleted", .path = PATH_DELETED, .flags = O_RDWR | O_CREAT | O_TRUNC },
	[FILE_READ_ONLY] = { .name = "ro", .path = PATH_FIRST, .flags = O_RDONLY },
	[FILE_WRITE_ONLY] = { .name = "wo", .path = PATH_FIRST, .flags = O_WRONLY },
	[FILE_ZERO] = { .name = "zero", .path = "/dev/zero", .flags = O_RDWR },
	[FILE_NULL] = { .name = "null", .path = "/dev/null", .flags = O_RDWR },
	[FILE_FOLDER] = { .name = "folder", .path = "/tmp", .flags = O_RDONLY },
	[FILE_CLOSED] = { .name = "closed", .number = 77 },
	[FILE_NONE] = { .name = "none", .number = -1 },
};

/* Fills part of a page with a number, which says where it is. */
static void fill(int number, unsigned long page)
{
	unsigned char bytes[64];

	memset(bytes, 0x40 + page, sizeof(bytes));
	put_result(sys(__NR_pwrite64, number, bytes, sizeof(bytes), page * PAGE));
	put_char(' ');
}

void files_begin(void)
{
	put("files");
	for (int i = 0; i < FILES; i++) {
		struct stat stat;
		long number, result;

		if (!files[i].path)
			continue;
		number = sys(__NR_openat, AT_FDCWD, files[i].path, files[i].flags | O_CLOEXEC, 0644);
		put_char(' ');
		put_result(is_error(number) ? number : 0);
		files[i].number = is_error(number) ? -1 : number;
		if (is_error(number))
			continue;
		result = sys(__NR_newfstatat, number, "", &stat, AT_EMPTY_PATH);
		if (is_error(result)) {
			put_result(result);
			continue;
		}
		/* As maps prints it: major:minor, of the number's 32 bits. */
		files[i].device = (stat.st_dev >> 8 & 0xfff) << 20 | (stat.st_dev & 0xff) | (stat.st_dev >> 12 & 0xfff00);
		files[i].inode = stat.st_ino;
	}
	put(" fill ");
	for (unsigned long page = 0; page < FILE_PAGES; page++)
		fill(files[FILE_READ_WRITE].number, page);
	put_result(sys(__NR_ftruncate, files[FILE_READ_WRITE].number, FILE_PAGES * PAGE + 100));
	put_char(' ');
	for (unsigned long page = 0; page < DELETED_PAGES; page += 5)
		fill(files[FILE_DELETED].number, page);
	put_result(sys(__NR_ftruncate, files[FILE_DELETED].number, DELETED_PAGES * PAGE));
	put_char(' ');
	put_result(sys(__NR_unlinkat, AT_FDCWD, PATH_DELETED, 0));
	put_char('\n');
}

int file_number(enum file file)
{
	return files[file].number;
}

const char *file_name(enum file file)
{
	return files[file].name;
}

const char *file_name_of(unsigned long device, unsigned long inode)
{
	for (int i = 0; i < FILES; i++)
		if (files[i].inode && files[i].device == device && files[i].inode == inode)
			return files[i].name;
	return "?";
}

enum file pick_file(struct random *random)
{
	static const unsigned char files[] = {
		FILE_READ_WRITE, FILE_READ_WRITE, FILE_READ_WRITE, FILE_READ_WRITE, FILE_READ_WRITE, FILE_READ_WRITE,
		FILE_DELETED, FILE_DELETED, FILE_DELETED, FILE_DELETED, FILE_DELETED, FILE_DELETED,
		FILE_READ_ONLY, FILE_READ_ONLY, FILE_READ_ONLY, FILE_READ_ONLY,
		FILE_ZERO, FILE_ZERO, FILE_WRITE_ONLY, FILE_NULL, FILE_FOLDER, FILE_CLOSED,
	};

	return CHOOSE(random, files);
}

enum file pick_writable_file(struct random *random)
{
	return chance(random, 50) ? FILE_READ_WRITE : FILE_DELETED;
}
