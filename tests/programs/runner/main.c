// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The first process of a system that runs programs one after the other: each line of /list is a program's path
 * and its arguments. Prints `== status N` after one that did not end with exit status 0 (128 + n after a
 * signal), `== done` at the end, and turns the machine off. Output goes to the port of a virtio console where
 * there is one: it is faster than a serial port.
 */
#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/reboot.h>
#include <linux/signal.h>
#include <linux/wait.h>

#include "../sys.h"

#define WORDS	16

static void say(const char *text)
{
	unsigned long length = 0;

	while (text[length])
		length++;
	sys(__NR_write, 1, text, length);
}

static void say_status(int code)
{
	char text[] = "== status 000\n";

	text[10] += code / 100;
	text[11] += code / 10 % 10;
	text[12] += code % 10;
	say(text);
}

/* Folders may be there, and file systems mounted, already. */
static void mount(const char *kind, const char *at)
{
	sys(__NR_mkdirat, AT_FDCWD, at, 0755);
	sys(__NR_mount, kind, at, kind, 0, 0);
}

static void run(char *line)
{
	char *argv[WORDS + 1], *envp[] = { 0 };
	int count = 0, status = 0;
	long child;

	while (*line && count < WORDS) {
		while (*line == ' ')
			*line++ = 0;
		if (!*line)
			break;
		argv[count++] = line;
		while (*line && *line != ' ')
			line++;
	}
	argv[count] = 0;
	if (!count)
		return;
	child = sys(__NR_clone, SIGCHLD);
	if (!child) {
		sys(__NR_execve, argv[0], argv, envp);
		say("== cannot be executed\n");
		sys(__NR_exit_group, 127);
	}
	if (is_error(child) || is_error(sys(__NR_wait4, child, &status)))
		say("== no child\n");
	if (status & 0x7f)
		say_status(128 + (status & 0x7f));
	else if (status)
		say_status(status >> 8 & 0xff);
}

int program(int argc, char **argv, char **envp)
{
	static char list[1 << 20];
	unsigned long filled = 0;
	long fd, got;

	(void)argc, (void)argv, (void)envp;
	mount("proc", "/proc");
	mount("sysfs", "/sys");
	mount("devtmpfs", "/dev");
	mount("tmpfs", "/tmp");
	fd = sys(__NR_openat, AT_FDCWD, "/dev/vport0p1", O_RDWR);
	for (int to = 0; !is_error(fd) && to < 3; to++)
		sys(__NR_dup3, fd, to);
	fd = sys(__NR_openat, AT_FDCWD, "/list", O_RDONLY);
	while ((got = sys(__NR_read, fd, list + filled, sizeof(list) - 1 - filled)) > 0)
		filled += got;
	sys(__NR_close, fd);
	for (char *at = list, *end; *at; at = end) {
		for (end = at; *end && *end != '\n'; end++)
			;
		if (*end)
			*end++ = 0;
		run(at);
	}
	say("== done\n");
	sys(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, 0);
	return 0;
}
