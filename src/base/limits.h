/* SPDX-License-Identifier: Apache-2.0
 *
 * Every limit that a client can meet, once, with the reason or the attack it stops. Reaching one is
 * a defined answer, never a crash or a silent cut. docs/limits.md is checked against this file. */
#ifndef RD_BASE_LIMITS_H
#define RD_BASE_LIMITS_H

#define RD_KIB(n) ((size_t)(n) << 10)
#define RD_MIB(n) ((size_t)(n) << 20)

/* HTTP: refused with 414, 431, 408, 413 */
#define RD_LIMIT_REQUEST_LINE RD_KIB(8)        /* proxies' own default; long URLs are attacks */
#define RD_LIMIT_HEADER_BLOCK RD_KIB(32)       /* what nginx takes; memory per connection */
#define RD_LIMIT_HEADER_FIELDS 100             /* hash-flooding of fields */
#define RD_LIMIT_HEADER_TIME_MS 10000          /* slow-loris: time to finish the headers */
#define RD_LIMIT_IDLE_TIME_MS 60000            /* keep-alive connection with nothing to do */
#define RD_LIMIT_BODY_IDLE_MS 20000            /* a body that stops arriving */
#define RD_LIMIT_JSON_BODY RD_MIB(1)           /* a generation request without pictures */
#define RD_LIMIT_JSON_BODY_DATA_URI RD_MIB(32) /* the same with data: URIs in it */
#define RD_LIMIT_JSON_DEPTH 64                 /* stack depth of the parser */
#define RD_LIMIT_CONNECTIONS 16384             /* file descriptors */
/* What all requests together may hold in memory, and of that one tenant: see rd_http_hold. */
#define RD_LIMIT_HELD RD_MIB(512)
#define RD_LIMIT_HELD_TENANT RD_MIB(128) /* four of the largest bodies: none starves others */
#define RD_LIMIT_HELD_FREE RD_KIB(16) /* of each request: small ones are never refused for this */
#define RD_LIMIT_FETCHES_TENANT 4     /* source images that are being fetched for one tenant */

/* Pictures */
#define RD_LIMIT_DATA_URI_DECODED RD_MIB(20)      /* one image inside a JSON body */
#define RD_LIMIT_IMAGE_SIDE 16384                 /* pixels; checked before decoding */
#define RD_LIMIT_IMAGE_PIXELS (64u * 1000 * 1000) /* decompression bombs */
#define RD_LIMIT_UPLOAD_BYTES 52428800            /* the contract's 50 MiB */
#define RD_LIMIT_UPLOAD_TTL_S 3600                /* the contract's hour */
#define RD_LIMIT_OBJECT_BYTES ((uint64_t)1 << 32) /* one object in the store, 4 GiB */

/* Requests: http-api contract */
#define RD_LIMIT_PROMPT 4000
#define RD_LIMIT_NEGATIVE_PROMPT 2000
#define RD_LIMIT_LORAS 16
#define RD_LIMIT_COUNT 4
#define RD_LIMIT_PROBLEMS 32 /* problems listed in one validation answer */
#define RD_LIMIT_URL 2048    /* image and mask URLs */

/* WebSockets */
#define RD_LIMIT_WS_CONNECTIONS 8192        /* file descriptors, 16 KiB each */
#define RD_LIMIT_WS_CONNECTIONS_TENANT 2048 /* so that no tenant takes them all */
#define RD_LIMIT_WS_MESSAGE RD_MIB(1)       /* as JSON_BODY: a request without pictures */
#define RD_LIMIT_WS_QUEUE RD_MIB(1)         /* waits for one slow reader */
#define RD_LIMIT_WS_HELD RD_MIB(256)        /* messages of all connections, each way */
#define RD_LIMIT_WS_REQUESTS 64             /* unanswered, of one connection */
#define RD_LIMIT_WS_JOBS 1024               /* watched on one connection */

/* Source images over https */
#define RD_LIMIT_FETCH_HOPS 3
#define RD_LIMIT_FETCH_CONNECT_MS 5000
#define RD_LIMIT_FETCH_TOTAL_MS 30000

/* Webhooks */
#define RD_LIMIT_WEBHOOK_BODY 20000 /* bytes: what receivers expect at most */
#define RD_LIMIT_WEBHOOK_CONNECT_MS 5000
#define RD_LIMIT_WEBHOOK_TIME_MS 20000  /* of one try */
#define RD_LIMIT_WEBHOOKS_OPEN 256      /* tries at once */
#define RD_LIMIT_WEBHOOKS_HOST 8        /* of them to one host: it is somebody else's server */
#define RD_LIMIT_WEBHOOKS_TENANT 64     /* and of one tenant, however many hosts it names */
#define RD_LIMIT_WEBHOOK_TESTS_TENANT 4 /* test messages that wait for an answer */

#endif
