/* SPDX-License-Identifier: Apache-2.0
 *
 * Which backend takes a run: pure, no I/O. A backend is a candidate when it serves what was asked
 * for, is ready, and has a free slot. One that the job has already failed on comes after all
 * others; then the least loaded one wins (load = taken / weight), and ties are drawn. */
#ifndef RD_CORE_ADMISSION_H
#define RD_CORE_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rd_slots {
    unsigned slots;  /* >= 1 */
    unsigned taken;  /* 0..slots */
    unsigned weight; /* its share of the work against others; 0: as slots */
    bool serves;     /* what was asked for */
    bool ready;
    bool failed; /* this job has failed there */
};

enum rd_admission {
    RD_ADMISSION_TAKE,      /* *ret_index has a free slot */
    RD_ADMISSION_NONE,      /* no backend is configured for it */
    RD_ADMISSION_NOT_READY, /* configured, but none is ready */
    RD_ADMISSION_FULL,      /* every slot of those that are ready is taken */
};

/* `random` is any 32 random bits. *ret_index is set only with TAKE. */
enum rd_admission rd_admission_pick(const struct rd_slots *backends, size_t count, uint32_t random,
                                    size_t *ret_index);

#endif
