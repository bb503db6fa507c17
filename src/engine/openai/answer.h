/* SPDX-License-Identifier: Apache-2.0
 *
 * One answer of an OpenAI-compatible server, as it arrives: one JSON document, or server-sent
 * events with a document each. The final picture goes on to the sink through picture.h; pictures
 * on the way (partial_image) become previews and progress; what else it says of use stands in this
 * struct when the answer is over. No I/O, no libcurl: tests and the fuzzer feed it bytes.
 *
 * An event's picture comes before the event is over, so whether it is the final one must be known
 * when it begins: from the event's name, or from a `type` in front of it (OpenAI sends both). A
 * picture of unknown meaning is refused, rather than a preview sold as the result. */
#ifndef RD_ENGINE_OPENAI_ANSWER_H
#define RD_ENGINE_OPENAI_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/openai/picture.h"
#include "engine/openai/sse.h"
#include "engine/openai/stream.h"

enum {
    RD_OPENAI_WORD_ROOM = 64, /* a type, a code, a status */
    RD_OPENAI_ID_MAX = 128,   /* the server's name of a video */
    RD_OPENAI_PARTIALS = 3,   /* that we ask for: the most there are */
};

struct rd_openai_answer {
    struct rd_openai_stream json;
    struct rd_openai_sse sse;
    struct rd_openai_picture picture;
    struct rd_buf preview; /* a partial picture, at most RD_ENGINE_HELD_MAX */
    const struct rd_engine_job *job;
    unsigned output;
    struct rd_why *why; /* of the feed() that runs */
    bool events;        /* it is server-sent events */
    bool document;      /* this event's JSON has begun */
    bool passed_over;   /* this event is "[DONE]" */
    bool partial;       /* the picture that comes is one on the way */
    unsigned previews;

    /* What was said. */
    bool complete; /* the final picture is in `picture` */
    char url[RD_OPENAI_TEXT_MAX + 1];
    char error[RD_OPENAI_TEXT_MAX + 1];
    char code[RD_OPENAI_WORD_ROOM], type[RD_OPENAI_WORD_ROOM], status[RD_OPENAI_WORD_ROOM];
    char event_type[RD_OPENAI_WORD_ROOM];
    char id[RD_OPENAI_ID_MAX + 1];
    double progress; /* 0 to 1; below 0: not said */
    uint64_t told_ns;
    bool told; /* the server said how long it took */
    char owner[RD_OPENAI_WORD_ROOM],
        model[RD_OPENAI_WORD_ROOM]; /* of a list of models, the first */
    bool loaded;
};

void rd_openai_answer_init(struct rd_openai_answer *answer); /* once */
void rd_openai_answer_done(struct rd_openai_answer *answer);
/* Another answer comes. `job` is NULL when no picture may be in it. */
void rd_openai_answer_begin(struct rd_openai_answer *answer, const struct rd_engine_job *job,
                            unsigned output, bool events);
/* Errors: the sink's own; or with why, which is touched only then. */
rd_err rd_openai_answer_feed(struct rd_openai_answer *answer, const char *data, size_t len,
                             struct rd_why *why) RD_MUST;
/* The body is over. An answer without a picture is none of its errors: look at `complete`; when it
 * is set, rd_openai_picture_end() of `picture` comes next. */
rd_err rd_openai_answer_end(struct rd_openai_answer *answer, struct rd_why *why) RD_MUST;

#endif
