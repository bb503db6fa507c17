/* SPDX-License-Identifier: Apache-2.0
 *
 * A database that a failing disk has changed. The input is a list of changes to a sound database,
 * as it lies after a kill, its write-ahead log, and the pepper: file and length (1 byte), place
 * (3), what to turn over (1). The store may refuse to open it or to read it; what it hands out must
 * be what was written, and nothing may crash. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "store/jobs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { FILES = 3, CHANGE = 5, JOBS = 4, ROWS_MAX = 1000 };
static const char *const names[FILES] = {"render.db", "render.db-wal", "pepper"};
static const char request[] = "{\"prompt\":\"a cat\"}";
static const char message_id[] = "msg_0000000000000000000000";
static struct rd_buf files[FILES];
static char dir[64];
static char ids[JOBS][RD_ID_MAX];

static void check(bool right)
{
    if (!right) {
        abort();
    }
}

static const char *path_of(const char *name)
{
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void remove_all(void)
{
    static const char *const all[] = {"render.db", "render.db-wal", "render.db-shm", "pepper",
                                      "lock"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        (void)unlink(path_of(all[i]));
    }
}

static void at_exit(void)
{
    remove_all();
    (void)rmdir(dir);
}

/* Something in each table. */
static void fill(struct rd_store *store)
{
    struct rd_key key;
    struct rd_upload upload;
    struct rd_webhook_secrets secrets;
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    check(rd_store_key_create(store, "acme", "n", 1, 0, &key, text, NULL) == RD_OK);
    check(rd_store_upload_create(store, &key, "image/png", 5, 1000, &upload, token) == RD_OK);
    check(rd_store_webhook_secrets(store, key.owner, 1, &secrets) == RD_OK);
    for (uint64_t i = 0; i < JOBS; i++) {
        struct rd_job_write writes[3] = {
            {.kind = RD_WRITE_ADD,
             .row = {.n = i + 1,
                     .owner = key.owner,
                     .model = "a/b",
                     .request = request,
                     .request_len = strlen(request),
                     .request_id = "req",
                     .webhook = "https://example.com",
                     .created_ms = i},
             .idempotency_key = i == 0 ? "key" : NULL},
            {.kind = RD_WRITE_LEASE,
             .row = {.n = i + 1, .token = i + 1, .attempt = 1, .backend = "gpu"}},
            {.kind = RD_WRITE_END,
             .row = {.n = i + 1, .status = RD_STATUS_COMPLETE, .result = "[]", .ended_ms = 5},
             .message = "{}"}};
        rd_id_new("j_", writes[0].row.id);
        memcpy(ids[i], writes[0].row.id, RD_ID_MAX);
        rd_id_new("msg_", writes[2].message_id);
        check(rd_store_jobs_apply(store, writes, i < 2 ? 3 : i) == RD_OK);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct rd_store *store = NULL;
    (void)argc;
    (void)argv;
    (void)snprintf(dir, sizeof dir, "%s/render-fuzz-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    check(mkdtemp(dir) != NULL && atexit(at_exit) == 0);
    check(rd_store_open(dir, &store, NULL) == RD_OK);
    fill(store);
    rd_store_close(store); /* all of it goes from the log into the database */
    check(rd_store_open(dir, &store, NULL) == RD_OK);
    struct rd_job_write write = {.kind = RD_WRITE_CANCEL, .row = {.n = 3}};
    check(rd_store_jobs_apply(store, &write, 1) == RD_OK);
    for (size_t i = 0; i < FILES; i++) {
        rd_buf_init(&files[i], 64u << 20);
        check(rd_fs_read(path_of(names[i]), &files[i], NULL) == RD_OK);
    }
    rd_store_close(store);
    return 0;
}

static void write_files(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < FILES; i++) {
        char *copy = rd_mem_memdupz(files[i].data, files[i].len);
        check(copy != NULL);
        for (size_t at = 0; at + CHANGE <= size; at += CHANGE) {
            const uint8_t *change = data + at;
            size_t place = (size_t)change[1] << 16 | (size_t)change[2] << 8 | change[3];
            for (size_t k = 0; change[0] % FILES == i && k <= change[0] / FILES % 16; k++) {
                copy[(place + k) % files[i].len] ^= (char)change[4];
            }
        }
        int fd = open(path_of(names[i]), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        check(fd >= 0 && rd_fs_pwrite_all(fd, copy, files[i].len, 0) == RD_OK);
        (void)close(fd);
        rd_mem_free(copy);
    }
}

static bool look_at(void *ctx, const struct rd_job_row *row)
{
    unsigned *count = ctx;
    check(strlen(row->id) < RD_ID_MAX && strlen(row->tenant) + 1 > 0 && row->lane <= 2);
    check(row->status < RD_STATUS_COUNT_ && strlen(row->result) + strlen(row->backend) + 1 > 0);
    return ++*count < ROWS_MAX; /* a damaged tree may lead in a circle */
}

static void look_at_whole(void *ctx, const struct rd_job_row *row)
{
    (void)ctx;
    check(row->owner == 1 && row->request_len == strlen(request));
    check(memcmp(row->request, request, strlen(request)) == 0);
    check(strcmp(row->model, "a/b") == 0 && strcmp(row->webhook, "https://example.com") == 0);
}

static bool look_at_delivery(void *ctx, const struct rd_delivery *delivery)
{
    unsigned *count = ctx;
    check(strlen(delivery->url) + strlen(delivery->body) + strlen(delivery->reason) + 1 > 0);
    return ++*count < ROWS_MAX;
}

static void read_all(struct rd_store *store)
{
    unsigned count = 0;
    uint64_t n = 0;
    uint64_t token = 0;
    bool more = false;
    rd_err err = rd_store_jobs_last(store, &n, &token);
    err = rd_store_jobs_live(store, look_at, &count);
    for (int status = -1; status < RD_STATUS_COUNT_; status++) {
        for (uint64_t owner = 0; owner < 2; owner++) {
            struct rd_job_filter filter = {owner, "", status, 100};
            err = rd_store_jobs_list(store, &filter, look_at, &count);
            err = rd_store_deliveries_list(store, &filter, look_at_delivery, &count);
        }
    }
    err = rd_store_jobs_export(store, look_at, &count);
    for (size_t i = 0; i < JOBS; i++) {
        err = rd_store_job_get(store, 0, ids[i], look_at_whole, NULL);
    }
    err = rd_store_deliveries_due(store, 9, 10, look_at_delivery, &count, &n);
    err = rd_store_deliveries_age(store, &n, &token);
    err = rd_store_jobs_sweep(store, 3, 3, 10, &more);
    err = rd_store_delivery_replay(store, 0, message_id, 1);
    struct rd_webhook_secrets secrets;
    err = rd_store_webhook_rotate(store, 1, 1, &secrets);
    struct rd_job_write write = {.kind = RD_WRITE_END,
                                 .row = {.n = 3, .status = RD_STATUS_ERROR, .result = "{}"}};
    err = rd_store_jobs_apply(store, &write, 1);
    (void)err; /* any answer is right, if it is one */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd_store *store = NULL;
    struct rd_why why = {""};
    remove_all();
    write_files(data, size);
    rd_err err = rd_store_open(dir, &store, &why);
    check((err == RD_OK) == (store != NULL) && (err == RD_OK || why.text[0] != '\0'));
    if (err == RD_OK) {
        read_all(store);
        rd_store_close(store);
    }
    return 0;
}
