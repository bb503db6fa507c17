/* SPDX-License-Identifier: Apache-2.0
 *
 * POST/GET /keys and DELETE /keys/{id}. Making keys takes the scope `admin`; listing and revoking
 * one's own tenant's takes `read`, and revoking no scope that the caller's key lacks. The text of a
 * key is in the answer that makes it and nowhere else. */
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/text.h"
#include "gateway/gateway.h"

enum { LIST_BODY_MAX = 16 << 20, EXPIRES_S_MAX = 10 * 366 * 86400 };

struct key_request {
    const char *tenant, *name;
    unsigned scopes;
    uint64_t expires_ms;
};

static void parse_scopes(const json_t *scopes, struct key_request *request,
                         struct rd_problems *problems, struct rd_arena *arena)
{
    if (scopes == NULL) {
        request->scopes = RD_SCOPE_GENERATE | RD_SCOPE_UPLOAD | RD_SCOPE_READ;
        return;
    }
    if (!json_is_array(scopes) || json_array_size(scopes) == 0) {
        rd_problems_add(problems, arena, "scopes", "type",
                        "a list of generate, upload, read, admin");
        return;
    }
    for (size_t i = 0; i < json_array_size(scopes); i++) {
        const char *name = json_string_value(json_array_get(scopes, i));
        unsigned bit = 0;
        if (name == NULL || !rd_scope_parse(name, &bit)) {
            rd_problems_add(problems, arena, "scopes", "enum",
                            "each of generate, upload, read, admin");
            return;
        }
        request->scopes |= bit;
    }
}

static const struct text_field {
    const char *name, *expected;
    bool (*valid)(const char *text);
} text_fields[] = {
    {"tenant", "a tenant's name: 1 to 64 of a-z, 0-9 and '-', not beginning with '-'",
     rd_store_tenant_valid},
    {"name", "what the key is for: 1 to 64 bytes of UTF-8 without control characters",
     rd_store_name_valid},
};

static const char *parse_text(const json_t *json, const struct text_field *field,
                              struct rd_problems *problems, struct rd_arena *arena)
{
    const json_t *value = json_object_get(json, field->name);
    const char *text = json_string_value(value);
    if (text == NULL || !field->valid(text)) {
        rd_problems_add(problems, arena, field->name,
                        value == NULL  ? "required"
                        : text == NULL ? "type"
                                       : "format",
                        "%s", field->expected);
        return NULL;
    }
    return text;
}

static void parse_fields(json_t *json, struct key_request *request, struct rd_problems *problems,
                         struct rd_arena *arena)
{
    const json_t *expires = json_object_get(json, "expires_in_s");
    request->tenant = parse_text(json, &text_fields[0], problems, arena);
    request->name = parse_text(json, &text_fields[1], problems, arena);
    parse_scopes(json_object_get(json, "scopes"), request, problems, arena);
    if (expires == NULL || json_is_null(expires)) {
        return;
    }
    json_int_t seconds = json_integer_value(expires);
    if (!json_is_integer(expires) || seconds < 1 || seconds > EXPIRES_S_MAX) {
        rd_problems_add(problems, arena, "expires_in_s", "range", "whole seconds from 1 to %d",
                        EXPIRES_S_MAX);
        return;
    }
    request->expires_ms = rd_clock_wall_ms() + (uint64_t)seconds * 1000;
}

static void write_time(struct rd_buf *out, const char *name, uint64_t ms)
{
    char text[RD_CLOCK_RFC3339_LEN + 1];
    rd_clock_rfc3339_ms(ms, text);
    rd_buf_printf(out, ms == 0 ? ",\"%s\":null" : ",\"%s\":\"%s\"", name, text);
}

static void write_key(struct rd_buf *out, const struct rd_key *key)
{
    rd_buf_printf(out, "\"id\":\"%s\",\"tenant\":\"%s\",\"name\":", key->id, key->tenant);
    rd_buf_json_str(out, key->name);
    rd_buf_printf(out, ",\"prefix\":\"%s\",\"scopes\":[", key->prefix);
    bool first = true;
    for (unsigned bit = 1; bit <= RD_SCOPE_ALL; bit <<= 1) {
        if ((key->scopes & bit) != 0) {
            rd_buf_printf(out, "%s\"%s\"", first ? "" : ",", rd_scope_name(bit));
            first = false;
        }
    }
    rd_buf_char(out, ']');
    write_time(out, "created_at", key->created_ms);
    write_time(out, "expires_at", key->expires_ms);
    write_time(out, "revoked_at", key->revoked_ms);
    write_time(out, "last_used_at", key->last_used_ms);
}

void rd_keys_create(struct rd_call *call)
{
    struct rd_problems problems = {.count = 0};
    struct key_request request = {0};
    json_t *json = rd_call_json(call);
    if (json == NULL) {
        return;
    }
    struct rd_key key;
    char text[RD_KEY_TEXT_LEN + 1];
    struct rd_why why = {.text = ""};
    rd_err err = RD_ERR_INVALID_REQUEST;
    parse_fields(json, &request, &problems, rd_http_arena(call->exchange));
    if (problems.count == 0) {
        err = rd_store_key_create(call->gateway->store, request.tenant, request.name,
                                  request.scopes, request.expires_ms, &key, text, &why);
    }
    json_decref(json);
    if (problems.count > 0) {
        rd_reply_problems(call, RD_ERR_INVALID_REQUEST, &problems);
        return;
    }
    if (err != RD_OK) {
        rd_reply_error(call, err, why.text[0] == '\0' ? NULL : why.text, NULL);
        return;
    }
    RD_AUTO_BUF struct rd_buf answer;
    rd_buf_init(&answer, 4096);
    rd_buf_printf(&answer, "{\"key\":\"%s\",", text);
    write_key(&answer, &key);
    rd_buf_char(&answer, '}');
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_reply_json(call, 201, &answer);
    rd_mem_wipe(text, sizeof text);
}

static bool list_one(void *ctx, const struct rd_key *key)
{
    struct rd_buf *out = ctx;
    rd_buf_str(out, out->data[out->len - 1] == '[' ? "{" : ",{");
    write_key(out, key);
    rd_buf_char(out, '}');
    return rd_buf_err(out) == RD_OK;
}

/* The tenant whose keys the caller may see: its own, or NULL (all) for an administrator. */
static const char *visible_tenant(const struct rd_call *call)
{
    return (call->key.scopes & RD_SCOPE_ADMIN) != 0 ? NULL : call->key.tenant;
}

void rd_keys_list(struct rd_call *call)
{
    RD_AUTO_BUF struct rd_buf answer;
    rd_buf_init(&answer, LIST_BODY_MAX);
    rd_buf_str(&answer, "{\"keys\":[");
    rd_err err = rd_buf_err(&answer);
    if (err == RD_OK) {
        err = rd_store_key_list(call->gateway->store, visible_tenant(call), list_one, &answer);
    }
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    rd_buf_str(&answer, "]}");
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_reply_json(call, 200, &answer);
}

struct sought {
    const char *id;
    unsigned scopes; /* of the key with this id; 0: not found */
};

static bool seek_one(void *ctx, const struct rd_key *key)
{
    struct sought *sought = ctx;
    if (strcmp(key->id, sought->id) == 0) {
        sought->scopes = key->scopes;
    }
    return sought->scopes == 0;
}

/* Who is no administrator may end only keys that can do nothing which the caller's cannot: else one
 * that only reads could lock its whole tenant out. */
static rd_err may_revoke(struct rd_call *call)
{
    struct sought sought = {.id = call->args[0]};
    if ((call->key.scopes & RD_SCOPE_ADMIN) != 0) {
        return RD_OK;
    }
    RD_TRY(rd_store_key_list(call->gateway->store, call->key.tenant, seek_one, &sought));
    return (sought.scopes & ~call->key.scopes) == 0 ? RD_OK : RD_ERR_FORBIDDEN;
}

void rd_keys_revoke(struct rd_call *call)
{
    rd_err err = may_revoke(call);
    err = err == RD_OK
              ? rd_store_key_revoke(call->gateway->store, visible_tenant(call), call->args[0])
              : err;
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    rd_call_common_headers(call);
    rd_http_reply(call->exchange, 204);
}
