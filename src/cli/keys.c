/* SPDX-License-Identifier: Apache-2.0
 *
 * `render keys create`, `list`, `revoke`. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"

enum { TENANT = RD_CLI_OWN, NAME, SCOPES, EXPIRES, OUTPUT };

const struct rd_cli_option rd_cli_keys_create_options[] = {
    {"tenant", 0, "NAME", "whose key: a-z, 0-9 and '-'; made when new", NULL},
    {"name", 0, "TEXT", "what the key is for", NULL},
    {"scopes", 0, "LIST", "of generate,upload,read,admin; default: the first three",
     "generate upload read admin"},
    {"expires", 0, "TIME", "30m, 12h or 7d from now; default: never", NULL},
    {"output", 'o', "FILE", "write the key here (only you can read it)", "@file"},
    {NULL, 0, NULL, NULL, NULL},
};

/* "7d" as seconds. */
static bool parse_time(const char *text, uint64_t *ret_s)
{
    static const struct {
        char unit;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    size_t len = strlen(text);
    uint64_t value = 0;
    for (size_t i = 0; len > 1 && i < sizeof units / sizeof *units; i++) {
        if (text[len - 1] == units[i].unit && rd_text_u64(text, len - 1, &value) && value > 0 &&
            value <= UINT32_MAX) {
            *ret_s = value * units[i].seconds;
            return true;
        }
    }
    return false;
}

static json_t *scope_list(const char *text)
{
    json_t *scopes = json_array();
    while (scopes != NULL && *text != '\0') {
        size_t len = strcspn(text, ",");
        if (len > 0 && json_array_append_new(scopes, json_stringn(text, len)) != 0) {
            json_decref(scopes);
            return NULL;
        }
        text += len + (text[len] == ',' ? 1 : 0);
    }
    return scopes;
}

static int make_request(struct rd_cli *cli, char **ret_body)
{
    const char *scopes = cli->values[SCOPES];
    uint64_t expires_s = 0;
    if (cli->values[TENANT] == NULL || cli->values[NAME] == NULL) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "give --tenant NAME and --name TEXT");
    }
    if (cli->values[EXPIRES] != NULL && !parse_time(cli->values[EXPIRES], &expires_s)) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE,
                           "--expires: a time from now such as 30m, 12h or 7d");
    }
    json_t *body =
        json_pack("{s:s, s:s}", "tenant", cli->values[TENANT], "name", cli->values[NAME]);
    if (body != NULL) {
        json_t *list = scope_list(scopes == NULL ? "generate,upload,read" : scopes);
        (void)json_object_set_new(body, "scopes", list);
        if (expires_s > 0) {
            (void)json_object_set_new(body, "expires_in_s", json_integer((json_int_t)expires_s));
        }
    }
    *ret_body = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return *ret_body != NULL ? RENDER_OK
                             : rd_cli_fail(cli, RENDER_ERR_USAGE, "the name is not text in UTF-8");
}

/* Shows the new key, or writes it to the file and shows only the rest. */
static int hand_over(struct rd_cli *cli, json_t *answer)
{
    const char *key = json_string_value(json_object_get(answer, "key"));
    const char *file = cli->values[OUTPUT];
    if (key == NULL) {
        json_decref(answer);
        return rd_cli_fail(cli, RENDER_ERR_SERVER, "the gateway's answer holds no key");
    }
    if (file != NULL) {
        char line[512];
        int len = snprintf(line, sizeof line, "%s\n", key);
        int rc = rd_cli_save(cli, file, line, len > 0 ? (size_t)len : 0, true);
        rd_mem_wipe(line, sizeof line);
        if (rc != RENDER_OK) {
            json_decref(answer);
            return rc;
        }
        (void)json_object_del(answer, "key");
        (void)json_object_set_new(answer, "file", json_string(file));
        key = NULL;
    }
    if (cli->json) {
        return rd_cli_print_json(cli, answer);
    }
    if (key != NULL) {
        rd_cli_print_text(key, 0); /* alone on stdout, so that it can be captured */
        (void)putchar('\n');
    }
    if (!cli->quiet) {
        (void)fprintf(stderr, "key %s of tenant %s%s%s\n", rd_cli_json_text(answer, "id"),
                      cli->values[TENANT],
                      file == NULL ? ", shown this once: keep it now" : ", written to ",
                      file == NULL ? "" : file);
    }
    json_decref(answer);
    return rd_cli_finish(cli);
}

int rd_cli_keys_create(struct rd_cli *cli)
{
    RD_AUTO_FREE char *body = NULL; /* jansson's allocator is malloc */
    RD_AUTO_FREE char *text = NULL;
    int rc = make_request(cli, &body);
    rc = rc == RENDER_OK ? rd_cli_connect(cli) : rc;
    if (rc != RENDER_OK) {
        return rc;
    }
    render_status status = render_call(cli->client, "POST", "/keys", body, &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    json_t *answer = json_loads(text, 0, NULL);
    rd_mem_wipe(text, strlen(text));
    return hand_over(cli, answer);
}

static void print_key(const json_t *key)
{
    char scopes[64] = "";
    size_t len = 0;
    const json_t *list = json_object_get(key, "scopes");
    for (size_t i = 0; i < json_array_size(list) && len < sizeof scopes; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        int put = snprintf(scopes + len, sizeof scopes - len, "%s%s", i == 0 ? "" : ",",
                           name == NULL ? "" : name);
        len += put > 0 ? (size_t)put : 0;
    }
    const char *revoked = rd_cli_json_text(key, "revoked_at");
    const char *expires = rd_cli_json_text(key, "expires_at");
    const char *used = rd_cli_json_text(key, "last_used_at");
    rd_cli_print_text(rd_cli_json_text(key, "id"), 27);
    (void)putchar(' ');
    rd_cli_print_text(rd_cli_json_text(key, "prefix"), 13);
    (void)putchar(' ');
    rd_cli_print_text(rd_cli_json_text(key, "tenant"), 14);
    (void)putchar(' ');
    rd_cli_print_text(rd_cli_json_text(key, "name"), 16);
    (void)putchar(' ');
    rd_cli_print_text(scopes, 28);
    (void)putchar(' ');
    rd_cli_print_text(used[0] == '\0' ? "never" : used, 11);
    (void)printf(" %s", revoked[0] != '\0' ? "revoked " : expires[0] != '\0' ? "until " : "active");
    rd_cli_print_text(revoked[0] != '\0' ? revoked : expires, 0);
    (void)putchar('\n');
}

int rd_cli_keys_list(struct rd_cli *cli)
{
    RD_AUTO_FREE char *text = NULL;
    int rc = rd_cli_connect(cli);
    if (rc != RENDER_OK) {
        return rc;
    }
    render_status status = render_call(cli->client, "GET", "/keys", NULL, &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    json_t *answer = json_loads(text, 0, NULL);
    const json_t *keys = json_object_get(answer, "keys");
    if (!json_is_array(keys)) {
        json_decref(answer);
        return rd_cli_fail(cli, RENDER_ERR_SERVER, "the gateway's answer lists no keys");
    }
    if (cli->json) {
        return rd_cli_print_json(cli, answer);
    }
    (void)printf("%-27s %-13s %-14s %-16s %-28s %-11s %s\n", "ID", "BEGINS WITH", "TENANT", "NAME",
                 "SCOPES", "LAST USED", "STATE");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        print_key(json_array_get(keys, i));
    }
    json_decref(answer);
    return rd_cli_finish(cli);
}

int rd_cli_keys_revoke(struct rd_cli *cli)
{
    const char *id = cli->words[0];
    size_t len = strlen(id);
    if (rd_text_starts(id, "rk_")) {
        return rd_cli_fail(
            cli, RENDER_ERR_USAGE,
            "give the key's id (key_...), not the key: `render keys list` shows it by "
            "its first letters. Consider this key as leaked: it was an argument");
    }
    if (!rd_text_starts(id, "key_") || len > 60 ||
        strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != len) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE,
                           "'%.60s' is no key id; `render keys list` shows them", id);
    }
    int rc = rd_cli_connect(cli);
    if (rc != RENDER_OK) {
        return rc;
    }
    char path[80];
    RD_AUTO_FREE char *text = NULL;
    (void)snprintf(path, sizeof path, "/keys/%s", id);
    render_status status = render_call(cli->client, "DELETE", path, NULL, &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    if (cli->json) {
        return rd_cli_print_json(cli, json_pack("{s:s, s:b}", "id", id, "revoked", 1));
    }
    if (!cli->quiet) {
        (void)printf("%s is revoked\n", id);
    }
    return rd_cli_finish(cli);
}
