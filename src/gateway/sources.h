/* SPDX-License-Identifier: Apache-2.0
 *
 * Filling in the bytes of a generation's source images: assets from the store, https URLs through
 * the guarded fetch. data: URIs already have theirs. */
#ifndef RD_GATEWAY_SOURCES_H
#define RD_GATEWAY_SOURCES_H

#include "gateway/gateway.h"

/* What was loaded, to be freed with rd_sources_done. */
struct rd_sources {
    char *image, *mask; /* owned */
};

/* True when something is to be loaded, which blocks: then rd_sources_load belongs on the pool. */
bool rd_sources_needed(const struct rd_generation *generation);
/* True when some of it comes from another host, which may take RD_LIMIT_FETCH_TOTAL_MS. */
bool rd_sources_far(const struct rd_generation *generation);
struct rd_sources_for {
    struct rd_gateway *gateway;
    struct rd_runtime *runtime;
    struct rd_arena *arena; /* for the texts of problems */
    struct rd_http_exchange
        *exchange; /* whose memory it counts as; NULL: a job's, bounded by slots */
};
/* Loads, probes, hashes. Problems name the field; INVALID_REQUEST then. */
rd_err rd_sources_load(const struct rd_sources_for *of, struct rd_generation *generation,
                       struct rd_sources *sources, struct rd_problems *problems) RD_MUST;
void rd_sources_done(struct rd_sources *sources);

/* assets.c: the content hash that an asset id or upload alias names. */
rd_err rd_asset_resolve(struct rd_gateway *gateway, const char *id,
                        uint8_t ret[RD_HASH_LEN]) RD_MUST;

#endif
