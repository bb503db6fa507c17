/* SPDX-License-Identifier: Apache-2.0
 *
 * See words.h. The lines come from a program that may write anything, so each member is checked by
 * itself and a wrong one is left out: a script's slip in its progress is no reason to lose its
 * picture. JSON is read by jansson; a line is too short for its recursion to go deep. */
#include "engine/process/words.h"

#include <math.h>
#include <string.h>

#include <jansson.h>

#include "engine/http/reply.h"

static const double SECONDS_MAX = 1000000;

void rd_process_words_add(struct rd_process_words *words, const char *bytes, size_t len)
{
    if (len > sizeof words->text) {
        bytes += len - sizeof words->text;
        len = sizeof words->text;
    }
    if (words->len + len > sizeof words->text) {
        size_t drop = words->len + len - sizeof words->text;
        memmove(words->text, words->text + drop, words->len - drop);
        words->len -= drop;
    }
    memcpy(words->text + words->len, bytes, len);
    words->len += len;
}

void rd_process_words_last(const struct rd_process_words *words,
                           char out[RD_PROCESS_WORDS_SHOWN + 1])
{
    const char *text = words->text;
    size_t end = words->len;
    while (end > 0 && (unsigned char)text[end - 1] <= ' ') {
        end--;
    }
    size_t from = end > RD_PROCESS_WORDS_SHOWN ? end - RD_PROCESS_WORDS_SHOWN : 0;
    if (from > 0) { /* begin with a whole line, where there is one */
        const char *line = memchr(text + from - 1, '\n', end - from + 1);
        from = line != NULL ? (size_t)(line + 1 - text) : from;
    }
    rd_http_sanitise(text + from, end - from, out, RD_PROCESS_WORDS_SHOWN + 1);
}

static void read_text(const json_t *object, const char *name, char *out, size_t room)
{
    const json_t *value = json_object_get(object, name);
    out[0] = '\0';
    if (json_is_string(value)) {
        rd_http_sanitise(json_string_value(value), json_string_length(value), out, room);
    }
}

/* A plain name, so that nothing outside the run's folder can be meant. */
static void read_preview(const json_t *object, struct rd_process_line *ret)
{
    const json_t *value = json_object_get(object, "preview");
    const char *name = json_string_value(value);
    size_t len = json_string_length(value);
    if (name != NULL && len > 0 && len < sizeof ret->preview && name[0] != '.' &&
        strchr(name, '/') == NULL && strlen(name) == len) {
        memcpy(ret->preview, name, len + 1);
    }
}

bool rd_process_line_parse(const char *text, size_t len, struct rd_process_line *ret)
{
    json_t *object = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(object)) {
        json_decref(object);
        return false;
    }
    memset(ret, 0, sizeof *ret);
    const json_t *progress = json_object_get(object, "progress");
    const json_t *step = json_object_get(object, "step");
    const json_t *seconds = json_object_get(object, "device_seconds");
    const json_t *error = json_object_get(object, "error");
    if (json_is_number(progress)) {
        double value = json_number_value(progress);
        ret->has_progress = value >= 0 && value <= 1;
        ret->progress = ret->has_progress ? value : 0;
    }
    if (json_is_integer(step) && json_integer_value(step) >= 0 &&
        json_integer_value(step) <= INT32_MAX) {
        ret->has_step = true;
        ret->step = (unsigned)json_integer_value(step);
    }
    if (json_is_number(seconds)) {
        double ns = json_number_value(seconds) * 1e9;
        ret->has_device_ns = ns >= 1 && ns <= SECONDS_MAX * 1e9;
        ret->device_ns = ret->has_device_ns ? (uint64_t)llround(ns) : 0;
    }
    read_text(object, "device", ret->device, sizeof ret->device);
    read_preview(object, ret);
    ret->has_error = error != NULL && !json_is_null(error);
    read_text(object, "error", ret->error, sizeof ret->error);
    ret->retriable = !json_is_false(json_object_get(object, "retriable"));
    json_decref(object);
    return true;
}
