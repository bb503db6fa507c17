/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON as it arrives, in pieces of any size: what an OpenAI-compatible server says about a picture.
 *
 * A picture stands inside the JSON, as base64 in data[].b64_json: 2 MB of text for 1.5 MB of PNG.
 * The JSON library that the project uses gathers a whole document before it shows any of it, so
 * this scanner exists: it hands on the decoded bytes as they come and keeps nothing but a window
 * of fixed size. Everything is in one struct, nothing is allocated.
 *
 * It reads any JSON document and checks its grammar; what is not in the table of fields (stream.c)
 * is passed over. A picture's text must be base64 with its padding and nothing else, escapes
 * resolved ("\/" and "\u002b" are what some encoders write). Other texts that are wanted are cut at
 * RD_OPENAI_TEXT_MAX. Refused, with the byte where it was seen: what is not JSON, nesting deeper
 * than RD_OPENAI_DEPTH_MAX, broken base64, a document that ends early or has something behind it.
 * Not refused: keys given twice, broken UTF-8 (whoever shows a text makes it harmless), and a key
 * that is too long, which cannot be one of ours. */
#ifndef RD_ENGINE_OPENAI_STREAM_H
#define RD_ENGINE_OPENAI_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/openai/base64.h"

enum {
    RD_OPENAI_DEPTH_MAX = 32,
    RD_OPENAI_PATH_MAX = 96,  /* "data[].b64_json": keys from the outside in */
    RD_OPENAI_TEXT_MAX = 512, /* of a wanted text that is no picture */
    RD_OPENAI_WORD_MAX = 32,  /* a number, true, false, null */
};

enum rd_openai_field {
    RD_OPENAI_NONE,
    RD_OPENAI_PICTURE,    /* data[].b64_json, b64_json: base64 of a picture */
    RD_OPENAI_URL,        /* data[].url */
    RD_OPENAI_TYPE,       /* type: of an event */
    RD_OPENAI_ERROR,      /* error.message, error */
    RD_OPENAI_MESSAGE,    /* message, detail, detail[].msg: other ways to say it */
    RD_OPENAI_ERROR_CODE, /* error.code */
    RD_OPENAI_ERROR_TYPE, /* error.type */
    RD_OPENAI_ID,         /* id: of a video */
    RD_OPENAI_STATUS,     /* status: of a video */
    RD_OPENAI_PROGRESS,   /* progress: of a video, 0 to 100 */
    RD_OPENAI_SECONDS,    /* inference_time_s */
    RD_OPENAI_MODEL_ID,   /* data[].id: of the list of models */
    RD_OPENAI_OWNER,      /* data[].owned_by */
    RD_OPENAI_LOADED,     /* loaded_models: there is a list of this name */
};

/* Who is told. Each may refuse with an error, which feed() then gives back. */
struct rd_openai_events {
    void *ctx;
    /* A picture begins; `index` is its place in data[], 0 outside of it. */
    rd_err (*picture)(void *ctx, unsigned index);
    rd_err (*bytes)(void *ctx, const uint8_t *bytes, size_t len); /* some of it, never 0 */
    rd_err (*picture_end)(void *ctx);
    /* A text, or a number as it stands there; a NUL behind. Never null, true or false. */
    rd_err (*text)(void *ctx, enum rd_openai_field field, const char *text, size_t len);
};

struct rd_openai_level {
    bool array, long_path; /* the path did not fit: nothing below is ours */
    uint16_t path_len;     /* of the container itself */
    unsigned index;        /* of the present element */
};

struct rd_openai_stream {
    struct rd_openai_events events;
    uint64_t offset; /* bytes taken */
    unsigned char state, depth;
    bool in_key, long_path;
    enum rd_openai_field field; /* of the string or word that is being read */
    unsigned escape_digits;     /* of \uXXXX, to come */
    uint32_t escape, high;      /* its value; a high surrogate that waits for its other half */
    struct rd_openai_level levels[RD_OPENAI_DEPTH_MAX];
    char path[RD_OPENAI_PATH_MAX + 1];
    size_t path_len;
    char text[RD_OPENAI_TEXT_MAX + 1]; /* a wanted text, or a word */
    size_t text_len;
    struct rd_openai_base64 base64; /* of a picture */
};

void rd_openai_stream_init(struct rd_openai_stream *stream, const struct rd_openai_events *events);
/* BACKEND_FAILED and why for what is refused, or an event function's own error. After an error the
 * stream may only be initialised again. */
rd_err rd_openai_stream_feed(struct rd_openai_stream *stream, const char *data, size_t len,
                             struct rd_why *why) RD_MUST;
/* The document must be complete. */
rd_err rd_openai_stream_end(struct rd_openai_stream *stream, struct rd_why *why) RD_MUST;

#endif
