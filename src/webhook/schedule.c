/* SPDX-License-Identifier: Apache-2.0
 *
 * The schedule of tries and the table of answers. See schedule.h. */
#include "webhook/schedule.h"

#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "base/text.h"

#define SECONDS(n) ((uint64_t)(n)*1000)
#define MINUTES(n) SECONDS((n)*60)
#define HOURS(n) MINUTES((n)*60)

/* The wait before each try but the first. */
static const uint64_t waits_ms[RD_WEBHOOK_TRIES_MAX - 1] = {
    SECONDS(5), MINUTES(5), MINUTES(30), HOURS(2),  HOURS(5),
    HOURS(10),  HOURS(14),  HOURS(20),   HOURS(24),
};
enum { JITTER_PARTS = 10 }; /* a wait grows by up to one of so many parts of it */

/* What an answer means, by the first row that has its status. */
static const struct rule {
    int first, last;
    bool done, gone, busy;
    const char *reason;
} rules[] = {
    {200, 299, .done = true, .reason = ""},
    {300, 399, .reason = "redirects are not followed"},
    {410, 410, .gone = true, .reason = "the endpoint wants no more messages"},
    {429, 429, .busy = true, .reason = "too many requests"},
    {502, 504, .busy = true, .reason = "the endpoint is not available"},
    {0, 999, .reason = NULL},
};

static const struct rule *rule_of(int status)
{
    const struct rule *rule = rules;
    while (rule->reason != NULL && (status < rule->first || status > rule->last)) {
        rule++;
    }
    return rule;
}

uint64_t rd_webhook_wait_ms(unsigned tries, uint32_t random, unsigned hurry)
{
    if (tries == 0 || tries >= RD_WEBHOOK_TRIES_MAX) {
        return 0;
    }
    uint64_t wait = waits_ms[tries - 1] / hurry;
    uint64_t jitter = (uint64_t)(((unsigned __int128)(wait / JITTER_PARTS) * random) >> 32);
    return wait + jitter > 0 ? wait + jitter : 1;
}

void rd_webhook_decide(unsigned tries, const struct rd_webhook_answer *answer, uint32_t random,
                       unsigned hurry, struct rd_webhook_next *ret)
{
    const struct rule *rule = rule_of(answer->status);
    uint64_t wait = rd_webhook_wait_ms(tries, random, hurry);
    uint64_t asked = answer->retry_after_ms;
    *ret = (struct rd_webhook_next){.what = RD_WEBHOOK_DONE};
    if (rule->done) {
        return;
    }
    if (rule->busy) {
        ret->rest_ms = asked != 0 ? asked : wait > RD_WEBHOOK_REST_MS ? RD_WEBHOOK_REST_MS : wait;
    }
    if (rule->gone) {
        ret->what = RD_WEBHOOK_GONE;
        return;
    }
    if (wait == 0) {
        ret->what = RD_WEBHOOK_FAILED;
        return;
    }
    ret->what = RD_WEBHOOK_AGAIN;
    ret->wait_ms = wait > asked ? wait : asked;
}

void rd_webhook_reason(int status, char ret[128])
{
    const struct rule *rule = rule_of(status);
    if (rule->done) {
        ret[0] = '\0';
    } else if (rule->reason == NULL) {
        (void)snprintf(ret, 128, "the endpoint answered %d", status);
    } else {
        (void)snprintf(ret, 128, "the endpoint answered %d: %s", status, rule->reason);
    }
}

uint64_t rd_webhook_retry_after_ms(const char *value, uint64_t now_ms)
{
    size_t len = strlen(value);
    uint64_t ms = 0;
    if (len > 0 && strspn(value, "0123456789") == len) {
        uint64_t seconds = RD_WEBHOOK_DAY_MS / 1000;
        const char *digits = value + strspn(value, "0");
        if (digits[0] == '\0') {
            return 0;
        }
        if (rd_text_u64(digits, strlen(digits), &seconds) && seconds > RD_WEBHOOK_DAY_MS / 1000) {
            seconds = RD_WEBHOOK_DAY_MS / 1000;
        }
        return seconds * 1000;
    }
    time_t date = curl_getdate(value, NULL);
    if (date > 0 && (uint64_t)date * 1000 > now_ms) {
        ms = (uint64_t)date * 1000 - now_ms;
    }
    return ms < RD_WEBHOOK_DAY_MS ? ms : RD_WEBHOOK_DAY_MS;
}
