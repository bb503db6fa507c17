/* SPDX-License-Identifier: Apache-2.0
 *
 * librender: the client library of Render, a self-hosted gateway for generative media.
 *
 *     render_client *client = NULL;
 *     if (render_client_new(url, getenv("RENDER_API_KEY"), &client) == RENDER_OK) {
 *         render_generate_request request = RENDER_GENERATE_REQUEST_INIT;
 *         request.model = "builtin/plasma";
 *         request.prompt = "a red circle on a blue sea";
 *         render_output output = RENDER_OUTPUT_INIT;
 *         if (render_generate(client, &request, &output) == RENDER_OK) {
 *             fwrite(output.bytes, 1, output.len, file);
 *         }
 *         render_output_done(&output);
 *     }
 *     render_client_free(client);
 *
 * Ownership: what a function gives in a ret_ or output parameter is the caller's, to be released
 * with the named function; on failure such a parameter is untouched. What a function takes it
 * copies, or only reads while it runs. A client is for one thread at a time; several clients may be
 * used in several threads. Strings are UTF-8 and end in NUL.
 *
 * Servers are checked: TLS certificates always, answers by type and size, redirects are not
 * followed, and the key goes to no host but the gateway's. See docs/librender.md. */
#ifndef RENDER_H
#define RENDER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum render_status {
    RENDER_OK = 0,
    RENDER_ERR_USAGE = 1,   /* an argument is not valid */
    RENDER_ERR_CONNECT = 2, /* the gateway cannot be reached */
    RENDER_ERR_AUTH = 3,    /* 401 or 403 */
    RENDER_ERR_REFUSED = 4, /* another 4xx: the request is wrong */
    RENDER_ERR_BUSY = 5,    /* 429 or 503: try again later */
    RENDER_ERR_SERVER = 6,  /* another 5xx, or an answer that makes no sense */
    RENDER_ERR_MEMORY = 7,
    RENDER_ERR_IO = 8,         /* a local file */
    RENDER_ERR_UNVERIFIED = 9, /* the check ran and the file did not pass */
    RENDER_ERR_CANCELLED = 10  /* the progress function gave the call up */
} render_status;

typedef struct render_client render_client;

const char *render_status_name(render_status status); /* "ok", "busy", ...; never NULL */
const char *render_version(void);                     /* of the library, "0.1.0" */

/* `url` is http:// or https://, with a path when the gateway stands below one. `key` may be NULL
 * for the public routes. RENDER_ERR_USAGE when the one or the other cannot be right. */
render_status render_client_new(const char *url, const char *key, render_client **ret_client);
/* Another client for the same gateway, with the same key and authority, for another thread. */
render_status render_client_copy(const render_client *client, render_client **ret_client);
void render_client_free(render_client *client); /* NULL is fine */
/* A PEM file with the certificates to trust instead of the system's, for a gateway with a private
 * authority. NULL: the system's again. */
render_status render_client_ca_file(render_client *client, const char *file);

/* What the last call on this client ran into, for people: the message, a line "  field: problem"
 * for each detail, the request id. "" when it succeeded. Valid until the next call. Never holds
 * control characters but line feeds. */
const char *render_client_error(const render_client *client);
/* The gateway's request id of the last call, for its operator; "" when there was none. */
const char *render_client_request_id(const render_client *client);
/* After RENDER_ERR_BUSY: seconds to wait before trying again; -1 when the gateway did not say. */
int render_client_retry_after(const render_client *client);

/* Called about once a second and with each piece of data while a call waits; a non-zero answer
 * gives the call up. `received` counts the answer's bytes (an upload: the bytes sent), `expected`
 * is 0 while unknown. It must not use the client. */
typedef int render_progress_fn(void *ctx, uint64_t received, uint64_t expected);
void render_client_on_progress(render_client *client, render_progress_fn *fn, void *ctx);

typedef struct render_output {
    unsigned char *bytes;
    size_t len;
    char *content_type;
    char *asset_url;       /* absolute */
    char *device;          /* "cpu", or NULL when the engine did not tell */
    uint32_t seed;         /* 0 also when the gateway did not tell */
    double device_seconds; /* < 0: unknown */
    double duration_ms;
} render_output;
#define RENDER_OUTPUT_INIT                                                                         \
    {                                                                                              \
        NULL, 0, NULL, NULL, NULL, 0, -1.0, 0.0                                                    \
    }
void render_output_done(render_output *output);

typedef struct render_generate_request {
    const char *model;  /* "family/model" or a model-hub id; required */
    const char *task;   /* NULL: t2i, i2i with an image, edit with a mask; t2v or i2v for video */
    const char *prompt; /* required */
    const char *format, *backend;
    const char *content_type;           /* NULL: image/png or video/mp4 */
    const char *image_file, *mask_file; /* local files, sent as data URIs, or http(s) URLs */
    int video;                          /* non-zero: modality video */
    int64_t seed;                       /* -1: the gateway draws one */
    const char *fields_json;            /* a JSON object with further fields, or NULL */
} render_generate_request;
#define RENDER_GENERATE_REQUEST_INIT                                                               \
    {                                                                                              \
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, -1, NULL                                \
    }

/* One output. `output` must be RENDER_OUTPUT_INIT or done. */
render_status render_generate(render_client *client, const render_generate_request *request,
                              render_output *output);
/* `count` (1 to 4) pictures of one prompt, each fetched into outputs[i]. The device and the times
 * are those of the whole request, told in outputs[0] only. */
render_status render_generate_many(render_client *client, const render_generate_request *request,
                                   unsigned count, render_output *outputs);

/* ---- jobs: generations that wait in the gateway's queue, and outlive the call ---- */

typedef struct render_submit_options {
    const char *priority; /* "high", "normal" or "low"; NULL: normal */
    const char *webhook;  /* an https URL that is told of the job's end, or NULL */
    const char
        *idempotency_key; /* 1 to 64 characters: the same again gives the same job; or NULL */
    unsigned ttl_s;       /* 60 to 86400 in the queue, then given up; 0: no limit */
    unsigned count;       /* pictures: 1 to 4; 0: 1 */
} render_submit_options;
#define RENDER_SUBMIT_OPTIONS_INIT                                                                 \
    {                                                                                              \
        NULL, NULL, NULL, 0, 0                                                                     \
    }

/* Puts a generation into the queue. *ret_json: the contract's JobCreated, {"id": "j_...", ...}. It
 * is durable when this returns. `options` may be NULL. Free with render_free, as all of these. */
render_status render_job_submit(render_client *client, const render_generate_request *request,
                                const render_submit_options *options, char **ret_json);
/* *ret_json: the contract's Job, whatever its state. An unknown job is RENDER_ERR_REFUSED. */
render_status render_job_get(render_client *client, const char *id, char **ret_json);
/* *ret_json: {"jobs": [...], "next": an id or null}, newest first; `after` is the last page's next,
 * or NULL; `status` a job's status, or NULL for all; `limit` 1 to 1000, 0: the gateway's default.
 */
render_status render_job_list(render_client *client, const char *status, const char *after,
                              unsigned limit, char **ret_json);
/* Cancels, also while it runs. *ret_json: the Job. RENDER_ERR_REFUSED when it has ended. */
render_status render_job_cancel(render_client *client, const char *id, char **ret_json);

typedef struct render_job_event {
    const char *name; /* "position", "started", "progress", "preview", "complete", "error"; "missed"
                         when some were lost because this reader was too slow */
    const char *data; /* a JSON object; valid during the call */
    uint64_t id;      /* for `after`; 0: this one cannot be resumed from */
} render_job_event;
/* A non-zero answer gives the call up (RENDER_ERR_CANCELLED). It must not use the client. */
typedef int render_job_event_fn(void *ctx, const render_job_event *event);
/* Follows a job to its end: RENDER_OK after its last event, "complete" or "error" (a cancelled job
 * ends in an error, too). `after`: the id of the last event that the caller has, 0 for none. Broken
 * connections are made again, and nothing is lost or told twice; after ten in a row without an
 * event it fails. */
render_status render_job_watch(render_client *client, const char *id, uint64_t after,
                               render_job_event_fn *fn, void *ctx);

/* Any route that answers JSON: the body goes to *ret_json (free with render_free; "" for an answer
 * without a body). `body` is NULL or JSON. `path` begins with '/'. */
render_status render_call(render_client *client, const char *method, const char *path,
                          const char *body, char **ret_json);
/* Uploads a local png, jpeg or webp file; *ret_asset_url is to be freed with render_free. */
render_status render_upload(render_client *client, const char *file, char **ret_asset_url);
/* Fetches an asset by id ("a_...") or URL, or anything of this gateway by path ("/..."). */
render_status render_fetch(render_client *client, const char *asset, render_output *output);
/* The signed attestation of an asset (id or URL): a DSSE envelope, JSON, free with render_free. It
 * is signed just after the asset appears; this waits for it up to `wait_ms`. */
render_status render_attestation(render_client *client, const char *asset, unsigned wait_ms,
                                 char **ret_json);
void render_free(void *pointer); /* NULL is fine */

typedef struct render_verdict {
    int signature_ok, statement_ok, subject_ok; /* 1 only when really checked and right */
    char *key_id;                               /* NULL when no known key signed */
    char *problem;                              /* NULL, or the first thing that did not hold */
    char *statement; /* the verified statement, JSON; NULL unless signature_ok */
} render_verdict;
#define RENDER_VERDICT_INIT                                                                        \
    {                                                                                              \
        0, 0, 0, NULL, NULL, NULL                                                                  \
    }
/* Checks a file against its attestation, offline. `keys` is the text of a JWKS document, or one
 * Ed25519 key in hex or base64. RENDER_ERR_UNVERIFIED with `verdict` filled when it does not hold;
 * RENDER_ERR_USAGE with only `problem` filled when `keys` cannot be read. In every case release
 * with render_verdict_done. */
render_status render_verify(const void *bytes, size_t len, const char *attestation,
                            const char *keys, render_verdict *verdict);
void render_verdict_done(render_verdict *verdict);
/* Whether a verified statement committed to `text` under `field` ("prompt", "negative_prompt"),
 * given the salt that its owner published (64 hex digits; `render reveal` prints it). 1 or 0. */
int render_revealed(const render_verdict *verdict, const char *field, const char *text,
                    const char *salt);

#ifdef __cplusplus
}
#endif
#endif
