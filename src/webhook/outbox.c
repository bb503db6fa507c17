/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages in memory. See internal.h. The store is read only when at most half of the window waits,
 * so a row is read about once; and what is in memory is recognised by its number, because the store
 * lists it as due until its outcome is written. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "webhook/internal.h"
#include "webhook/url.h"

#define NS_PER_MS ((uint64_t)1000000)

static uint32_t random32(void)
{
    uint32_t random = 0;
    rd_id_random(&random, sizeof random);
    return random;
}

/* ---- entries ---- */

struct rd_webhook_entry *rd_webhook_entry_new(const struct rd_delivery *delivery)
{
    struct rd_webhook_entry *entry = rd_mem_alloc(sizeof *entry);
    if (entry == NULL) {
        return NULL;
    }
    entry->delivery = *delivery;
    entry->url = rd_mem_strdup(delivery->url);
    entry->body = rd_mem_strdup(delivery->body);
    if (entry->url == NULL || entry->body == NULL) {
        rd_webhook_entry_free(NULL, entry);
        return NULL;
    }
    entry->body_len = strlen(entry->body);
    (void)snprintf(entry->reason, sizeof entry->reason, "%s",
                   delivery->reason == NULL ? "" : delivery->reason);
    entry->delivery.url = entry->url;
    entry->delivery.body = entry->body;
    entry->delivery.tenant = NULL;
    entry->delivery.reason = entry->reason;
    return entry;
}

void rd_webhook_entry_free(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry)
{
    if (sender != NULL) {
        rd_webhook_turns_release(&sender->turns, entry->host);
        rd_webhook_turns_release(&sender->turns, entry->tenant);
    }
    rd_mem_free(entry->url);
    rd_mem_free(entry->body);
    rd_mem_free(entry);
}

static size_t count_of(const struct rd_webhook_sender *sender, unsigned state)
{
    size_t count = 0;
    for (size_t i = 0; i < sender->count; i++) {
        count += sender->entries[i]->state == state;
    }
    return count;
}

/* How many more fit, besides the tests. */
static size_t room_left(const struct rd_webhook_sender *sender)
{
    enum { MOST = RD_WEBHOOK_ENTRIES - RD_WEBHOOK_ASKS };
    size_t waiting = count_of(sender, RD_WEBHOOK_WAITING);
    size_t window = waiting < RD_WEBHOOK_WINDOW ? RD_WEBHOOK_WINDOW - waiting : 0;
    size_t all = sender->count < MOST ? MOST - sender->count : 0;
    return window < all ? window : all;
}

bool rd_webhook_room(const struct rd_webhook_sender *sender)
{
    return room_left(sender) >= RD_WEBHOOK_WINDOW / 2;
}

static bool known(const struct rd_webhook_sender *sender, uint64_t n)
{
    for (size_t i = 0; i < sender->count; i++) {
        if (sender->entries[i]->fn == NULL && sender->entries[i]->delivery.n == n) {
            return true;
        }
    }
    return false;
}

/* ---- from the store ---- */

struct reading {
    struct rd_webhook_sender *sender;
    size_t seen, room;
    uint64_t now_ns;
    bool full;
};

static bool hold_lanes(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry,
                       uint64_t now_ns)
{
    char name[RD_WEBHOOK_HOST_MAX + 1] = "h";
    char tenant[32];
    rd_webhook_url_host(entry->url, name + 1);
    (void)snprintf(tenant, sizeof tenant, "t%llu", (unsigned long long)entry->delivery.owner);
    entry->host = rd_webhook_turns_hold(&sender->turns, name, RD_LIMIT_WEBHOOKS_HOST, now_ns);
    entry->tenant = rd_webhook_turns_hold(&sender->turns, tenant, RD_LIMIT_WEBHOOKS_TENANT, now_ns);
    return entry->host != RD_WEBHOOK_LANE_NONE && entry->tenant != RD_WEBHOOK_LANE_NONE;
}

static bool take_row(void *ctx, const struct rd_delivery *delivery)
{
    struct reading *reading = ctx;
    struct rd_webhook_sender *sender = reading->sender;
    reading->seen++;
    if (known(sender, delivery->n)) {
        return true;
    }
    reading->full = reading->room == 0;
    if (reading->full) {
        return false;
    }
    struct rd_webhook_entry *entry = rd_webhook_entry_new(delivery);
    if (entry == NULL || !hold_lanes(sender, entry, reading->now_ns)) {
        reading->full = true; /* as if there were no room: it is read again */
        if (entry != NULL) {
            rd_webhook_entry_free(sender, entry);
        }
        return false;
    }
    sender->entries[sender->count++] = entry;
    reading->room--;
    return true;
}

static void store_failed(struct rd_webhook_sender *sender)
{
    sender->broken = !rd_store_healthy(sender->store);
    sender->trouble_ns = rd_clock_mono_ns() + sender->trouble_ms * NS_PER_MS;
}

void rd_webhook_load(struct rd_webhook_sender *sender, uint64_t now_ms)
{
    enum { LIMIT = RD_WEBHOOK_WINDOW + RD_LIMIT_WEBHOOKS_OPEN };
    struct reading reading = {
        .sender = sender, .room = room_left(sender), .now_ns = rd_clock_mono_ns()};
    uint64_t next_ms = 0;
    rd_err err =
        rd_store_deliveries_due(sender->store, now_ms, LIMIT, take_row, &reading, &next_ms);
    if (err != RD_OK) {
        atomic_store(&sender->hungry, true);
        store_failed(sender);
        return;
    }
    sender->stale = true;
    bool more = reading.full || reading.seen == LIMIT;
    sender->next_due_ms = more ? now_ms : next_ms == 0 ? UINT64_MAX : next_ms;
}

void rd_webhook_count(struct rd_webhook_sender *sender, uint64_t now_ns)
{
    uint64_t pending = 0;
    uint64_t oldest_ms = 0;
    if (!sender->stale || sender->broken ||
        now_ns - sender->counted_ns < RD_WEBHOOK_COUNT_MS * NS_PER_MS) {
        return;
    }
    sender->counted_ns = now_ns;
    sender->stale = rd_store_deliveries_age(sender->store, &pending, &oldest_ms) != RD_OK;
    if (!sender->stale) {
        atomic_store(&sender->pending, pending);
        atomic_store(&sender->oldest_ms, oldest_ms);
    }
}

/* ---- what comes of them ---- */

void rd_webhook_settle(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry,
                       const struct rd_webhook_answer *answer)
{
    struct rd_delivery *delivery = &entry->delivery;
    struct rd_webhook_next next;
    delivery->attempt++;
    rd_webhook_decide(delivery->attempt, answer, random32(), sender->hurry, &next);
    if (next.rest_ms > 0 && entry->host != RD_WEBHOOK_LANE_NONE) {
        rd_webhook_turns_rest(&sender->turns, entry->host,
                              rd_clock_mono_ns() + next.rest_ms * NS_PER_MS);
    }
    static const int states[] = {[RD_WEBHOOK_DONE] = RD_DELIVERY_DONE,
                                 [RD_WEBHOOK_AGAIN] = RD_DELIVERY_PENDING,
                                 [RD_WEBHOOK_FAILED] = RD_DELIVERY_FAILED,
                                 [RD_WEBHOOK_GONE] = RD_DELIVERY_DISABLED};
    _Atomic uint64_t *counters[] = {[RD_WEBHOOK_DONE] = &sender->done,
                                    [RD_WEBHOOK_AGAIN] = &sender->again,
                                    [RD_WEBHOOK_FAILED] = &sender->failed,
                                    [RD_WEBHOOK_GONE] = &sender->gone};
    atomic_fetch_add(counters[next.what], 1);
    delivery->state = states[next.what];
    delivery->next_ms = next.what == RD_WEBHOOK_AGAIN ? rd_clock_wall_ms() + next.wait_ms : 0;
    delivery->status = answer->status;
    (void)snprintf(entry->reason, sizeof entry->reason, "%s", answer->reason);
    entry->disable = next.what == RD_WEBHOOK_GONE;
    entry->state = RD_WEBHOOK_SETTLED;
}

void rd_webhook_put_off(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry,
                        uint64_t wait_ms)
{
    uint64_t spread = random32() % RD_WEBHOOK_PATIENCE_MS; /* so that not all come back at once */
    entry->delivery.next_ms = rd_clock_wall_ms() + wait_ms + spread / sender->hurry;
    entry->state = RD_WEBHOOK_SETTLED;
    atomic_fetch_add(&sender->put_off, 1);
}

static uint64_t expected_wait_ns(struct rd_webhook_sender *sender,
                                 const struct rd_webhook_entry *entry, uint64_t now_ns)
{
    uint64_t host = rd_webhook_turns_wait(&sender->turns, entry->host, now_ns);
    uint64_t tenant = rd_webhook_turns_wait(&sender->turns, entry->tenant, now_ns);
    return host > tenant ? host : tenant;
}

void rd_webhook_make_room(struct rd_webhook_sender *sender, uint64_t now_ns)
{
    bool more = atomic_load(&sender->hungry) || sender->next_due_ms <= rd_clock_wall_ms();
    bool full = more && !rd_webhook_room(sender);
    for (size_t i = 0; i < sender->count; i++) {
        const struct rd_webhook_entry *entry = sender->entries[i];
        if (entry->fn == NULL) {
            rd_webhook_turns_pass(&sender->turns, entry->host);
            rd_webhook_turns_pass(&sender->turns, entry->tenant);
        }
    }
    for (size_t i = 0; i < sender->count; i++) {
        struct rd_webhook_entry *entry = sender->entries[i];
        if (entry->state != RD_WEBHOOK_WAITING || entry->fn != NULL) {
            continue;
        }
        bool rests = rd_webhook_turns_resting(&sender->turns, entry->host, now_ns);
        uint64_t wait_ms = expected_wait_ns(sender, entry, now_ns) / NS_PER_MS;
        if (rests || (full && wait_ms > RD_WEBHOOK_PATIENCE_MS)) {
            uint64_t most = rests ? RD_WEBHOOK_DAY_MS : RD_WEBHOOK_PUT_OFF_MS;
            rd_webhook_put_off(sender, entry, wait_ms < most ? wait_ms : most);
        }
    }
}

/* ---- back to the store ---- */

static void answer_test(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry)
{
    struct rd_webhook_result result = {.err = entry->err,
                                       .status = entry->delivery.status,
                                       .reason = entry->reason,
                                       .took_ns = entry->took_ns};
    memcpy(result.id, entry->delivery.id, sizeof result.id);
    pthread_mutex_lock(&sender->lock);
    for (size_t i = 0; i < RD_WEBHOOK_ASKS; i++) {
        if (sender->asking[i] == entry->delivery.owner) {
            sender->asking[i] = 0;
            break;
        }
    }
    pthread_mutex_unlock(&sender->lock);
    entry->fn(entry->ctx, &result);
}

/* Forgets entries, keeping the order of the others. */
static void compact(struct rd_webhook_sender *sender)
{
    size_t kept = 0;
    for (size_t i = 0; i < sender->count; i++) {
        if (sender->entries[i] != NULL) {
            sender->entries[kept++] = sender->entries[i];
        }
    }
    sender->count = kept;
}

/* Writes the settled entries among the first to come; *ret_from moves on behind them. */
static bool write_batch(struct rd_webhook_sender *sender, size_t *from)
{
    struct rd_webhook_entry **entries = sender->entries;
    size_t count = 0;
    size_t end = *from;
    for (; end < sender->count && count < RD_WEBHOOK_BATCH; end++) {
        if (entries[end] != NULL && entries[end]->state == RD_WEBHOOK_SETTLED) {
            sender->writes[count++] =
                (struct rd_job_write){.kind = RD_WRITE_DELIVERY,
                                      .delivery = entries[end]->delivery,
                                      .disable_endpoint = entries[end]->disable};
        }
    }
    sender->stale = sender->stale || count > 0;
    if (count > 0 && rd_store_jobs_apply(sender->store, sender->writes, count) != RD_OK) {
        return false;
    }
    for (size_t i = *from; i < end; i++) {
        if (entries[i] != NULL && entries[i]->state == RD_WEBHOOK_SETTLED) {
            uint64_t next_ms = entries[i]->delivery.next_ms;
            if (next_ms != 0 && next_ms < sender->next_due_ms) {
                sender->next_due_ms = next_ms;
            }
            rd_webhook_entry_free(sender, entries[i]);
            entries[i] = NULL;
        }
    }
    *from = end;
    return true;
}

uint64_t rd_webhook_flush_at(const struct rd_webhook_sender *sender)
{
    size_t settled = count_of(sender, RD_WEBHOOK_SETTLED);
    return settled == 0 ? UINT64_MAX : settled >= RD_WEBHOOK_BATCH ? 0 : sender->flush_ns;
}

void rd_webhook_flush(struct rd_webhook_sender *sender, uint64_t now_ns)
{
    for (size_t i = 0; i < sender->count; i++) {
        struct rd_webhook_entry *entry = sender->entries[i];
        if (entry->fn != NULL && entry->state == RD_WEBHOOK_SETTLED) {
            answer_test(sender, entry);
            rd_webhook_entry_free(sender, entry);
            sender->entries[i] = NULL;
        }
    }
    compact(sender);
    if (sender->broken || now_ns < sender->trouble_ns || rd_webhook_flush_at(sender) > now_ns) {
        return;
    }
    bool well = true;
    uint64_t from_ns = rd_clock_mono_ns();
    for (size_t from = 0; well && from < sender->count;) {
        well = write_batch(sender, &from);
    }
    uint64_t end_ns = rd_clock_mono_ns();
    sender->flush_ns = end_ns + (end_ns - from_ns);
    if (!well) {
        store_failed(sender);
    }
    compact(sender);
}
