/* SPDX-License-Identifier: Apache-2.0
 *
 * Fills a stopped gateway's database with jobs that wait, through the store itself, in large
 * batches: a million over HTTP would take a minute.
 *
 * usage: bench-fill DATA COUNT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/jobs.h"

enum { BATCH = 8192, COUNT_MAX = 1 << 20 };

static void die(const char *what)
{
    (void)fprintf(stderr, "bench-fill: %s\n", what);
    exit(1);
}

static bool first_owner(void *ctx, const struct rd_key *key)
{
    uint64_t *owner = ctx;
    *owner = key->owner;
    return false;
}

static void fill(struct rd_store *store, uint64_t owner, uint64_t count)
{
    static const char request[] =
        "{\"modality\":\"image\",\"family\":\"flux\",\"model\":\"schnell\",\"task\":\"t2i\","
        "\"prompt\":\"a lighthouse in the snow\",\"steps\":4}";
    struct rd_job_write *writes = rd_mem_alloc_array(BATCH, sizeof *writes);
    uint64_t n;
    uint64_t token;
    if (writes == NULL || rd_store_jobs_last(store, &n, &token) != RD_OK) {
        die("cannot begin");
    }
    for (uint64_t done = 0; done < count;) {
        size_t batch = count - done < BATCH ? (size_t)(count - done) : BATCH;
        for (size_t i = 0; i < batch; i++) {
            writes[i] = (struct rd_job_write){.kind = RD_WRITE_ADD,
                                              .row = {.n = ++n,
                                                      .owner = owner,
                                                      .lane = 1,
                                                      .model = "flux/schnell",
                                                      .kind = -1,
                                                      .units = 4,
                                                      .request = request,
                                                      .request_len = sizeof request - 1,
                                                      .request_id = "req_03525000000000000000",
                                                      .webhook = "",
                                                      .backend = "",
                                                      .created_ms = rd_clock_wall_ms()}};
            rd_id_new("j_", writes[i].row.id);
        }
        if (rd_store_jobs_apply(store, writes, batch) != RD_OK || writes[0].err != RD_OK) {
            die("the store refused a batch");
        }
        done += batch;
    }
    rd_mem_free(writes);
}

int main(int argc, char **argv)
{
    uint64_t count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    struct rd_store *store;
    struct rd_why why;
    uint64_t owner = 0;
    if (count == 0 || count > COUNT_MAX) {
        (void)fprintf(stderr, "usage: bench-fill DATA COUNT\n");
        return 2;
    }
    if (rd_store_open(argv[1], &store, &why) != RD_OK) {
        die(why.text);
    }
    if (rd_store_key_list(store, NULL, first_owner, &owner) != RD_OK || owner == 0) {
        die("the gateway has not been started here yet");
    }
    fill(store, owner, count);
    rd_store_close(store);
    return 0;
}
