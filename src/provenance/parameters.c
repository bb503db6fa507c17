/* SPDX-License-Identifier: Apache-2.0
 *
 * externalParameters of a statement: the request, with what is private replaced by commitments.
 *
 * Whoever has an asset's URL can read its statement, so it must not carry what its owner wrote. The
 * table below is the closed list of fields that stand in clear; every field that is not in it is
 * private. A private value is replaced by
 *
 *     {"commitment":"sha256:<hex>"}          hex = SHA-256(field salt of 32 bytes || text)
 *
 * which binds the owner to the text and tells nobody else anything: without the salt even a guess
 * of the text cannot be checked. `text` is the UTF-8 of a prompt itself; the unknown fields of a
 * request are committed to together, under "other", as the compact JSON object of them with sorted
 * keys (so neither their names nor their number show, and a statement has a bounded size). Each
 * field has a salt of its own, so that revealing one (by publishing its text and salt) leaves the
 * others closed.
 *
 * The input is generation->json, which request/ wrote: compact, keys sorted. It is scanned, not
 * parsed: this runs once for each output, and a parser with a tree costs ten times as much. The
 * scan still trusts nothing for memory: it never leaves the text, and what is not an object of
 * name/value pairs is INTERNAL. */
#include "provenance/statement.h"

#include <stdbool.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

enum { PROMPT_BYTES = RD_LIMIT_PROMPT * 4 }; /* the most that a prompt has in UTF-8 */

enum field_rule {
    FIELD_OTHER,  /* not in the table: goes into the commitment "other" */
    FIELD_CLEAR,  /* copied */
    FIELD_URL,    /* copied without query and fragment: they carry access tokens */
    FIELD_PROMPT, /* committed to, by the text of generation->prompt */
    FIELD_NEGATIVE_PROMPT,
};

static const struct {
    const char *name;
    enum field_rule rule;
} fields[] = {
    {"backend", FIELD_CLEAR},
    {"cfg", FIELD_CLEAR},
    {"clip_skip", FIELD_CLEAR},
    {"count", FIELD_CLEAR},
    {"detail_amount", FIELD_CLEAR},
    {"detail_end", FIELD_CLEAR},
    {"detail_start", FIELD_CLEAR},
    {"duration", FIELD_CLEAR},
    {"eta", FIELD_CLEAR},
    {"family", FIELD_CLEAR},
    {"format", FIELD_CLEAR},
    {"guidance", FIELD_CLEAR},
    {"image", FIELD_URL},
    {"lightning", FIELD_CLEAR},
    {"lora", FIELD_CLEAR},
    {"mask", FIELD_URL},
    {"modality", FIELD_CLEAR},
    {"model", FIELD_CLEAR},
    {"motion_strength", FIELD_CLEAR},
    {"negative_prompt", FIELD_NEGATIVE_PROMPT},
    {"noise_type", FIELD_CLEAR},
    {"prompt", FIELD_PROMPT},
    {"sampler", FIELD_CLEAR},
    {"scheduler", FIELD_CLEAR},
    {"seed", FIELD_CLEAR},
    {"shift", FIELD_CLEAR},
    {"steps", FIELD_CLEAR},
    {"strength", FIELD_CLEAR},
    {"task", FIELD_CLEAR},
};

struct span {
    const char *at;
    size_t len;
};

struct scan {
    const char *at;
    const char *end;
};

/* The salts: keyed BLAKE3 as the derivation function, with the label as the message. */
void rd_statement_salt(const uint8_t secret[RD_SALT_LEN], const char *request_id,
                       uint8_t ret[RD_SALT_LEN])
{
    rd_hash_blake3_keyed(secret, request_id, strlen(request_id), ret);
}

void rd_statement_field_salt(const uint8_t salt[RD_SALT_LEN], const char *field,
                             uint8_t ret[RD_SALT_LEN])
{
    rd_hash_blake3_keyed(salt, field, strlen(field), ret);
}

rd_err rd_statement_commit(const uint8_t field_salt[RD_SALT_LEN], const void *text, size_t len,
                           uint8_t ret[RD_HASH_LEN])
{
    uint8_t local[RD_SALT_LEN + PROMPT_BYTES];
    RD_AUTO_FREE uint8_t *large = NULL;
    uint8_t *joined = local;
    if (len > PROMPT_BYTES) {
        large = len > SIZE_MAX - RD_SALT_LEN ? NULL : rd_mem_alloc(RD_SALT_LEN + len);
        if (large == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        joined = large;
    }
    memcpy(joined, field_salt, RD_SALT_LEN);
    if (len > 0) {
        memcpy(joined + RD_SALT_LEN, text, len);
    }
    rd_hash_sha256(joined, RD_SALT_LEN + len, ret);
    return RD_OK;
}

static void write_commitment(struct rd_buf *out, const uint8_t salt[RD_SALT_LEN], const char *field,
                             struct span text)
{
    uint8_t field_salt[RD_SALT_LEN];
    uint8_t digest[RD_HASH_LEN];
    char hex[RD_HASH_HEX_LEN + 1];
    rd_statement_field_salt(salt, field, field_salt);
    rd_err err = rd_statement_commit(field_salt, text.at, text.len, digest);
    if (err != RD_OK) {
        out->err = out->err == RD_OK ? err : out->err;
        return;
    }
    rd_text_hex(digest, sizeof digest, hex);
    rd_buf_str(out, "{\"commitment\":\"sha256:");
    rd_buf_append(out, hex, RD_HASH_HEX_LEN);
    rd_buf_str(out, "\"}");
}

/* A string with its quotes; false when it does not end. */
static bool take_string(struct scan *scan, struct span *ret)
{
    const char *p = scan->at;
    if (p == scan->end || *p != '"') {
        return false;
    }
    for (p++; p < scan->end && *p != '"'; p++) {
        if (*p == '\\' && ++p == scan->end) {
            return false;
        }
    }
    if (p >= scan->end) {
        return false;
    }
    *ret = (struct span){scan->at, (size_t)(p + 1 - scan->at)};
    scan->at = p + 1;
    return true;
}

/* Any value, up to the comma or brace that ends it. Counts brackets instead of recursing. */
static bool take_value(struct scan *scan, struct span *ret)
{
    const char *start = scan->at;
    size_t depth = 0;
    while (scan->at < scan->end) {
        char c = *scan->at;
        struct span ignored;
        if (c == '"') {
            if (!take_string(scan, &ignored)) {
                return false;
            }
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']')) {
            break;
        }
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        scan->at++;
    }
    *ret = (struct span){start, (size_t)(scan->at - start)};
    return depth == 0 && ret->len > 0 && scan->at < scan->end;
}

static bool take_char(struct scan *scan, char c)
{
    if (scan->at == scan->end || *scan->at != c) {
        return false;
    }
    scan->at++;
    return true;
}

/* `name` without its quotes. A name with an escape in it is in no table, and so private. */
static enum field_rule rule_for(struct span name)
{
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (fields[i].name[0] == name.at[0] && rd_text_eq(name.at, name.len, fields[i].name)) {
            return fields[i].rule;
        }
    }
    return FIELD_OTHER;
}

static void write_url(struct rd_buf *out, struct span value)
{
    size_t len = 0;
    while (len < value.len && value.at[len] != '?' && value.at[len] != '#') {
        len++;
    }
    rd_buf_append(out, value.at, len);
    if (len < value.len) {
        rd_buf_char(out, '"');
    }
}

/* One member that is not FIELD_OTHER. */
static void write_member(struct rd_buf *out, enum field_rule rule, struct span name,
                         struct span value)
{
    rd_buf_append(out, name.at, name.len);
    rd_buf_char(out, ':');
    if (rule == FIELD_URL && value.at[0] == '"') {
        write_url(out, value);
        return;
    }
    rd_buf_append(out, value.at, value.len);
}

static void write_private(struct rd_buf *out, const struct rd_generation *generation,
                          enum field_rule rule, const uint8_t salt[RD_SALT_LEN])
{
    bool negative = rule == FIELD_NEGATIVE_PROMPT;
    const char *field = negative ? "negative_prompt" : "prompt";
    const char *text = negative ? generation->negative_prompt : generation->prompt;
    if (text == NULL) {
        text = "";
    }
    rd_buf_char(out, '"');
    rd_buf_str(out, field);
    rd_buf_str(out, "\":");
    write_commitment(out, salt, field, (struct span){text, strlen(text)});
}

/* Takes the members one by one. `other` gathers the unknown ones as they stand. */
static bool write_members(struct rd_buf *out, struct rd_buf *other,
                          const struct rd_generation *generation, const uint8_t salt[RD_SALT_LEN])
{
    struct scan scan = {generation->json, generation->json + generation->json_len};
    struct span name;
    struct span value;
    if (!take_char(&scan, '{')) {
        return false;
    }
    bool first = true;
    while (!take_char(&scan, '}')) {
        if (!take_string(&scan, &name) || !take_char(&scan, ':') || !take_value(&scan, &value)) {
            return false;
        }
        enum field_rule rule = rule_for((struct span){name.at + 1, name.len - 2});
        if (rule == FIELD_OTHER) {
            rd_buf_char(other, other->len == 0 ? '{' : ',');
            write_member(other, rule, name, value);
        } else {
            if (!first) {
                rd_buf_char(out, ',');
            }
            first = false;
            if (rule == FIELD_PROMPT || rule == FIELD_NEGATIVE_PROMPT) {
                write_private(out, generation, rule, salt);
            } else {
                write_member(out, rule, name, value);
            }
        }
        if (!take_char(&scan, ',') && (scan.at == scan.end || *scan.at != '}')) {
            return false;
        }
    }
    if (other->len > 0) {
        rd_buf_char(other, '}');
        rd_buf_str(out, first ? "\"other\":" : ",\"other\":");
    }
    return scan.at == scan.end;
}

rd_err rd_statement_parameters(struct rd_buf *out, const struct rd_generation *generation,
                               const uint8_t salt[RD_SALT_LEN])
{
    RD_AUTO_BUF struct rd_buf other;
    rd_buf_init(&other, RD_LIMIT_JSON_BODY_DATA_URI);
    rd_buf_char(out, '{');
    if (generation->json == NULL || !write_members(out, &other, generation, salt)) {
        return RD_ERR_INTERNAL;
    }
    RD_TRY(rd_buf_err(&other));
    if (other.len > 0) {
        write_commitment(out, salt, "other", (struct span){other.data, other.len});
    }
    rd_buf_char(out, '}');
    return rd_buf_err(out);
}
