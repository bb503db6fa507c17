/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway: everything that a request handler may use, and what handlers share. One struct
 * rd_gateway exists; main.c makes it. Handlers run on HTTP threads and must not block: work that
 * would goes to `pool` while the exchange is suspended. */
#ifndef RD_GATEWAY_GATEWAY_H
#define RD_GATEWAY_GATEWAY_H

#include <pthread.h>
#include <stdatomic.h>

#include "cas/cas.h"
#include "gateway/metrics.h"
#include "gateway/pool.h"
#include "gateway/runtime.h"
#include "http/server.h"
#include "jobs/jobs.h"
#include "provenance/signer.h"
#include "request/request.h"
#include "store/store.h"
#include "webhook/sender.h"

struct rd_gateway {
    struct rd_http_server *http;
    struct rd_cas *cas;
    struct rd_store *store;
    struct rd_signer *signer;
    struct rd_jobs *jobs;
    struct rd_waits *waits; /* waits.h */
    struct rd_ws *ws;       /* ws.h */
    struct rd_webhook_sender *webhooks;
    struct rd_pool *starters; /* make runs of jobs; may wait for other people's hosts */
    atomic_bool broken;       /* a store has failed for good: main stops */
    struct rd_pool *pool;
    struct rd_pool *fetchers;      /* only waits for other people's hosts: never to be waited for */
    _Atomic unsigned fetching[64]; /* by owner: RD_LIMIT_FETCHES_TENANT each */
    struct rd_metrics metrics;
    char listen_url[512];               /* http://HOST:PORT */
    char public_url[512];               /* what answers point to; without trailing '/' */
    uint8_t prompt_secret[RD_SALT_LEN]; /* what prompts are committed to with (statement.h) */
    atomic_bool draining;
    pthread_mutex_t runtime_lock;
    struct rd_runtime *runtime; /* current; one reference */
};

/* A reference to the current runtime; give it back with rd_runtime_unref. */
struct rd_runtime *rd_gateway_runtime(struct rd_gateway *gateway);

enum { RD_ROUTE_ARGS_MAX = 4, RD_ROUTE_ARG_LEN = 128 };

/* What hangs on each exchange (rd_http_user). */
struct rd_call {
    struct rd_gateway *gateway;
    struct rd_http_exchange *exchange;
    const struct rd_route *route; /* NULL: no route matched */
    struct rd_runtime *runtime;   /* one reference */
    struct rd_key key;            /* who calls; id "" on public routes */
    char args[RD_ROUTE_ARGS_MAX][RD_ROUTE_ARG_LEN];
    void *state;                        /* the handler's own */
    void (*drop)(struct rd_call *call); /* releases `state`; called last */
    /* The client left; may be NULL. A handler on the pool sets it while the client may leave. */
    void (*_Atomic gone)(struct rd_call *call);
    struct rd_call_replay *replay; /* replay.h; NULL: no Idempotency-Key, or it is settled */
    bool plain;                    /* a complete job is answered 200, not 303 */
    uint64_t retry_s;              /* Retry-After, when it is known better than 1 */
    const char *log_model;         /* for the request log, or NULL */
    uint64_t engine_ns;            /* for the request log; 0: no engine */
    char error_text[256];          /* for the log: the cause of a 5xx */
};

/* What every answer carries: request id, nosniff, trace context, CORS (routes.c). */
void rd_call_common_headers(struct rd_call *call);
/* The request's valid W3C traceparent, or NULL (routes.c). */
const char *rd_call_traceparent(struct rd_call *call);

/* Whose jobs the caller may see: its tenant's; 0, an administrator's: everybody's. */
uint64_t rd_call_jobs_owner(const struct rd_call *call);

/* Answers (reply.c). Each ends the exchange's answer. */
/* The body as a JSON object, to be given back with json_decref; NULL when it is none, with the
 * refusal replied. */
struct json_t *rd_call_json(struct rd_call *call);
void rd_reply_json(struct rd_call *call, int status, const struct rd_buf *json);
/* The contract's Error: `message` NULL is the table's; `details` is a JSON value or NULL. */
void rd_reply_error(struct rd_call *call, rd_err err, const char *message, const char *details);
void rd_reply_problems(struct rd_call *call, rd_err err, const struct rd_problems *problems);
/* The same with one problem; `field` "" is the body itself. */
void rd_reply_problem(struct rd_call *call, rd_err err, const char *field, const char *constraint,
                      const char *message);

/* A refusal of the limits, with the RateLimit headers and Retry-After; and those headers alone. */
void rd_reply_refusal(struct rd_call *call, enum rd_admit admit,
                      const struct rd_jobs_limits *limits);
void rd_reply_limits(struct rd_call *call, const struct rd_jobs_limits *limits);

/* Handlers, by file. `begin` runs on headers, `handle` when the body is there. */
void rd_generate_handle(struct rd_call *call); /* generate.c */
void rd_asset_handle(struct rd_call *call);    /* assets.c */
void rd_attestation_handle(struct rd_call *call);
void rd_reveal_handle(struct rd_call *call); /* attest.c */
void rd_object_begin(struct rd_call *call);  /* objects.c */
void rd_object_put(struct rd_call *call);
void rd_object_get(struct rd_call *call);
void rd_upload_create(struct rd_call *call); /* uploads.c */
void rd_upload_begin(struct rd_call *call);
void rd_upload_put(struct rd_call *call);
void rd_queue_post(struct rd_call *call); /* queue.c */
void rd_queue_info(struct rd_call *call);
void rd_jobs_list_handle(struct rd_call *call); /* jobs.c */
void rd_jobs_get_handle(struct rd_call *call);
void rd_jobs_delete_handle(struct rd_call *call);
void rd_jobs_cancel_handle(struct rd_call *call);
void rd_events_handle(struct rd_call *call); /* events.c */
void rd_keys_create(struct rd_call *call);   /* keys.c */
void rd_keys_list(struct rd_call *call);
void rd_keys_revoke(struct rd_call *call);
void rd_webhooks_list(struct rd_call *call); /* webhooks.c */
void rd_webhooks_replay(struct rd_call *call);
void rd_webhooks_test(struct rd_call *call);
void rd_webhooks_secret(struct rd_call *call);
void rd_webhooks_rotate(struct rd_call *call);
void rd_backends_handle(struct rd_call *call); /* backends.c */
void rd_info_models(struct rd_call *call);     /* info.c */
void rd_info_aliases(struct rd_call *call);
void rd_info_loras(struct rd_call *call);
void rd_info_live(struct rd_call *call);
void rd_info_ready(struct rd_call *call);
void rd_info_metrics(struct rd_call *call);
void rd_info_jwks(struct rd_call *call);
void rd_info_openapi(struct rd_call *call);
void rd_info_root(struct rd_call *call);

/* Routing (routes.c): the table and the struct rd_http_app that serves it. */
void rd_routes_app(struct rd_gateway *gateway, struct rd_http_app *ret);
const char *const *rd_routes_names(void); /* for metrics, NULL-terminated */

/* Serves a stored object with conditional and range requests (assets.c). */
void rd_serve_object(struct rd_call *call, struct rd_cas_object *object, const char *cache_control);
/* The salt of the prompts of one request of a tenant (attest.c). Another tenant's number gives
 * another salt, which opens nothing. */
void rd_attest_salt(const struct rd_gateway *gateway, uint64_t owner, const char *request_id,
                    uint8_t ret[RD_SALT_LEN]);
/* Takes `note` apart and makes the DSSE envelope of an object's statement (attest.c). */
rd_err rd_attest_batch(void *gateway, struct rd_cas_note_request *requests, size_t count) RD_MUST;
rd_err rd_attest_envelope(struct rd_gateway *gateway, const uint8_t blake3[RD_HASH_LEN],
                          struct rd_buf *out) RD_MUST;

#endif
