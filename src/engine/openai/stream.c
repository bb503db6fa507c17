/* SPDX-License-Identifier: Apache-2.0
 *
 * The scanner. See stream.h. One state a byte, but for the inside of strings, which is taken in
 * runs: all of a picture is in there.
 *
 * The path of a value is kept as text: "data[].b64_json". A container remembers how long the path
 * was at its own place, so that leaving a member means cutting the path; one that does not fit
 * makes everything below it unwanted. */
#include "engine/openai/stream.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"

enum state {
    VALUE,        /* a value must come */
    VALUE_OR_END, /* behind '[' */
    KEY_OR_END,   /* behind '{' */
    KEY,          /* behind ',' in an object */
    COLON,
    AFTER, /* a value is over: ',' or the end of its container */
    STRING,
    ESCAPE,
    UNICODE,
    WORD,
    DONE,
};

static const struct {
    const char *path;
    enum rd_openai_field field;
} fields[] = {
    {"data[].b64_json", RD_OPENAI_PICTURE},
    {"b64_json", RD_OPENAI_PICTURE},
    {"data[].url", RD_OPENAI_URL},
    {"type", RD_OPENAI_TYPE},
    {"error.message", RD_OPENAI_ERROR},
    {"error", RD_OPENAI_ERROR},
    {"message", RD_OPENAI_MESSAGE},
    {"detail", RD_OPENAI_MESSAGE},
    {"detail[].msg", RD_OPENAI_MESSAGE},
    {"error.code", RD_OPENAI_ERROR_CODE},
    {"error.type", RD_OPENAI_ERROR_TYPE},
    {"id", RD_OPENAI_ID},
    {"status", RD_OPENAI_STATUS},
    {"progress", RD_OPENAI_PROGRESS},
    {"inference_time_s", RD_OPENAI_SECONDS},
    {"data[].id", RD_OPENAI_MODEL_ID},
    {"data[].owned_by", RD_OPENAI_OWNER},
    {"loaded_models", RD_OPENAI_LOADED},
};

void rd_openai_stream_init(struct rd_openai_stream *stream, const struct rd_openai_events *events)
{
    stream->events = *events;
    stream->offset = 0;
    stream->state = VALUE;
    stream->depth = 0;
    stream->in_key = false;
    stream->field = RD_OPENAI_NONE;
    stream->long_path = false;
    stream->path_len = 0;
    stream->path[0] = '\0';
}

/* ---- the path ---- */

static void path_add(struct rd_openai_stream *s, const char *text, size_t len)
{
    if (s->long_path || len > RD_OPENAI_PATH_MAX - s->path_len) {
        s->long_path = true;
        return;
    }
    memcpy(s->path + s->path_len, text, len);
    s->path_len += len;
}

/* Back to where the innermost container stands. */
static void path_cut(struct rd_openai_stream *s, const struct rd_openai_level *level)
{
    s->path_len = level->path_len;
    s->long_path = level->long_path;
}

static enum rd_openai_field field_here(const struct rd_openai_stream *s)
{
    for (size_t i = 0; !s->long_path && i < sizeof fields / sizeof fields[0]; i++) {
        if (rd_text_eq(s->path, s->path_len, fields[i].path)) {
            return fields[i].field;
        }
    }
    return RD_OPENAI_NONE;
}

/* ---- strings ---- */

/* The words for base64 that is none; other errors are the events' own. */
static rd_err base64_err(const struct rd_openai_stream *s, rd_err err, struct rd_why *why)
{
    return err == RD_OK || !s->base64.bad
               ? err
               : rd_why_set(why, err,
                            "the engine's picture is not base64 (before byte %" PRIu64
                            " of its answer)",
                            s->offset);
}

/* Characters of the present string, escapes resolved. */
static rd_err put(struct rd_openai_stream *s, const char *data, size_t len, struct rd_why *why)
{
    if (s->in_key) {
        path_add(s, data, len);
        return RD_OK;
    }
    if (s->field != RD_OPENAI_PICTURE) {
        size_t room = s->field == RD_OPENAI_NONE ? 0 : RD_OPENAI_TEXT_MAX - s->text_len;
        size_t take = len < room ? len : room;
        memcpy(s->text + s->text_len, data, take);
        s->text_len += take;
        return RD_OK;
    }
    return base64_err(s, rd_openai_base64_take(&s->base64, data, len), why);
}

static rd_err put_code_point(struct rd_openai_stream *s, uint32_t c, struct rd_why *why)
{
    char out[4];
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--, c >>= 6) {
        out[i] = (char)(0x80 | (c & 0x3f));
    }
    out[0] = (char)(lead[len] | c);
    return put(s, out, len, why);
}

static void string_begin(struct rd_openai_stream *s, bool key)
{
    s->state = STRING;
    s->in_key = key;
    s->high = 0;
    s->text_len = 0;
    rd_openai_base64_begin(&s->base64, s->events.ctx, s->events.bytes);
}

/* A value is over: of a string, a word, or a container. */
static void value_over(struct rd_openai_stream *s)
{
    s->state = s->depth == 0 ? DONE : AFTER;
}

static rd_err string_end(struct rd_openai_stream *s, struct rd_why *why)
{
    if (s->in_key) {
        s->in_key = false;
        s->state = COLON;
        return RD_OK;
    }
    value_over(s);
    if (s->field == RD_OPENAI_PICTURE) {
        if (!rd_openai_base64_whole(&s->base64)) {
            return rd_why_set(
                why, RD_ERR_BACKEND_FAILED,
                "the engine's picture is base64 that was cut off (before byte %" PRIu64
                " of its answer)",
                s->offset);
        }
        return s->events.picture_end(s->events.ctx);
    }
    s->text[s->text_len] = '\0';
    return s->field == RD_OPENAI_NONE
               ? RD_OK
               : s->events.text(s->events.ctx, s->field, s->text, s->text_len);
}

static bool escape_of(char c, char *ret)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = c == '\0' ? NULL : strchr(from, c);
    *ret = at == NULL ? '\0' : to[at - from];
    return at != NULL;
}

static int hex_of(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* A half of a pair without the other is written as U+FFFD. */
static rd_err unicode_over(struct rd_openai_stream *s, struct rd_why *why)
{
    uint32_t c = s->escape;
    s->state = STRING;
    if (s->high != 0 && c >= 0xdc00 && c <= 0xdfff) {
        c = 0x10000 + ((s->high - 0xd800) << 10) + (c - 0xdc00);
        s->high = 0;
    } else if (s->high != 0) {
        s->high = 0;
        RD_TRY(put_code_point(s, 0xfffd, why));
    }
    if (c >= 0xd800 && c <= 0xdbff) {
        s->high = c;
        return RD_OK;
    }
    return put_code_point(s, c >= 0xdc00 && c <= 0xdfff ? 0xfffd : c, why);
}

/* Inside of a string, up to its end or the end of `data`. */
static rd_err take_string(struct rd_openai_stream *s, const char *data, size_t len,
                          size_t *ret_used, struct rd_why *why)
{
    size_t run = 0;
    if (!s->in_key && s->field == RD_OPENAI_PICTURE && s->high == 0) {
        RD_TRY(base64_err(s, rd_openai_base64_plain(&s->base64, data, len, &run), why));
        s->offset += run;
        data += run;
        len -= run;
    }
    size_t plain = run;
    run = 0;
    while (run < len && data[run] != '"' && data[run] != '\\' && (unsigned char)data[run] >= 0x20) {
        run++;
    }
    if (s->high != 0 && (run > 0 || (run < len && data[run] == '"'))) {
        s->high = 0;
        RD_TRY(put_code_point(s, 0xfffd, why));
    }
    s->offset += run;
    *ret_used = plain + run;
    RD_TRY(put(s, data, run, why));
    if (run == len) {
        return RD_OK;
    }
    if ((unsigned char)data[run] < 0x20) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                          "the engine's answer is not JSON: a control character in a string, byte "
                          "%" PRIu64,
                          s->offset);
    }
    s->offset++;
    *ret_used = plain + run + 1;
    if (data[run] == '"') {
        return string_end(s, why);
    }
    s->state = ESCAPE;
    return RD_OK;
}

/* ---- everything else ---- */

static rd_err malformed(const struct rd_openai_stream *s, struct rd_why *why)
{
    static const char *const expected[] = {
        [VALUE] = "a value",
        [VALUE_OR_END] = "a value or ']'",
        [KEY_OR_END] = "a key or '}'",
        [KEY] = "a key",
        [COLON] = "':'",
        [AFTER] = "',' or an end",
        [STRING] = "the end of a string",
        [ESCAPE] = "an escape",
        [UNICODE] = "a hexadecimal digit",
        [WORD] = "a number, true, false or null",
        [DONE] = "nothing more",
    };
    return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                      "the engine's answer is not JSON: expected %s at byte %" PRIu64,
                      expected[s->state], s->offset);
}

/* Of RFC 8259, 6: -0.5e+3. */
static bool is_number(const char *c)
{
    c += *c == '-';
    if (*c < '0' || *c > '9') {
        return false;
    }
    bool zero = *c == '0';
    for (c++; *c >= '0' && *c <= '9'; c++) {
        if (zero) {
            return false;
        }
    }
    if (*c == '.') {
        if (*++c < '0' || *c > '9') {
            return false;
        }
        while (*c >= '0' && *c <= '9') {
            c++;
        }
    }
    if (*c == 'e' || *c == 'E') {
        c += c[1] == '+' || c[1] == '-' ? 2 : 1;
        if (*c < '0' || *c > '9') {
            return false;
        }
        while (*c >= '0' && *c <= '9') {
            c++;
        }
    }
    return *c == '\0';
}

static rd_err word_end(struct rd_openai_stream *s, struct rd_why *why)
{
    s->text[s->text_len] = '\0';
    if (strcmp(s->text, "null") == 0 || strcmp(s->text, "true") == 0 ||
        strcmp(s->text, "false") == 0) {
        value_over(s);
        return RD_OK;
    }
    if (!is_number(s->text)) {
        return malformed(s, why);
    }
    value_over(s);
    return s->field == RD_OPENAI_NONE || s->field == RD_OPENAI_PICTURE
               ? RD_OK
               : s->events.text(s->events.ctx, s->field, s->text, s->text_len);
}

static rd_err open_container(struct rd_openai_stream *s, bool array, struct rd_why *why)
{
    if (s->depth == RD_OPENAI_DEPTH_MAX) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                          "the engine's answer is nested deeper than %u at byte %" PRIu64,
                          (unsigned)RD_OPENAI_DEPTH_MAX, s->offset);
    }
    if (field_here(s) == RD_OPENAI_LOADED) {
        RD_TRY(s->events.text(s->events.ctx, RD_OPENAI_LOADED, "", 0));
    }
    s->levels[s->depth++] = (struct rd_openai_level){
        .array = array, .long_path = s->long_path, .path_len = (uint16_t)s->path_len};
    path_add(s, "[]", array ? 2 : 0);
    s->state = array ? VALUE_OR_END : KEY_OR_END;
    return RD_OK;
}

static void close_container(struct rd_openai_stream *s)
{
    s->depth--;
    path_cut(s, &s->levels[s->depth]);
    value_over(s);
}

static rd_err begin_value(struct rd_openai_stream *s, char c, struct rd_why *why)
{
    if (c == '{' || c == '[') {
        return open_container(s, c == '[', why);
    }
    s->field = field_here(s);
    if (c == '"') {
        string_begin(s, false);
        if (s->field == RD_OPENAI_PICTURE) {
            unsigned index = 0;
            for (unsigned i = s->depth; index == 0 && i > 0; i--) {
                index = s->levels[i - 1].array ? s->levels[i - 1].index : 0;
            }
            return s->events.picture(s->events.ctx, index);
        }
        return RD_OK;
    }
    if ((c >= '0' && c <= '9') || c == '-' || (c >= 'a' && c <= 'z')) {
        s->state = WORD;
        s->text[0] = c;
        s->text_len = 1;
        return RD_OK;
    }
    return malformed(s, why);
}

static rd_err after_value(struct rd_openai_stream *s, char c, struct rd_why *why)
{
    struct rd_openai_level *level = &s->levels[s->depth - 1];
    if (c == (level->array ? ']' : '}')) {
        close_container(s);
        return RD_OK;
    }
    if (c != ',') {
        return malformed(s, why);
    }
    level->index += level->array ? 1 : 0;
    s->state = level->array ? VALUE : KEY;
    return RD_OK;
}

/* A key begins: the path is that of its object, and what comes is added to it. */
static void begin_key(struct rd_openai_stream *s)
{
    const struct rd_openai_level *level = &s->levels[s->depth - 1];
    path_cut(s, level);
    path_add(s, ".", s->depth == 1 ? 0 : 1);
    string_begin(s, true);
}

static rd_err take_byte(struct rd_openai_stream *s, char c, struct rd_why *why)
{
    bool space = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (space) {
        return RD_OK;
    }
    switch ((enum state)s->state) {
    case VALUE_OR_END:
        if (c == ']') {
            close_container(s);
            return RD_OK;
        }
        return begin_value(s, c, why);
    case VALUE:
        return begin_value(s, c, why);
    case KEY_OR_END:
        if (c == '}') {
            close_container(s);
            return RD_OK;
        }
        __attribute__((fallthrough));
    case KEY:
        if (c == '"') {
            begin_key(s);
            return RD_OK;
        }
        return malformed(s, why);
    case COLON:
        if (c == ':') {
            s->state = VALUE;
            return RD_OK;
        }
        return malformed(s, why);
    case AFTER:
        return after_value(s, c, why);
    case STRING:
    case ESCAPE:
    case UNICODE:
    case WORD:
    case DONE:
        break; /* the first four are read elsewhere */
    }
    return malformed(s, why);
}

static rd_err take_escape(struct rd_openai_stream *s, char c, struct rd_why *why)
{
    char plain;
    if (s->state == UNICODE) {
        int digit = hex_of(c);
        if (digit < 0) {
            return malformed(s, why);
        }
        s->escape = s->escape << 4 | (uint32_t)digit;
        return --s->escape_digits == 0 ? unicode_over(s, why) : RD_OK;
    }
    if (c == 'u') {
        s->state = UNICODE;
        s->escape = 0;
        s->escape_digits = 4;
        return RD_OK;
    }
    if (!escape_of(c, &plain)) {
        return malformed(s, why);
    }
    s->state = STRING;
    if (s->high != 0) {
        s->high = 0;
        RD_TRY(put_code_point(s, 0xfffd, why));
    }
    return put(s, &plain, 1, why);
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '+' || c == '-';
}

rd_err rd_openai_stream_feed(struct rd_openai_stream *stream, const char *data, size_t len,
                             struct rd_why *why)
{
    struct rd_openai_stream *s = stream;
    for (size_t i = 0; i < len;) {
        if (s->state == STRING) {
            size_t used;
            RD_TRY(take_string(s, data + i, len - i, &used, why));
            i += used;
            continue;
        }
        if (s->state == WORD && is_word(data[i])) {
            if (s->text_len == RD_OPENAI_WORD_MAX) {
                return malformed(s, why);
            }
            s->text[s->text_len++] = data[i];
        } else if (s->state == WORD) {
            RD_TRY(word_end(s, why));
            continue; /* the byte is looked at again */
        } else if (s->state == ESCAPE || s->state == UNICODE) {
            RD_TRY(take_escape(s, data[i], why));
        } else {
            RD_TRY(take_byte(s, data[i], why));
        }
        s->offset++;
        i++;
    }
    return RD_OK;
}

rd_err rd_openai_stream_end(struct rd_openai_stream *stream, struct rd_why *why)
{
    if (stream->state == WORD) {
        RD_TRY(word_end(stream, why));
    }
    if (stream->state == DONE) {
        return RD_OK;
    }
    return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                      "the engine's answer ends early, inside its JSON, at byte %" PRIu64,
                      stream->offset);
}
