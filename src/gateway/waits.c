/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients that wait. See waits.h. The list is scanned whole ten times a second: some ten thousand
 * entries are 50 us, and no order has to be kept. */
#include "gateway/waits.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/mem.h"

static const uint64_t again_ns = 1000000000;

struct rd_waits {
    pthread_mutex_t lock;
    struct rd_wait *list;
    bool draining;
};

rd_err rd_waits_new(struct rd_waits **ret)
{
    struct rd_waits *waits = rd_mem_alloc(sizeof *waits);
    if (waits == NULL || pthread_mutex_init(&waits->lock, NULL) != 0) {
        rd_mem_free(waits);
        return RD_ERR_NO_MEMORY;
    }
    *ret = waits;
    return RD_OK;
}

void rd_waits_free(struct rd_waits *waits)
{
    if (waits != NULL) {
        (void)pthread_mutex_destroy(&waits->lock);
        rd_mem_free(waits);
    }
}

static void unlink_wait(struct rd_wait *wait)
{
    *wait->link = wait->next;
    if (wait->next != NULL) {
        wait->next->link = wait->link;
    }
    wait->link = NULL;
}

static void link_wait(struct rd_waits *waits, struct rd_wait *wait)
{
    wait->next = waits->list;
    wait->link = &waits->list;
    if (wait->next != NULL) {
        wait->next->link = &wait->next;
    }
    waits->list = wait;
}

bool rd_waits_add(struct rd_waits *waits, struct rd_wait *wait)
{
    pthread_mutex_lock(&waits->lock);
    bool add = !wait->missed;
    if (add) {
        link_wait(waits, wait);
    }
    pthread_mutex_unlock(&waits->lock);
    return add;
}

void rd_waits_put_back(struct rd_waits *waits, struct rd_wait *wait)
{
    pthread_mutex_lock(&waits->lock);
    wait->until_ns = wait->missed ? 0 : wait->until_ns;
    link_wait(waits, wait);
    pthread_mutex_unlock(&waits->lock);
}

bool rd_waits_claim(struct rd_waits *waits, struct rd_wait *wait)
{
    pthread_mutex_lock(&waits->lock);
    bool mine = wait->link != NULL;
    if (mine) {
        unlink_wait(wait);
    } else {
        wait->missed = true;
    }
    pthread_mutex_unlock(&waits->lock);
    return mine;
}

void rd_waits_visit(struct rd_waits *waits, struct rd_wait *wait, void (*fn)(struct rd_wait *wait))
{
    pthread_mutex_lock(&waits->lock);
    if (wait->link != NULL) {
        fn(wait);
    }
    pthread_mutex_unlock(&waits->lock);
}

void rd_waits_drain(struct rd_waits *waits)
{
    pthread_mutex_lock(&waits->lock);
    waits->draining = true;
    pthread_mutex_unlock(&waits->lock);
}

void rd_waits_tick(struct rd_waits *waits)
{
    uint64_t now = rd_clock_mono_ns();
    struct rd_wait *late = NULL;
    pthread_mutex_lock(&waits->lock);
    struct rd_wait *next;
    for (struct rd_wait *wait = waits->list; wait != NULL; wait = next) {
        next = wait->next;
        if (now < wait->until_ns && !(waits->draining && wait->leaves)) {
            continue;
        }
        if (wait->may != NULL && !wait->may(wait)) {
            wait->until_ns = now + again_ns;
            continue;
        }
        unlink_wait(wait);
        wait->chain = late;
        late = wait;
    }
    pthread_mutex_unlock(&waits->lock);
    while (late != NULL) {
        struct rd_wait *wait = late;
        late = wait->chain; /* before it is told: then it may be gone */
        wait->late(wait);
    }
}
