/* SPDX-License-Identifier: Apache-2.0
 *
 * The data folder: what stands where, and what the first start puts there.
 *
 *     DIR/              0700
 *     DIR/render.db     tenants, keys, upload tickets (store/)
 *     DIR/pepper        0600  what API keys are hashed with (store/)
 *     DIR/admin.key     0600  the first administrator's API key; may be deleted once it is kept
 * elsewhere DIR/signing.key   0600  the signer's key; only render-signer reads it DIR/prompt.secret
 * 0600  what prompts are committed to with (provenance/statement.h) DIR/objects/      the
 * content-addressed store (cas/) */
#ifndef RD_GATEWAY_DATA_H
#define RD_GATEWAY_DATA_H

#include "base/err.h"
#include "provenance/statement.h"
#include "store/store.h"

enum { RD_DATA_PATH_MAX = 4096 };

struct rd_data_paths {
    char admin_key[RD_DATA_PATH_MAX];
    char signing_key[RD_DATA_PATH_MAX];
    char prompt_secret[RD_DATA_PATH_MAX];
    char objects[RD_DATA_PATH_MAX];
    char signer_program[RD_DATA_PATH_MAX]; /* render-signer, beside this program */
};

/* The paths under `dir`; creates nothing. */
rd_err rd_data_paths(const char *dir, struct rd_data_paths *ret, struct rd_why *why) RD_MUST;
/* Creates the folder (0700) when it is missing; refuses one that others can enter. */
rd_err rd_data_prepare(const char *dir, struct rd_data_paths *ret, struct rd_why *why) RD_MUST;
/* With no key in the store, or only revoked ones (which would lock everybody out): makes an
 * administrator's and writes it to `path`. */
rd_err rd_data_admin_key(struct rd_store *store, const char *path, struct rd_why *why) RD_MUST;
/* Reads the secret, making it on the first start. */
rd_err rd_data_prompt_secret(const char *path, uint8_t ret[RD_SALT_LEN],
                             struct rd_why *why) RD_MUST;

#endif
