/* SPDX-License-Identifier: Apache-2.0
 *
 * The shape of one row of the route table (routes.c). What is not in the table is refused. */
#ifndef RD_GATEWAY_ROUTES_H
#define RD_GATEWAY_ROUTES_H

#include "gateway/gateway.h"

enum rd_body {
    RD_BODY_NONE,   /* a body is refused */
    RD_BODY_JSON,   /* up to RD_LIMIT_JSON_BODY */
    RD_BODY_IMAGES, /* JSON up to RD_LIMIT_JSON_BODY_DATA_URI */
    RD_BODY_STREAM, /* `begin` says where it goes */
};

enum rd_where {
    RD_ON_HTTP,      /* it never waits */
    RD_ON_POOL,      /* it waits for a disk: the exchange is suspended meanwhile */
    RD_ON_POOL_ONCE, /* the same; an Idempotency-Key is honoured (replay.h) */
};

struct rd_route {
    enum rd_http_method method; /* GET also takes HEAD */
    const char *pattern;        /* "/a/{asset}": a segment in braces becomes args[n] */
    unsigned scope;             /* 0: public; else the key must have one of these bits */
    enum rd_body body;
    enum rd_where where;                 /* `handle` runs; `begin` is always on the HTTP thread */
    void (*begin)(struct rd_call *call); /* on headers; may be NULL; may reply */
    void (*handle)(struct rd_call *call);
    const char *name; /* in metrics and the request log */
};

#endif
