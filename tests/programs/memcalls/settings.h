/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef MEMCALLS_SETTINGS_H
#define MEMCALLS_SETTINGS_H

/* Remembers limits and the sizes that they are relative to; sets the system's settings to the default ones. */
void settings_begin(int of_system);
/* Sets them again. */
void settings_end(int of_system);

#endif
