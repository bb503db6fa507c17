/* SPDX-License-Identifier: Apache-2.0
 *
 * One output's bytes on their way to the sink: their first ones are looked at, because what a
 * server claims and what it sends are two things.
 *
 * What was asked for passes at once, in the pieces in which it came. A picture of another type (a
 * server that knows no output_format sends PNG always) is gathered, decoded and encoded as what was
 * asked for: the one case in which a whole picture is in memory, at most RD_OPENAI_GATHER_MAX bytes
 * and its pixels, and in which the thread that serves the backend works for some hundredths of a
 * second. Anything else is refused. */
#ifndef RD_ENGINE_OPENAI_PICTURE_H
#define RD_ENGINE_OPENAI_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "engine/engine.h"
#include "engine/http/reply.h"

enum {
    RD_OPENAI_GATHER_MAX = 64 << 20, /* an encoded picture of another type */
    RD_OPENAI_QUALITY = 90,          /* of the JPEG or WebP made of it */
};

struct rd_openai_picture {
    const struct rd_engine_job *job;
    unsigned output;
    uint64_t size_hint;
    enum { RD_OPENAI_FIRST, RD_OPENAI_PASS, RD_OPENAI_GATHER } stage;
    uint8_t first[RD_HTTP_MAGIC_LEN];
    size_t first_len;
    struct rd_buf gathered;
};

void rd_openai_picture_init(struct rd_openai_picture *picture);
void rd_openai_picture_done(struct rd_openai_picture *picture);
/* Output `output` of the job comes, about `size_hint` bytes of it (0: not known). */
void rd_openai_picture_begin(struct rd_openai_picture *picture, const struct rd_engine_job *job,
                             unsigned output, uint64_t size_hint);
/* Errors: the sink's own, with `why` as it was; or with why: what came is none of what can be
 * used. */
rd_err rd_openai_picture_bytes(struct rd_openai_picture *picture, const uint8_t *bytes, size_t len,
                               struct rd_why *why) RD_MUST;
/* All of it came: the sink's end() was called. */
rd_err rd_openai_picture_end(struct rd_openai_picture *picture, struct rd_why *why) RD_MUST;

/* Which medium these RD_HTTP_MAGIC_LEN bytes begin; false: none that is known. */
bool rd_openai_media_of(const void *first, enum rd_media *ret);

#endif
