/* SPDX-License-Identifier: Apache-2.0
 *
 * `render webhooks list`, `replay`, `test`, `secret`. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"

enum { STATUS = RD_CLI_OWN, LIMIT };
enum { ROTATE = RD_CLI_OWN };

const struct rd_cli_option rd_cli_webhooks_list_options[] = {
    {"status", 0, "STATUS", "only these: pending, delivered, failed or disabled",
     "pending delivered failed disabled"},
    {"limit", 0, "N", "at most so many, 1 to 200; default: 50", NULL},
    {NULL, 0, NULL, NULL, NULL},
};
const struct rd_cli_option rd_cli_webhooks_secret_options[] = {
    {"rotate", 0, NULL, "make a new one; for a day the old one signs too", NULL},
    {NULL, 0, NULL, NULL, NULL},
};

/* Calls the gateway; the answer's JSON object is the caller's. */
static int call(struct rd_cli *cli, const char *method, const char *path, const char *body,
                json_t **ret)
{
    RD_AUTO_FREE char *text = NULL;
    int rc = rd_cli_connect(cli);
    if (rc != RENDER_OK) {
        return rc;
    }
    render_status status = render_call(cli->client, method, path, body, &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    json_t *answer = json_loads(text, 0, NULL);
    rd_mem_wipe(text, strlen(text)); /* it may be a secret */
    if (!json_is_object(answer)) {
        json_decref(answer);
        return rd_cli_fail(cli, RENDER_ERR_SERVER, "the gateway's answer makes no sense");
    }
    *ret = answer;
    return RENDER_OK;
}

static void print_delivery(const json_t *delivery)
{
    const json_t *status = json_object_get(delivery, "response_status");
    char answer[16] = "-";
    char tries[24] = "";
    if (json_is_integer(status)) {
        (void)snprintf(answer, sizeof answer, "%d", (int)json_integer_value(status));
    }
    (void)snprintf(tries, sizeof tries, "%d",
                   (int)json_integer_value(json_object_get(delivery, "attempts")));
    rd_cli_print_text(rd_cli_json_text(delivery, "id"), 27);
    (void)putchar(' ');
    rd_cli_print_text(rd_cli_json_text(delivery, "job"), 25);
    (void)putchar(' ');
    rd_cli_print_text(rd_cli_json_text(delivery, "status"), 10);
    (void)printf(" %5s %6s ", tries, answer);
    const char *next = rd_cli_json_text(delivery, "next_attempt_at");
    rd_cli_print_text(next[0] == '\0' ? "-" : next, 25);
    (void)putchar(' ');
    rd_cli_print_text(rd_cli_json_text(delivery, "url"), 0);
    const char *reason = rd_cli_json_text(delivery, "reason");
    if (reason[0] != '\0') {
        (void)printf(" (");
        rd_cli_print_text(reason, 0);
        (void)putchar(')');
    }
    (void)putchar('\n');
}

int rd_cli_webhooks_list(struct rd_cli *cli)
{
    const char *status = cli->values[STATUS];
    const char *limit = cli->values[LIMIT];
    char path[96] = "/webhooks";
    uint64_t count = 50;
    if (limit != NULL && (!rd_text_u64(limit, strlen(limit), &count) || count < 1 || count > 200)) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "--limit: a whole number from 1 to 200");
    }
    if (status != NULL && strcmp(status, "pending") != 0 && strcmp(status, "delivered") != 0 &&
        strcmp(status, "failed") != 0 && strcmp(status, "disabled") != 0) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE,
                           "--status: pending, delivered, failed or disabled");
    }
    (void)snprintf(path, sizeof path, "/webhooks?limit=%u%s%s", (unsigned)count,
                   status == NULL ? "" : "&status=", status == NULL ? "" : status);
    json_t *answer = NULL;
    int rc = call(cli, "GET", path, NULL, &answer);
    if (rc != RENDER_OK) {
        return rc;
    }
    if (cli->json) {
        return rd_cli_print_json(cli, answer);
    }
    (void)printf("%-27s %-25s %-10s %5s %6s %-25s %s\n", "ID", "JOB", "STATUS", "TRIES", "ANSWER",
                 "NEXT TRY", "URL");
    const json_t *list = json_object_get(answer, "deliveries");
    for (size_t i = 0; i < json_array_size(list); i++) {
        print_delivery(json_array_get(list, i));
    }
    if (json_is_string(json_object_get(answer, "next"))) {
        rd_cli_warn(cli, "there are more; --limit shows up to 200");
    }
    json_decref(answer);
    return rd_cli_finish(cli);
}

int rd_cli_webhooks_replay(struct rd_cli *cli)
{
    const char *id = cli->words[0];
    size_t len = strlen(id);
    char path[96];
    if (!rd_text_starts(id, "msg_") || len > 60 ||
        strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != len) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE,
                           "'%.60s' is no delivery's id; `render webhooks list` shows them", id);
    }
    (void)snprintf(path, sizeof path, "/webhooks/%s/replay", id);
    json_t *answer = NULL;
    int rc = call(cli, "POST", path, NULL, &answer);
    if (rc != RENDER_OK) {
        return rc;
    }
    if (cli->json) {
        return rd_cli_print_json(cli, answer);
    }
    json_decref(answer);
    if (!cli->quiet) {
        (void)printf("%s is sent again\n", id);
    }
    return rd_cli_finish(cli);
}

static int print_result(struct rd_cli *cli, json_t *answer)
{
    bool delivered = json_is_true(json_object_get(answer, "delivered"));
    if (cli->json) {
        int rc = rd_cli_print_json(cli, answer);
        return rc == RENDER_OK && !delivered ? RENDER_ERR_UNVERIFIED : rc;
    }
    if (delivered && !cli->quiet) {
        (void)printf("taken: the endpoint answered %d after %d ms\n",
                     (int)json_integer_value(json_object_get(answer, "response_status")),
                     (int)json_integer_value(json_object_get(answer, "duration_ms")));
    } else if (!delivered) {
        (void)printf("not taken: ");
        rd_cli_print_text(rd_cli_json_text(answer, "reason"), 0);
        (void)putchar('\n');
    }
    json_decref(answer);
    int rc = rd_cli_finish(cli);
    return rc == RENDER_OK && !delivered ? RENDER_ERR_UNVERIFIED : rc;
}

int rd_cli_webhooks_test(struct rd_cli *cli)
{
    json_t *request = json_pack("{s:s}", "url", cli->words[0]);
    RD_AUTO_FREE char *body = request == NULL ? NULL : json_dumps(request, JSON_COMPACT);
    json_decref(request);
    if (body == NULL) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "the URL is not text in UTF-8");
    }
    json_t *answer = NULL;
    int rc = call(cli, "POST", "/webhooks/test", body, &answer);
    return rc != RENDER_OK ? rc : print_result(cli, answer);
}

int rd_cli_webhooks_secret(struct rd_cli *cli)
{
    bool rotate = cli->values[ROTATE] != NULL;
    json_t *answer = NULL;
    int rc = rotate ? call(cli, "POST", "/webhooks/secret/rotate", NULL, &answer)
                    : call(cli, "GET", "/webhooks/secret", NULL, &answer);
    if (rc != RENDER_OK) {
        return rc;
    }
    if (cli->json) {
        return rd_cli_print_json(cli, answer);
    }
    rd_cli_print_text(rd_cli_json_text(answer, "secret"), 0); /* alone on stdout */
    (void)putchar('\n');
    const char *key = rd_cli_json_text(answer, "public_key");
    bool sound =
        strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=_") ==
        strlen(key);
    if (!cli->quiet && sound) {
        (void)fprintf(stderr, "verifies v1; for v1a the public key is %s\n", key);
    }
    if (!cli->quiet && json_is_string(json_object_get(answer, "previous"))) {
        (void)fprintf(stderr, "the secret before this one signs too, for a day\n");
    }
    json_decref(answer);
    return rd_cli_finish(cli);
}
