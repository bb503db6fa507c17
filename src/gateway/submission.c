/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading submissions. See submission.h. */
#include "gateway/submission.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/limits.h"
#include "base/text.h"
#include "gateway/replay.h"
#include "gateway/webhooks.h"
#include "request/json.h"
#include "webhook/url.h"

enum { TTL_MIN_S = 60, TTL_MAX_S = 86400 };

/* Around the generation's own fields; everything else belongs to the generation. */
static const char *const envelope[] = {"modality", "family",         "model",    "task",
                                       "format",   "backend",        "priority", "webhook",
                                       "ttl",      "idempotency_key"};
enum { ENVELOPE = sizeof envelope / sizeof envelope[0] };

struct reader {
    struct rd_run *run;
    const json_t *json;
    struct rd_problems *problems;
};

static void problem(struct reader *r, const char *field, const char *constraint, const char *text)
{
    rd_problems_add(r->problems, &r->run->arena, field, constraint, "%s", text);
}

/* The text of a field; NULL when it is absent or no text (then there is a problem). */
static const char *text_field(struct reader *r, const char *field, bool required)
{
    const json_t *value = json_object_get(r->json, field);
    if (value == NULL || json_is_null(value)) {
        if (required) {
            problem(r, field, "required", "a string");
        }
        return NULL;
    }
    const char *text = json_string_value(value);
    if (text == NULL || strlen(text) != json_string_length(value)) {
        problem(r, field, "type", "a string without NUL characters");
        return NULL;
    }
    return text;
}

/* True: the task is known, so the generation's own fields can be looked at, too. */
static bool read_model(struct reader *r)
{
    struct rd_run *run = r->run;
    const char *modality = text_field(r, "modality", false);
    const char *family = text_field(r, "family", true);
    const char *model = text_field(r, "model", true);
    const char *task = text_field(r, "task", true);
    if (family != NULL && model != NULL) {
        run->model = rd_catalogue_find(run->runtime->catalogue, family, model);
        if (run->model == NULL) {
            problem(r, "model", "known",
                    "no such model of this family; GET /models lists what there is");
        }
    }
    if (task != NULL && !rd_task_parse(task, &run->task)) {
        problem(r, "task", "enum", "one of t2i, i2i, edit, t2v, i2v");
        return false;
    }
    if (task == NULL) {
        return false;
    }
    run->modality = rd_task_modality(run->task);
    if (modality != NULL && strcmp(modality, rd_modality_name(run->modality)) != 0) {
        problem(r, "modality", "task", "image for t2i, i2i and edit; video for t2v and i2v");
    }
    bool does = run->model != NULL && (run->model->modalities & 1u << run->modality) != 0 &&
                (run->model->tasks & 1u << run->task) != 0;
    if (run->model != NULL && !does) {
        problem(r, "task", "model", "this model does not do this task; GET /models tells which");
    }
    if (run->modality == RD_MODALITY_VIDEO) {
        run->media = RD_MEDIA_MP4;
    } else if (run->media == RD_MEDIA_MP4) {
        run->media = RD_MEDIA_PNG;
    }
    return true;
}

static void read_priority(struct reader *r, enum rd_lane *ret)
{
    static const char *const names[] = {"high", "normal", "low"};
    const char *name = text_field(r, "priority", false);
    *ret = RD_LANE_NORMAL;
    if (name == NULL) {
        return;
    }
    for (unsigned i = 0; i < RD_LANE_COUNT_; i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret = (enum rd_lane)i;
            return;
        }
    }
    problem(r, "priority", "enum", "one of high, normal, low");
}

static void read_ttl(struct reader *r, uint64_t *ret_ms)
{
    const json_t *ttl = json_object_get(r->json, "ttl");
    *ret_ms = 0;
    if (ttl == NULL || json_is_null(ttl)) {
        return;
    }
    json_int_t seconds = json_integer_value(ttl);
    if (!json_is_integer(ttl) || seconds < TTL_MIN_S || seconds > TTL_MAX_S) {
        problem(r, "ttl", "range", "whole seconds from 60 to 86400");
        return;
    }
    *ret_ms = (uint64_t)seconds * 1000;
}

static void read_webhook(struct reader *r, const char **ret)
{
    const struct rd_config *config = r->run->runtime->config;
    const char *url = text_field(r, "webhook", false);
    *ret = "";
    if (url == NULL) {
        return;
    }
    const struct rd_fetch_options options = rd_webhooks_options(config);
    struct rd_why why = {.text = "not a URL that messages may go to"};
    if (strlen(url) > RD_LIMIT_URL) {
        problem(r, "webhook", "length", "at most 2048 bytes");
    } else if (rd_webhook_url_check(url, &options, &why) != RD_OK) {
        problem(r, "webhook", "url", why.text);
    } else {
        *ret = url;
    }
}

/* In the body or in the header; in both, if they agree. */
static void read_key(struct reader *r, const char *header, char ret[RD_IDEMPOTENCY_KEY_MAX + 1])
{
    const char *field = text_field(r, "idempotency_key", false);
    char of_field[RD_IDEMPOTENCY_KEY_MAX + 1] = "";
    const char *expected = "1 to 64 visible ASCII characters without spaces";
    ret[0] = '\0';
    if (field != NULL && !rd_replay_key(field, of_field)) {
        problem(r, "idempotency_key", "length", expected);
    } else if (header != NULL && !rd_replay_key(header, ret)) {
        problem(r, "Idempotency-Key", "length", expected);
    } else if (header != NULL && field != NULL && strcmp(ret, of_field) != 0) {
        problem(r, "idempotency_key", "header",
                "the same as the Idempotency-Key header, or only one");
    } else if (header == NULL) {
        memcpy(ret, of_field, sizeof of_field);
    }
}

static rd_err dump(const json_t *json, size_t flags, struct rd_buf *ret)
{
    char *text = json_dumps(json, flags);
    if (text == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    rd_buf_str(ret, text);
    free(text); /* tidy: jansson's own memory */
    return rd_buf_err(ret);
}

/* The hash of what a key stands for, and the generation's own fields for their parser. */
static rd_err split(struct rd_submission *submission, struct rd_buf *own)
{
    json_t *json = submission->json;
    if (submission->key[0] != '\0') {
        RD_AUTO_BUF struct rd_buf sorted;
        rd_buf_init(&sorted, RD_JOB_REQUEST_MAX);
        (void)json_object_del(json, "idempotency_key");
        RD_TRY(dump(json, JSON_COMPACT | JSON_SORT_KEYS, &sorted));
        rd_hash_sha256(sorted.data, sorted.len, submission->body_hash);
    }
    json_t *fields = json_copy(json); /* shallow: the texts are not copied */
    if (fields == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < ENVELOPE; i++) {
        (void)json_object_del(fields, envelope[i]);
    }
    rd_err err = dump(fields, JSON_COMPACT, own);
    json_decref(fields);
    return err;
}

static rd_err load(struct reader *r, const char *text, size_t len, struct rd_submission *ret)
{
    json_error_t error;
    ret->json = rd_json_load(text, len, JSON_REJECT_DUPLICATES, &error);
    if (ret->json == NULL && json_error_code(&error) == json_error_out_of_memory) {
        return RD_ERR_NO_MEMORY;
    }
    if (!json_is_object(ret->json)) {
        rd_problems_add(r->problems, &r->run->arena, "", "json", "%s",
                        ret->json == NULL ? error.text : "a JSON object was expected");
        return RD_ERR_INVALID_JSON;
    }
    r->json = ret->json;
    return RD_OK;
}

/* A problem that another model might not have. */
static bool is_of_model(const struct rd_problem *problem)
{
    static const char *const fields[] = {"format", "backend", "preset", "lora"};
    bool may_be = strcmp(problem->constraint, "not_applicable") == 0;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        may_be = may_be || (strcmp(problem->constraint, "enum") == 0 &&
                            rd_text_starts(problem->field, fields[i]));
    }
    return may_be;
}

static void append(struct rd_problems *to, const struct rd_problems *from, bool of_any_model)
{
    to->dropped += from->dropped;
    for (size_t i = 0; i < from->count; i++) {
        const struct rd_problem *problem = &from->list[i];
        bool told = strcmp(problem->field, "task") == 0; /* by read_model */
        if (told || (of_any_model && is_of_model(problem))) {
            continue;
        }
        if (to->count < RD_LIMIT_PROBLEMS) {
            to->list[to->count++] = from->list[i];
        } else {
            to->dropped++;
        }
    }
}

/* The generation's own fields. When there is no such model, another one that does the task stands
 * in for it, so that everything that is wrong is told at once. */
static rd_err read_fields(struct rd_run *run, const struct rd_buf *own,
                          struct rd_request_context *context, struct rd_problems *problems)
{
    struct rd_problems of_fields = {.count = 0};
    const struct rd_model *models;
    size_t count = rd_catalogue_models(run->runtime->catalogue, &models);
    bool stands_in = run->model == NULL;
    for (size_t i = 0; i < count && run->model == NULL; i++) {
        run->model = (models[i].tasks & 1u << run->task) != 0 ? &models[i] : NULL;
    }
    if (run->model == NULL) {
        return RD_ERR_INVALID_REQUEST;
    }
    rd_err err = rd_run_parse(run, rd_buf_cstr(own), own->len, context, &of_fields);
    append(problems, &of_fields, stands_in);
    run->model = stands_in ? NULL : run->model;
    return err;
}

rd_err rd_submission_read(struct rd_run *run, const char *text, size_t len, const char *key,
                          uint32_t random_seed, struct rd_submission *ret,
                          struct rd_problems *problems)
{
    struct reader r = {run, NULL, problems};
    *ret = (struct rd_submission){.lane = RD_LANE_NORMAL, .webhook = ""};
    RD_TRY(load(&r, text, len, ret));
    bool known = read_model(&r);
    read_priority(&r, &ret->lane);
    read_ttl(&r, &ret->ttl_ms);
    read_webhook(&r, &ret->webhook);
    read_key(&r, key, ret->key);
    const char *format = text_field(&r, "format", false);
    const char *backend = text_field(&r, "backend", false);
    RD_AUTO_BUF struct rd_buf own;
    rd_buf_init(&own, RD_JOB_REQUEST_MAX);
    RD_TRY(split(ret, &own));
    if (!known) {
        return RD_ERR_INVALID_REQUEST;
    }
    struct rd_request_context context = {
        .format = format, .backend = backend, .random_seed = random_seed};
    rd_err err = read_fields(run, &own, &context, problems);
    return err == RD_OK && problems->count > 0 ? RD_ERR_INVALID_REQUEST : err;
}

rd_err rd_submission_from_sync(struct rd_run *run, const char *body, size_t len,
                               const struct rd_submission_path *path, struct rd_buf *ret)
{
    json_t *json = rd_json_load(body, len, 0, NULL);
    if (json == NULL) {
        return RD_ERR_NO_MEMORY; /* it was parsed before */
    }
    const char *const values[] = {
        rd_modality_name(run->modality), run->model->family, run->model->name,
        rd_task_name(run->task),         path->format,       path->backend};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (values[i] != NULL) {
            (void)json_object_set_new(json, envelope[i], json_string(values[i]));
        }
    }
    rd_err err = dump(json, JSON_COMPACT, ret);
    json_decref(json);
    return err;
}

void rd_submission_done(struct rd_submission *submission)
{
    json_decref(submission->json);
}
