/* SPDX-License-Identifier: Apache-2.0
 *
 * Picking a backend. See admission.h. */
#include "core/admission.h"

static uint64_t weight_of(const struct rd_slots *backend)
{
    return backend->weight != 0 ? backend->weight : backend->slots;
}

/* -1, 0, 1 as a is a better, an equal or a worse choice than b. */
static int compare(const struct rd_slots *a, const struct rd_slots *b)
{
    if (a->failed != b->failed) {
        return a->failed ? 1 : -1;
    }
    uint64_t left = a->taken * weight_of(b);
    uint64_t right = b->taken * weight_of(a);
    return left < right ? -1 : left > right;
}

enum rd_admission rd_admission_pick(const struct rd_slots *backends, size_t count, uint32_t random,
                                    size_t *ret_index)
{
    enum rd_admission result = RD_ADMISSION_NONE;
    size_t best = 0;
    uint32_t ties = 0;
    for (size_t i = 0; i < count; i++) {
        const struct rd_slots *backend = &backends[i];
        if (!backend->serves) {
            continue;
        }
        if (backend->taken >=
            backend->slots) { /* before `ready`: a full engine takes no work now */
            result = result == RD_ADMISSION_TAKE ? result : RD_ADMISSION_FULL;
            continue;
        }
        if (!backend->ready) {
            result = result == RD_ADMISSION_NONE ? RD_ADMISSION_NOT_READY : result;
            continue;
        }
        int order = result == RD_ADMISSION_TAKE ? compare(backend, &backends[best]) : -1;
        ties = order < 0 ? 1 : ties + (order == 0);
        /* The k-th of equals replaces the choice with probability 1/k: each is equally likely. */
        if (order < 0 || (order == 0 && random % ties == 0)) {
            best = i;
        }
        if (order == 0) {
            random = random / ties + random * 2654435761u;
        }
        result = RD_ADMISSION_TAKE;
    }
    if (result == RD_ADMISSION_TAKE) {
        *ret_index = best;
    }
    return result;
}
