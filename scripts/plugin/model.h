/*
 * Set-associative memories with exact least-recently-used replacement: caches and TLBs.
 * A tag of 0 is an empty way, so that tags are kept plus 1.
 */
#ifndef GRANULE_MODEL_H
#define GRANULE_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct ways {
    unsigned int sets, ways;
    uint64_t *tags;  /* of each set, most recently used first */
};

static inline void ways_init(struct ways *w, unsigned int entries, unsigned int ways)
{
    w->sets = entries / ways;
    w->ways = ways;
    w->tags = calloc(entries, sizeof *w->tags);
    if (!w->tags)
        abort();
}

static inline uint64_t *ways_set(const struct ways *w, uint64_t key)
{
    return &w->tags[(size_t)(key % w->sets) * w->ways];
}

/* Makes `key` the most recent of its set. Returns whether it was there. */
static inline bool ways_touch(struct ways *w, uint64_t key)
{
    uint64_t *set = ways_set(w, key), tag = key + 1;
    unsigned int at = 0;

    while (at < w->ways - 1 && set[at] != tag)
        at++;
    bool hit = set[at] == tag;
    for (; at; at--)
        set[at] = set[at - 1];
    set[0] = tag;
    return hit;
}

/* Whether `key` is there; its age stays. */
static inline bool ways_have(const struct ways *w, uint64_t key)
{
    const uint64_t *set = ways_set(w, key);

    for (unsigned int at = 0; at < w->ways; at++)
        if (set[at] == key + 1)
            return true;
    return false;
}

/* Takes `key` out. Returns whether it was there. */
static inline bool ways_drop(struct ways *w, uint64_t key)
{
    uint64_t *set = ways_set(w, key);

    for (unsigned int at = 0; at < w->ways; at++) {
        if (set[at] != key + 1)
            continue;
        for (; at + 1 < w->ways; at++)
            set[at] = set[at + 1];
        set[at] = 0;
        return true;
    }
    return false;
}

static inline void ways_clear(struct ways *w)
{
    for (size_t i = 0; i < (size_t)w->sets * w->ways; i++)
        w->tags[i] = 0;
}

#endif
