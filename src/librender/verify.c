/* SPDX-License-Identifier: Apache-2.0
 *
 * render_verify: the check of provenance/verify.h with this library's types. Nothing here talks to
 * a network; the keys are the caller's, since a key fetched from whoever gave the file proves
 * nothing. */
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "librender/internal.h"
#include "provenance/verify.h"

static bool copy(const char *text, size_t len, char **ret)
{
    if (text == NULL || len == 0) {
        return true;
    }
    *ret = rd_mem_memdupz(text, len);
    return *ret != NULL;
}

static render_status hash_file(const void *bytes, size_t len, struct rd_hash *ret)
{
    struct rd_hasher *hasher = NULL;
    if (rd_hasher_new(&hasher) != RD_OK) {
        return RENDER_ERR_MEMORY;
    }
    rd_hasher_update(hasher, bytes, len);
    rd_hasher_finish(hasher, ret);
    rd_hasher_free(hasher);
    return RENDER_OK;
}

static render_status bad_keys(const struct rd_why *why, rd_err err, render_verdict *verdict)
{
    if (err == RD_ERR_NO_MEMORY || !copy(why->text, strlen(why->text), &verdict->problem)) {
        return RENDER_ERR_MEMORY;
    }
    return RENDER_ERR_USAGE;
}

render_status render_verify(const void *bytes, size_t len, const char *attestation,
                            const char *keys, render_verdict *verdict)
{
    struct rd_verify_keys known = {.count = 0};
    struct rd_why why = {""};
    struct rd_hash hash;
    *verdict = (render_verdict)RENDER_VERDICT_INIT;
    if ((bytes == NULL && len > 0) || attestation == NULL || keys == NULL) {
        return RENDER_ERR_USAGE;
    }
    rd_err err = rd_verify_keys_add(&known, keys, strlen(keys), &why);
    if (err != RD_OK) {
        return bad_keys(&why, err, verdict);
    }
    if (hash_file(bytes, len, &hash) != RENDER_OK) {
        return RENDER_ERR_MEMORY;
    }
    struct rd_verdict found = {.keyid = ""};
    err = rd_verify_envelope(attestation, strlen(attestation), &hash, &known, &found);
    verdict->signature_ok = found.signature_ok;
    verdict->statement_ok = found.statement_ok;
    verdict->subject_ok = found.subject_ok;
    bool ok = copy(found.keyid, strlen(found.keyid), &verdict->key_id) &&
              copy(found.problem, strlen(found.problem), &verdict->problem) &&
              copy(found.statement, found.statement_len, &verdict->statement);
    rd_verdict_done(&found);
    if (!ok || err == RD_ERR_NO_MEMORY) {
        render_verdict_done(verdict);
        return RENDER_ERR_MEMORY;
    }
    /* Both must agree: an error without a flag, or a flag without the error, is not a pass. */
    bool holds = verdict->signature_ok && verdict->statement_ok && verdict->subject_ok;
    return err == RD_OK && holds ? RENDER_OK : RENDER_ERR_UNVERIFIED;
}

int render_revealed(const render_verdict *verdict, const char *field, const char *text,
                    const char *salt)
{
    uint8_t bytes[32];
    if (verdict == NULL || field == NULL || text == NULL || salt == NULL ||
        verdict->statement == NULL || !verdict->signature_ok ||
        !rd_text_unhex(salt, strlen(salt), bytes, sizeof bytes)) {
        return 0;
    }
    const struct rd_verdict checked = {.signature_ok = true,
                                       .statement_ok = verdict->statement_ok != 0,
                                       .subject_ok = verdict->subject_ok != 0,
                                       .statement = verdict->statement,
                                       .statement_len = strlen(verdict->statement)};
    return rd_verify_revealed(&checked, field, text, strlen(text), bytes);
}

void render_verdict_done(render_verdict *verdict)
{
    rd_mem_free(verdict->key_id);
    rd_mem_free(verdict->problem);
    rd_mem_free(verdict->statement);
    *verdict = (render_verdict)RENDER_VERDICT_INIT;
}
