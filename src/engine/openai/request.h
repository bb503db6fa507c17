/* SPDX-License-Identifier: Apache-2.0
 *
 * A generation as a request of the OpenAI images and videos API: JSON, or multipart/form-data where
 * a picture goes along. Pure: it fills a body and says where to send it.
 *
 * The servers have one API and four sets of further fields. They ignore what they do not know, so
 * all get the same list; what cannot be sent to all is one row a server in the table `servers`
 * (request.c): stable-diffusion.cpp takes everything but the size inside of the prompt, LocalAI
 * takes the negative prompt behind a '|' and source pictures elsewhere. In front of another server
 * that would be painted. Which server it is nobody has to configure: see openai.c, identify(). */
#ifndef RD_ENGINE_OPENAI_REQUEST_H
#define RD_ENGINE_OPENAI_REQUEST_H

#include <stdbool.h>

#include "base/buf.h"
#include "engine/engine.h"
#include "engine/http/body.h"

enum rd_openai_server {
    RD_OPENAI_ANY, /* none of the others */
    RD_OPENAI_SDCPP,
    RD_OPENAI_VLLM,
    RD_OPENAI_SGLANG,
    RD_OPENAI_LOCALAI,
    RD_OPENAI_SERVERS_,
};

enum { RD_OPENAI_BOUNDARY_LEN = 32, RD_OPENAI_CONTENT_TYPE_ROOM = 80 };

struct rd_openai_request {
    /* what to make */
    const struct rd_generation *generation;
    unsigned output; /* which of generation->count */
    enum rd_openai_server server;
    const char *model; /* how the server calls it */
    bool stream;       /* ask for partial pictures */
    /* what was made of it */
    const char *path;                               /* "/v1/images/generations" */
    char content_type[RD_OPENAI_CONTENT_TYPE_ROOM]; /* of the body */
    struct rd_buf mask; /* the converted mask, if any: for all outputs */
};

void rd_openai_request_init(struct rd_openai_request *request);
void rd_openai_request_done(struct rd_openai_request *request);
/* Writes an empty body and seals it; the source pictures are not copied and must stay.
 * INVALID_REQUEST ("mask: ...") for a mask that cannot be decoded. */
rd_err rd_openai_request_make(struct rd_openai_request *request, struct rd_http_body *body,
                              struct rd_why *why) RD_MUST;

/* Making it takes long: a mask is to be converted. */
bool rd_openai_request_is_slow(const struct rd_openai_request *request);

/* The server with a list of models of which the first has this id and owner. */
enum rd_openai_server rd_openai_server_of(const char *model, const char *owner);
const char *rd_openai_server_name(enum rd_openai_server server);

/* `mask` (encoded; white changes) as an RGBA PNG that reads right in both conventions: light where
 * it changes, for those who look at the colours, and transparent there, for those who look at the
 * alpha channel as OpenAI does. */
rd_err rd_openai_mask(const struct rd_source *mask, struct rd_buf *out, struct rd_why *why) RD_MUST;

#endif
