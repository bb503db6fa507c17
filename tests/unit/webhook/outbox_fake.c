/* SPDX-License-Identifier: Apache-2.0
 *
 * See outbox_fake.h. One lock, one condition that every write signals. It defines the four
 * functions of the store that the sender calls, so the store's own are not linked in. */
#include "outbox_fake.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS_MAX = 4096, WAIT_S = 60 };

struct row {
    struct rd_delivery delivery;
    char *url, *body;
    char reason[256];
    unsigned writes;
    bool disabled;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t written;
    struct row *rows[ROWS_MAX];
    size_t count, secrets;
    unsigned fail, failures;
    bool for_good, broken;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .written = PTHREAD_COND_INITIALIZER, .secrets = 1};

static void must(bool ok, const char *what)
{
    if (!ok) {
        (void)fprintf(stderr, "outbox_fake: %s\n", what);
        abort();
    }
}

void outbox_reset(void)
{
    (void)pthread_mutex_lock(&fake.lock);
    for (size_t i = 0; i < fake.count; i++) {
        free(fake.rows[i]->url);
        free(fake.rows[i]->body);
        free(fake.rows[i]);
    }
    fake.count = 0;
    fake.secrets = 1;
    fake.fail = fake.failures = 0;
    fake.for_good = fake.broken = false;
    (void)pthread_mutex_unlock(&fake.lock);
}

void outbox_add(uint64_t n, uint64_t owner, const char *url, const char *body, uint64_t next_ms)
{
    struct row *row = calloc(1, sizeof *row);
    must(row != NULL && fake.count < ROWS_MAX, "full");
    row->url = strdup(url);
    row->body = strdup(body);
    must(row->url != NULL && row->body != NULL, "strdup");
    row->delivery = (struct rd_delivery){.n = n,
                                         .owner = owner,
                                         .url = row->url,
                                         .body = row->body,
                                         .created_ms = next_ms,
                                         .next_ms = next_ms,
                                         .state = RD_DELIVERY_PENDING,
                                         .reason = row->reason};
    (void)snprintf(row->delivery.id, sizeof row->delivery.id, "msg_%llu", (unsigned long long)n);
    (void)pthread_mutex_lock(&fake.lock);
    fake.rows[fake.count++] = row;
    (void)pthread_mutex_unlock(&fake.lock);
}

static struct row *find(uint64_t n)
{
    for (size_t i = 0; i < fake.count; i++) {
        if (fake.rows[i]->delivery.n == n) {
            return fake.rows[i];
        }
    }
    must(false, "no such row");
    return NULL;
}

/* Under the lock; a test that waits for longer than a minute has failed. */
static void wait_written(const char *what)
{
    struct timespec until;
    must(clock_gettime(CLOCK_REALTIME, &until) == 0, "clock");
    until.tv_sec += WAIT_S;
    must(pthread_cond_timedwait(&fake.written, &fake.lock, &until) != ETIMEDOUT, what);
}

struct rd_delivery outbox_row(uint64_t n)
{
    (void)pthread_mutex_lock(&fake.lock);
    struct rd_delivery delivery = find(n)->delivery;
    (void)pthread_mutex_unlock(&fake.lock);
    return delivery;
}

struct rd_delivery outbox_wait(uint64_t n, unsigned attempts)
{
    (void)pthread_mutex_lock(&fake.lock);
    const struct row *row = find(n);
    while (row->delivery.attempt < attempts && row->delivery.state == RD_DELIVERY_PENDING) {
        wait_written("a try was not written");
    }
    struct rd_delivery delivery = row->delivery;
    (void)pthread_mutex_unlock(&fake.lock);
    return delivery;
}

void outbox_wait_writes(uint64_t n, unsigned writes)
{
    (void)pthread_mutex_lock(&fake.lock);
    while (find(n)->writes < writes) {
        wait_written("a message was not written");
    }
    (void)pthread_mutex_unlock(&fake.lock);
}

bool outbox_disabled(uint64_t n)
{
    (void)pthread_mutex_lock(&fake.lock);
    bool disabled = find(n)->disabled;
    (void)pthread_mutex_unlock(&fake.lock);
    return disabled;
}

static unsigned pending(void)
{
    unsigned count = 0;
    for (size_t i = 0; i < fake.count; i++) {
        count += fake.rows[i]->delivery.state == RD_DELIVERY_PENDING;
    }
    return count;
}

unsigned outbox_pending(void)
{
    (void)pthread_mutex_lock(&fake.lock);
    unsigned count = pending();
    (void)pthread_mutex_unlock(&fake.lock);
    return count;
}

void outbox_wait_idle(void)
{
    (void)pthread_mutex_lock(&fake.lock);
    while (pending() > 0) {
        wait_written("messages stay pending");
    }
    (void)pthread_mutex_unlock(&fake.lock);
}

void outbox_secrets(size_t count)
{
    (void)pthread_mutex_lock(&fake.lock);
    fake.secrets = count;
    (void)pthread_mutex_unlock(&fake.lock);
}

void outbox_fail(unsigned times, bool for_good)
{
    (void)pthread_mutex_lock(&fake.lock);
    fake.fail = times;
    fake.for_good = for_good;
    (void)pthread_mutex_unlock(&fake.lock);
}

unsigned outbox_failures(void)
{
    (void)pthread_mutex_lock(&fake.lock);
    unsigned failures = fake.failures;
    (void)pthread_mutex_unlock(&fake.lock);
    return failures;
}

void outbox_wait_failures(unsigned count)
{
    (void)pthread_mutex_lock(&fake.lock);
    while (fake.failures < count) {
        wait_written("no write failed");
    }
    (void)pthread_mutex_unlock(&fake.lock);
}

/* ---- the store's functions ---- */

static int by_due(const void *a, const void *b)
{
    const struct row *const *x = a;
    const struct row *const *y = b;
    uint64_t p = (*x)->delivery.next_ms;
    uint64_t q = (*y)->delivery.next_ms;
    return p < q ? -1 : p > q;
}

rd_err rd_store_deliveries_due(struct rd_store *store, uint64_t now_ms, unsigned limit,
                               bool (*each)(void *ctx, const struct rd_delivery *delivery),
                               void *ctx, uint64_t *ret_next_ms)
{
    (void)store;
    (void)pthread_mutex_lock(&fake.lock);
    qsort(fake.rows, fake.count, sizeof *fake.rows, by_due);
    bool more = true;
    uint64_t next_ms = 0;
    for (size_t i = 0; i < fake.count; i++) {
        const struct rd_delivery *delivery = &fake.rows[i]->delivery;
        if (delivery->state != RD_DELIVERY_PENDING) {
            continue;
        }
        if (delivery->next_ms <= now_ms && more && limit > 0) {
            limit--;
            more = each(ctx, delivery);
        } else if (next_ms == 0) {
            next_ms = delivery->next_ms;
        }
    }
    (void)pthread_mutex_unlock(&fake.lock);
    *ret_next_ms = next_ms;
    return RD_OK;
}

rd_err rd_store_jobs_apply(struct rd_store *store, struct rd_job_write *writes, size_t count)
{
    (void)store;
    (void)pthread_mutex_lock(&fake.lock);
    (void)pthread_cond_broadcast(&fake.written);
    if (fake.broken || fake.fail > 0) {
        fake.failures++;
        fake.fail -= fake.fail > 0;
        fake.broken = fake.broken || fake.for_good;
        (void)pthread_mutex_unlock(&fake.lock);
        return fake.broken ? RD_ERR_STORAGE : RD_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const struct rd_delivery *told = &writes[i].delivery;
        must(writes[i].kind == RD_WRITE_DELIVERY, "an odd write");
        struct row *row = find(told->n);
        must(strcmp(row->delivery.id, told->id) == 0, "another id");
        must(row->delivery.state == RD_DELIVERY_PENDING, "it was over");
        row->delivery.attempt = told->attempt;
        row->delivery.next_ms = told->next_ms;
        row->delivery.state = told->state;
        row->delivery.status = told->status;
        (void)snprintf(row->reason, sizeof row->reason, "%s", told->reason);
        row->disabled = row->disabled || writes[i].disable_endpoint;
        row->writes++;
        writes[i].err = RD_OK;
    }
    (void)pthread_mutex_unlock(&fake.lock);
    return RD_OK;
}

rd_err rd_store_deliveries_age(struct rd_store *store, uint64_t *ret_count, uint64_t *ret_oldest_ms)
{
    (void)store;
    (void)pthread_mutex_lock(&fake.lock);
    *ret_count = pending();
    *ret_oldest_ms = 0;
    for (size_t i = 0; i < fake.count; i++) {
        const struct rd_delivery *seen = &fake.rows[i]->delivery;
        if (seen->state == RD_DELIVERY_PENDING &&
            (*ret_oldest_ms == 0 || seen->next_ms < *ret_oldest_ms)) {
            *ret_oldest_ms = seen->next_ms;
        }
    }
    (void)pthread_mutex_unlock(&fake.lock);
    return RD_OK;
}

rd_err rd_store_webhook_secrets(struct rd_store *store, uint64_t owner, uint64_t now_ms,
                                struct rd_webhook_secrets *ret)
{
    (void)store;
    (void)now_ms;
    (void)pthread_mutex_lock(&fake.lock);
    *ret = (struct rd_webhook_secrets){.count = fake.secrets};
    (void)pthread_mutex_unlock(&fake.lock);
    memset(ret->secrets[0], (int)(owner & 127), sizeof ret->secrets[0]);
    memset(ret->secrets[1], (int)(128 + (owner & 127)), sizeof ret->secrets[1]);
    return RD_OK;
}

bool rd_store_healthy(struct rd_store *store)
{
    (void)store;
    (void)pthread_mutex_lock(&fake.lock);
    bool healthy = !fake.broken;
    (void)pthread_mutex_unlock(&fake.lock);
    return healthy;
}
