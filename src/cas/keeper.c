/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper: a thread for what must not delay a commit. It makes the next pack before the present
 * one is full (taking 256 MiB of disk can take a while), and it writes the hint file of each full
 * pack and cuts the pack to what it holds, once all of it is durable and no writer is left in it.
 * */
#include "cas/internal.h"

#include <unistd.h>

void rd_cas_keeper_wake(struct rd_cas *cas)
{
    pthread_mutex_lock(&cas->queue);
    cas->keeper_work = true;
    pthread_cond_signal(&cas->keeper_cond);
    pthread_mutex_unlock(&cas->queue);
}

static bool keeper_stops(struct rd_cas *cas)
{
    pthread_mutex_lock(&cas->queue);
    bool stops = cas->keeper_stopping;
    pthread_mutex_unlock(&cas->queue);
    return stops;
}

static void make_spare(struct rd_cas *cas)
{
    struct rd_cas_pack *pack;
    pthread_mutex_lock(&cas->log);
    bool need = cas->spare == NULL && !atomic_load(&cas->failed) &&
                (cas->active == NULL || cas->active->tail > cas->active->size / 2);
    uint32_t number = cas->next_number;
    uint64_t base = cas->seq;
    cas->next_number += need ? 1 : 0;
    pthread_mutex_unlock(&cas->log);
    if (!need || rd_cas_log_make_pack(cas, number, base, &pack) != RD_OK) {
        return; /* who needs it and finds none tries again, and gets the error */
    }
    pthread_mutex_lock(&cas->log);
    pthread_mutex_lock(&cas->map);
    bool taken = cas->spare == NULL && rd_cas_state_add_pack(cas, pack) == RD_OK;
    pthread_mutex_unlock(&cas->map);
    if (taken) {
        cas->spare = pack;
    }
    pthread_mutex_unlock(&cas->log);
    if (!taken) {
        char path[RD_CAS_PATH_MAX];
        rd_cas_path_pack(cas, number, ".pack", path);
        (void)unlink(path);
        rd_cas_handle_unref(&pack->handle);
    }
}

/* A sealed pack that can be hinted now, referenced; NULL when there is none. */
static struct rd_cas_pack *next_unhinted(struct rd_cas *cas)
{
    struct rd_cas_pack *found = NULL;
    bool left = false;
    pthread_mutex_lock(&cas->log);
    pthread_mutex_lock(&cas->map);
    for (size_t i = 0; i < cas->pack_count && found == NULL; i++) {
        struct rd_cas_pack *pack = cas->packs[i];
        if (!pack->sealed || pack->hinted || pack->stuck) {
            continue;
        }
        left = true;
        if (pack->open_regions == 0 && pack->last_seq <= cas->synced) {
            found = pack;
            rd_cas_handle_ref(&pack->handle);
        }
    }
    pthread_mutex_unlock(&cas->map);
    cas->unhinted = left;
    pthread_mutex_unlock(&cas->log);
    return found;
}

static void hint_pack(struct rd_cas *cas, struct rd_cas_pack *pack)
{
    struct rd_cas_items items = {0};
    rd_err err = rd_cas_items_walk(pack, RD_CAS_BLOCK, pack->tail, &items);
    if (err == RD_OK && !items.ended) {
        err =
            RD_ERR_CORRUPT; /* what was durable a moment ago does not read back: scrub will tell */
    }
    if (err == RD_OK) {
        err = rd_cas_hint_write(cas, pack, &items, NULL);
    }
    if (err == RD_OK && ftruncate(pack->handle.fd, (off_t)items.end) != 0) {
        err = RD_ERR_IO;
    }
    pthread_mutex_lock(&cas->log);
    pack->hinted = err == RD_OK;
    pack->stuck = err != RD_OK;
    pthread_mutex_unlock(&cas->log);
    rd_cas_items_done(&items);
}

void *rd_cas_keeper(void *arg)
{
    struct rd_cas *cas = arg;
    for (;;) {
        pthread_mutex_lock(&cas->queue);
        while (!cas->keeper_work && !cas->keeper_stopping) {
            pthread_cond_wait(&cas->keeper_cond, &cas->queue);
        }
        bool stops = cas->keeper_stopping;
        cas->keeper_work = false;
        pthread_mutex_unlock(&cas->queue);
        if (stops) {
            return NULL;
        }
        make_spare(cas);
        struct rd_cas_pack *pack;
        while (!keeper_stops(cas) && (pack = next_unhinted(cas)) != NULL) {
            hint_pack(cas, pack);
            rd_cas_handle_unref(&pack->handle);
        }
    }
}
