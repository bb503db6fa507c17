/* SPDX-License-Identifier: Apache-2.0
 *
 * The sender's thread. See sender.h and internal.h. One round:
 *
 *     take the tests that were asked for; read what is due, when there is room; put off what has to
 *     wait; start whose turn it is; let libcurl work; write down what came of it; sleep until a
 *     socket, a wake or the next due time.
 *
 * One thread is enough: it only moves small messages, and libcurl waits for all sockets at once. An
 * event of the store's (a sync) delays the sockets by some milliseconds, which no receiver sees. */
#include "webhook/sender.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "webhook/internal.h"
#include "webhook/url.h"

#define NS_PER_MS ((uint64_t)1000000)
enum { SLEEP_MS_MAX = 60000, CROWDED_MS = 100, IDLE_CONNECTIONS = 64 };

/* ---- tries ---- */

static void refuse(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry,
                   const char *reason)
{
    struct rd_webhook_answer answer = {.status = 0};
    (void)snprintf(answer.reason, sizeof answer.reason, "%.120s", reason);
    rd_webhook_settle(sender, entry, &answer);
}

/* Something here, not the endpoint, stood in the way: that is no try. */
static void postpone(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry, rd_err err)
{
    entry->err = err;
    rd_webhook_put_off(sender, entry, sender->trouble_ms);
}

static void start(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry)
{
    struct rd_webhook_secrets secrets;
    struct rd_why why = {.text = ""};
    uint64_t now_ms = rd_clock_wall_ms();
    if (entry->body_len > RD_LIMIT_WEBHOOK_BODY) {
        entry->delivery.attempt = RD_WEBHOOK_TRIES_MAX - 1; /* it will not become smaller */
        refuse(sender, entry, "the message is too large");
        return;
    }
    rd_err err = rd_store_webhook_secrets(sender->store, entry->delivery.owner, now_ms, &secrets);
    if (err != RD_OK) {
        postpone(sender, entry, err);
        return;
    }
    struct rd_webhook_call call = {
        .url = entry->url,
        .message = {entry->delivery.id, now_ms / 1000, entry->body, entry->body_len},
        .secrets = &secrets,
        .options = &sender->options,
        .total_ms = sender->total_ms,
        .user = entry,
    };
    pthread_mutex_lock(&sender->lock);
    err = rd_webhook_try_make(&entry->attempt, &call, &why);
    pthread_mutex_unlock(&sender->lock);
    rd_mem_wipe(&secrets, sizeof secrets);
    if (err == RD_OK && curl_multi_add_handle(sender->multi, entry->attempt.easy) != CURLM_OK) {
        rd_webhook_try_done(&entry->attempt);
        err = RD_ERR_NO_MEMORY;
    }
    if (err == RD_ERR_INVALID_REQUEST) {
        refuse(sender, entry, why.text);
        return;
    }
    if (err != RD_OK) {
        postpone(sender, entry, err);
        return;
    }
    entry->state = RD_WEBHOOK_RUNNING;
    entry->begun_ns = rd_clock_mono_ns();
    atomic_fetch_add(&sender->running, 1);
    if (entry->fn == NULL) {
        rd_webhook_turns_begin(&sender->turns, entry->host, entry->begun_ns);
        rd_webhook_turns_begin(&sender->turns, entry->tenant, entry->begun_ns);
    }
}

/* Takes the handle out of libcurl; the entry is then WAITING. */
static void unplug(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry, bool answered)
{
    (void)curl_multi_remove_handle(sender->multi, entry->attempt.easy);
    rd_webhook_try_done(&entry->attempt);
    atomic_fetch_sub(&sender->running, 1);
    entry->state = RD_WEBHOOK_WAITING;
    uint64_t now_ns = rd_clock_mono_ns();
    entry->took_ns = now_ns - entry->begun_ns;
    if (entry->fn == NULL) {
        rd_webhook_turns_end(&sender->turns, entry->host, entry->begun_ns, now_ns, answered);
        rd_webhook_turns_end(&sender->turns, entry->tenant, entry->begun_ns, now_ns, true);
    }
}

static void start_those_whose_turn_it_is(struct rd_webhook_sender *sender, uint64_t now_ns)
{
    for (size_t i = 0; i < sender->count; i++) {
        struct rd_webhook_entry *entry = sender->entries[i];
        if (entry->state != RD_WEBHOOK_WAITING) {
            continue;
        }
        /* Tests have a limit of their own, and go at once. */
        bool turn =
            entry->fn != NULL || (atomic_load(&sender->running) < RD_LIMIT_WEBHOOKS_OPEN &&
                                  rd_webhook_turns_free(&sender->turns, entry->host, now_ns) &&
                                  rd_webhook_turns_free(&sender->turns, entry->tenant, now_ns));
        if (turn) {
            start(sender, entry);
        }
    }
}

/* True when some try ended: then it is somebody else's turn. */
static bool let_curl_work(struct rd_webhook_sender *sender)
{
    int left = 0;
    bool ended = false;
    (void)curl_multi_perform(sender->multi, &left);
    const CURLMsg *message = NULL;
    while ((message = curl_multi_info_read(sender->multi, &left)) != NULL) {
        void *user = NULL;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE ||
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&user) != CURLE_OK) {
            continue;
        }
        struct rd_webhook_entry *entry = user;
        struct rd_webhook_answer answer;
        rd_webhook_try_answer(&entry->attempt, code, rd_clock_wall_ms(), &answer);
        unplug(sender, entry, answer.status != 0);
        rd_webhook_settle(sender, entry, &answer);
        ended = true;
    }
    return ended;
}

/* ---- the thread ---- */

static void take_inbox(struct rd_webhook_sender *sender)
{
    pthread_mutex_lock(&sender->lock);
    struct rd_webhook_entry *entry = sender->inbox;
    sender->inbox = NULL;
    pthread_mutex_unlock(&sender->lock);
    while (entry != NULL) {
        struct rd_webhook_entry *next = entry->next;
        sender->entries[sender->count++] = entry; /* RD_WEBHOOK_ASKS of them fit always */
        entry = next;
    }
}

static bool wants_load(struct rd_webhook_sender *sender, uint64_t now_ns, uint64_t now_ms)
{
    return !sender->broken && now_ns >= sender->trouble_ns && rd_webhook_room(sender) &&
           (atomic_exchange(&sender->hungry, false) || sender->next_due_ms <= now_ms);
}

/* Tests of a sender whose store has failed, or that stops. */
static void give_up_tests(struct rd_webhook_sender *sender, rd_err err)
{
    for (size_t i = 0; i < sender->count; i++) {
        struct rd_webhook_entry *entry = sender->entries[i];
        if (entry->fn != NULL && entry->state == RD_WEBHOOK_WAITING) {
            entry->err = err;
            entry->state = RD_WEBHOOK_SETTLED;
        }
    }
}

static void sleep_until_needed(struct rd_webhook_sender *sender)
{
    uint64_t now_ms = rd_clock_wall_ms();
    uint64_t now_ns = rd_clock_mono_ns();
    uint64_t ms = SLEEP_MS_MAX;
    bool more = atomic_load(&sender->hungry);
    if (sender->trouble_ns > now_ns) {
        ms = (sender->trouble_ns - now_ns) / NS_PER_MS + 1;
    } else if (!sender->broken && (more || sender->next_due_ms < now_ms + ms)) {
        ms = more || sender->next_due_ms <= now_ms ? 0 : sender->next_due_ms - now_ms;
        if (!rd_webhook_room(sender) && ms < CROWDED_MS) {
            ms = CROWDED_MS; /* those in the way are looked at again then */
        }
    }
    uint64_t flush_ns = rd_webhook_flush_at(sender);
    if (!sender->broken && now_ns >= sender->trouble_ns && flush_ns < now_ns + ms * NS_PER_MS) {
        ms = flush_ns > now_ns ? (flush_ns - now_ns) / NS_PER_MS + 1 : 0;
    }
    if (sender->stale && !sender->broken && ms > RD_WEBHOOK_COUNT_MS) {
        ms = RD_WEBHOOK_COUNT_MS;
    }
    (void)curl_multi_poll(sender->multi, NULL, 0, (int)(ms < SLEEP_MS_MAX ? ms : SLEEP_MS_MAX),
                          NULL);
}

static bool round_of(struct rd_webhook_sender *sender)
{
    uint64_t now_ns = rd_clock_mono_ns();
    uint64_t now_ms = rd_clock_wall_ms();
    take_inbox(sender);
    if (wants_load(sender, now_ns, now_ms)) {
        rd_webhook_load(sender, now_ms);
    }
    if (sender->broken) {
        give_up_tests(sender, RD_ERR_STORAGE);
    } else if (now_ns >= sender->trouble_ns) {
        start_those_whose_turn_it_is(sender, now_ns);
        rd_webhook_make_room(sender, now_ns);
    }
    bool ended = let_curl_work(sender);
    rd_webhook_flush(sender, now_ns);
    rd_webhook_count(sender, now_ns);
    return ended;
}

/* What runs may end; the rest is as if it had not begun. */
static void wind_down(struct rd_webhook_sender *sender)
{
    uint64_t until_ns = rd_clock_mono_ns() + sender->stop_ms * NS_PER_MS;
    take_inbox(sender);
    give_up_tests(sender, RD_ERR_CANCELLED);
    while (atomic_load(&sender->running) > 0 && rd_clock_mono_ns() < until_ns) {
        (void)curl_multi_poll(sender->multi, NULL, 0, 100, NULL);
        (void)let_curl_work(sender);
    }
    for (size_t i = 0; i < sender->count; i++) {
        if (sender->entries[i]->state == RD_WEBHOOK_RUNNING) {
            /* Not even for a resolver that does not answer. */
            (void)curl_easy_setopt(sender->entries[i]->attempt.easy, CURLOPT_QUICK_EXIT, 1L);
            unplug(sender, sender->entries[i], true);
        }
    }
    give_up_tests(sender, RD_ERR_CANCELLED);
    sender->flush_ns = 0;
    rd_webhook_flush(sender, rd_clock_mono_ns());
}

static void *run(void *user)
{
    struct rd_webhook_sender *sender = user;
    while (!atomic_load(&sender->stop)) {
        bool again = round_of(sender);
        if (!again && !atomic_load(&sender->stop)) {
            sleep_until_needed(sender);
        }
    }
    wind_down(sender);
    return NULL;
}

/* ---- the face ---- */

static void free_options(struct rd_fetch_options *options)
{
    for (size_t i = 0; i < options->allow_hosts_count; i++) {
        rd_mem_free((void *)(uintptr_t)options->allow_hosts[i]);
    }
    rd_mem_free((void *)(uintptr_t)options->allow_hosts);
    rd_mem_free((void *)(uintptr_t)options->ca_file);
}

static rd_err copy_options(const struct rd_fetch_options *from, struct rd_fetch_options *ret)
{
    struct rd_fetch_options copy = {.max_bytes = 0};
    const char **hosts = rd_mem_alloc_array(from->allow_hosts_count, sizeof *hosts);
    bool ok = hosts != NULL;
    copy.allow_hosts = hosts;
    for (size_t i = 0; ok && i < from->allow_hosts_count; i++) {
        hosts[i] = rd_mem_strdup(from->allow_hosts[i]);
        ok = hosts[i] != NULL;
        copy.allow_hosts_count += ok;
    }
    if (ok && from->ca_file != NULL) {
        copy.ca_file = rd_mem_strdup(from->ca_file);
        ok = copy.ca_file != NULL;
    }
    if (!ok) {
        free_options(&copy);
        return RD_ERR_NO_MEMORY;
    }
    *ret = copy;
    return RD_OK;
}

static void destroy(struct rd_webhook_sender *sender)
{
    for (size_t i = 0; i < sender->count; i++) {
        rd_webhook_entry_free(sender, sender->entries[i]);
    }
    (void)curl_multi_cleanup(sender->multi);
    (void)pthread_mutex_destroy(&sender->lock);
    free_options(&sender->options);
    rd_mem_free(sender);
}

rd_err rd_webhook_start_hooked(struct rd_store *store, const struct rd_fetch_options *options,
                               const struct rd_webhook_hook *hook, struct rd_webhook_sender **ret,
                               struct rd_why *why)
{
    struct rd_webhook_sender *sender = rd_mem_alloc(sizeof *sender);
    if (sender == NULL) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "no memory for the outbox");
    }
    sender->store = store;
    sender->hurry = hook->hurry != 0 ? hook->hurry : 1;
    sender->total_ms = hook->total_ms != 0 ? hook->total_ms : RD_LIMIT_WEBHOOK_TIME_MS;
    sender->trouble_ms = hook->trouble_ms != 0 ? hook->trouble_ms : RD_WEBHOOK_TROUBLE_MS;
    sender->stop_ms = hook->stop_ms != 0 ? hook->stop_ms : RD_WEBHOOK_STOP_MS;
    sender->next_due_ms = UINT64_MAX;
    atomic_store(&sender->hungry, true); /* what an earlier run left */
    uint8_t salt[32];
    rd_id_random(salt, sizeof salt);
    rd_webhook_turns_init(&sender->turns, salt);
    if (pthread_mutex_init(&sender->lock, NULL) != 0) {
        rd_mem_free(sender);
        return rd_why_set(why, RD_ERR_NO_MEMORY, "no lock for the outbox");
    }
    rd_err err = copy_options(options, &sender->options);
    sender->multi = curl_multi_init();
    if (err != RD_OK || sender->multi == NULL ||
        curl_multi_setopt(sender->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS) !=
            CURLM_OK ||
        pthread_create(&sender->thread, NULL, run, sender) != 0) {
        destroy(sender);
        return rd_why_set(why, RD_ERR_NO_MEMORY, "the outbox's worker cannot be started");
    }
    *ret = sender;
    return RD_OK;
}

rd_err rd_webhook_start(struct rd_store *store, const struct rd_fetch_options *options,
                        struct rd_webhook_sender **ret, struct rd_why *why)
{
    static const struct rd_webhook_hook none = {0};
    return rd_webhook_start_hooked(store, options, &none, ret, why);
}

rd_err rd_webhook_configure(struct rd_webhook_sender *sender,
                            const struct rd_fetch_options *options)
{
    struct rd_fetch_options fresh;
    RD_TRY(copy_options(options, &fresh));
    pthread_mutex_lock(&sender->lock);
    struct rd_fetch_options old = sender->options;
    sender->options = fresh;
    pthread_mutex_unlock(&sender->lock);
    free_options(&old);
    return RD_OK;
}

void rd_webhook_wake(struct rd_webhook_sender *sender)
{
    if (!atomic_exchange(&sender->hungry, true)) {
        (void)curl_multi_wakeup(sender->multi);
    }
}

void rd_webhook_stop(struct rd_webhook_sender *sender)
{
    if (sender == NULL) {
        return;
    }
    atomic_store(&sender->stop, true);
    (void)curl_multi_wakeup(sender->multi);
    (void)pthread_join(sender->thread, NULL);
    destroy(sender);
}

/* Under the lock: a place among the tests, unless the tenant has enough of them. */
static bool take_place(struct rd_webhook_sender *sender, uint64_t owner)
{
    size_t own = 0;
    uint64_t *place = NULL;
    for (size_t i = 0; i < RD_WEBHOOK_ASKS; i++) {
        own += sender->asking[i] == owner;
        place = sender->asking[i] == 0 ? &sender->asking[i] : place;
    }
    if (place == NULL || own >= RD_LIMIT_WEBHOOK_TESTS_TENANT) {
        return false;
    }
    *place = owner;
    return true;
}

rd_err rd_webhook_test(struct rd_webhook_sender *sender, uint64_t owner, const char *url,
                       rd_webhook_result_fn *fn, void *ctx, struct rd_why *why)
{
    char now[RD_CLOCK_RFC3339_LEN + 1];
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, RD_LIMIT_WEBHOOK_BODY);
    pthread_mutex_lock(&sender->lock);
    rd_err err = rd_webhook_url_check(url, &sender->options, why);
    pthread_mutex_unlock(&sender->lock);
    RD_TRY(err);
    rd_clock_rfc3339_ms(rd_clock_wall_ms(), now);
    rd_buf_printf(&body, "{\"type\":\"webhook.test\",\"timestamp\":\"%s\",\"data\":{}}", now);
    RD_TRY(rd_buf_err(&body));
    struct rd_delivery delivery = {.owner = owner, .url = url, .body = rd_buf_cstr(&body)};
    rd_id_new("msg_", delivery.id);
    struct rd_webhook_entry *entry = rd_webhook_entry_new(&delivery);
    if (entry == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    entry->fn = fn;
    entry->ctx = ctx;
    pthread_mutex_lock(&sender->lock);
    bool placed = take_place(sender, owner);
    if (placed) {
        entry->next = sender->inbox;
        sender->inbox = entry;
    }
    pthread_mutex_unlock(&sender->lock);
    if (!placed) {
        rd_webhook_entry_free(NULL, entry);
        return rd_why_set(why, RD_ERR_RATE_LIMITED, "too many test messages are being sent");
    }
    (void)curl_multi_wakeup(sender->multi);
    return RD_OK;
}

void rd_webhook_metrics(struct rd_webhook_sender *sender, struct rd_buf *text)
{
    const struct {
        const char *outcome;
        const _Atomic uint64_t *count;
    } rows[] = {{"delivered", &sender->done},
                {"again", &sender->again},
                {"failed", &sender->failed},
                {"gone", &sender->gone}};
    rd_buf_str(text, "# HELP render_webhook_tries_total Tries to deliver a message, by outcome.\n"
                     "# TYPE render_webhook_tries_total counter\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rd_buf_printf(text, "render_webhook_tries_total{outcome=\"%s\"} %llu\n", rows[i].outcome,
                      (unsigned long long)atomic_load(rows[i].count));
    }
    rd_buf_printf(text,
                  "# HELP render_webhook_put_off_total Messages that had to wait for their host or "
                  "tenant.\n# TYPE render_webhook_put_off_total counter\n"
                  "render_webhook_put_off_total %llu\n"
                  "# HELP render_webhook_running Tries that are under way.\n"
                  "# TYPE render_webhook_running gauge\nrender_webhook_running %u\n",
                  (unsigned long long)atomic_load(&sender->put_off),
                  (unsigned)atomic_load(&sender->running));
    uint64_t now_ms = rd_clock_wall_ms();
    uint64_t oldest_ms = atomic_load(&sender->oldest_ms);
    rd_buf_printf(
        text,
        "# HELP render_webhook_pending Messages that are not delivered yet.\n"
        "# TYPE render_webhook_pending gauge\nrender_webhook_pending %llu\n"
        "# HELP render_webhook_oldest_seconds Since when the oldest of them is due.\n"
        "# TYPE render_webhook_oldest_seconds gauge\nrender_webhook_oldest_seconds %.3f\n",
        (unsigned long long)atomic_load(&sender->pending),
        oldest_ms == 0 || oldest_ms > now_ms ? 0.0 : (double)(now_ms - oldest_ms) / 1000);
}
