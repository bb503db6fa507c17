/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of librender/ share. http.c makes one exchange with the gateway and turns whatever
 * went wrong into a status and a text; the other files say what to ask and read the answers. */
#ifndef RD_LIBRENDER_INTERNAL_H
#define RD_LIBRENDER_INTERNAL_H

#include <stdbool.h>

#include <curl/curl.h>
#include <jansson.h>

#include "base/buf.h"
#include "render.h"

#define RD_CLIENT_JSON_MAX ((size_t)16 << 20)    /* an answer in JSON: 100,000 keys listed */
#define RD_CLIENT_OUTPUT_MAX ((size_t)512 << 20) /* an asset in memory: 10 s of video is 20 MiB */
#define RD_CLIENT_BODY_MAX ((size_t)64 << 20)    /* a request: two 20 MiB pictures in base64 */
#define RD_CLIENT_FIELDS_MAX ((size_t)1 << 20)   /* the gateway takes no more than that */
enum {
    RD_CLIENT_ERROR_MAX = 8192, /* 32 details of a line each */
    RD_CLIENT_URL_MAX = 2048,
    RD_CLIENT_KEY_MAX = 256,
    RD_CLIENT_COUNT_MAX = 4,
    RD_CLIENT_CONNECT_MS = 10000,
    RD_CLIENT_SILENCE_S = 45, /* three signs of life are missing: the connection is dead */
    RD_CLIENT_TOTAL_MS = 30 * 60 * 1000, /* a long video on a busy gateway; not for ever */
};

struct render_client {
    CURL *curl;    /* kept from call to call: one connection */
    char *url;     /* without a '/' at its end */
    char *key;     /* NULL: none */
    char *ca_file; /* NULL: the system's */
    struct rd_buf error;
    char request_id[64];
    int retry_after;
    long http_status; /* of the last exchange, 0 when there was no answer */
    render_progress_fn *progress;
    void *progress_ctx;
};

struct rd_client_call {
    const char *method;
    const char *url; /* "/path" below the gateway's URL, or absolute */
    const char *accept;
    const char *content_type; /* of the body */
    const void *body;         /* NULL: none, or `file` */
    size_t body_len;
    int file;               /* -1, or the body: `body_len` bytes from the start */
    bool see_other;         /* 303 is an answer, too: a complete job */
    const char *last_event; /* Last-Event-ID, or NULL */
    /* A stream: a 200's body goes here as it arrives, without end; false gives up. NULL: it is
     * gathered. */
    bool (*on_data)(void *ctx, const char *data, size_t len);
    void *data_ctx;
};
#define RD_CLIENT_CALL_INIT                                                                        \
    {                                                                                              \
        .method = "GET", .accept = "application/json", .file = -1                                  \
    }

/* One exchange; the answer's body is appended to `ret_body`, whose max is the limit. Anything but
 * 2xx is a failure with the client's error filled. Headers can be asked for until the next call. */
render_status rd_client_perform(render_client *client, const struct rd_client_call *call,
                                struct rd_buf *ret_body) RD_MUST;
/* A header of the last answer; NULL when it has none, or is not plain printable text. */
const char *rd_client_header(const render_client *client, const char *name);

/* Begins a public call: forgets the last one's error. */
void rd_client_reset(render_client *client);
/* Appends to the client's error and gives `status` back. Control characters become '?'. */
render_status rd_client_fail(render_client *client, render_status status, const char *fmt, ...)
    RD_PRINTF(3, 4);
void rd_client_error_text(render_client *client, const char *text, size_t len);
/* answer.c: the status for an HTTP status, with the error body told to the client. */
render_status rd_client_refused(render_client *client, long http_status, const struct rd_buf *body);

/* "https://gateway/a/x" for "/a/x"; absolute ones as they are. NULL when out of memory or too long.
 */
char *rd_client_absolute(const render_client *client, const char *url);
/* generate.c: what a request's body says, and its task. `count` 0: none is sent. */
render_status rd_client_check_request(render_client *client,
                                      const render_generate_request *request) RD_MUST;
render_status rd_client_make_body(render_client *client, const render_generate_request *request,
                                  unsigned count, struct rd_buf *body) RD_MUST;
const char *rd_client_task(const render_generate_request *request);
/* "family/model" taken apart: *ret_slash stands between two segments. */
render_status rd_client_split_model(render_client *client, const render_generate_request *request,
                                    const char **ret_slash) RD_MUST;
/* Appends `text` percent-encoded, as one segment of a path or one value of a query. */
void rd_client_escape(const render_client *client, struct rd_buf *url, const char *text,
                      size_t len);
/* The body as owned text; "" when there was none. */
render_status rd_client_take_text(render_client *client, struct rd_buf *body, char **ret) RD_MUST;
/* Waits, unless the progress function gives up: then false. */
bool rd_client_rest(const render_client *client, unsigned ms) RD_MUST;

/* Takes the body over and reads the headers that describe an output. */
render_status rd_client_take_output(render_client *client, struct rd_buf *body,
                                    render_output *output) RD_MUST;

#endif
