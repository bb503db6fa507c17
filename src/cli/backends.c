/* SPDX-License-Identifier: Apache-2.0
 *
 * `render backends`: the servers behind the gateway, each with its state in words. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"

enum { WORDS_MAX = 256 };

static bool is(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

static long long number(const json_t *object, const char *name)
{
    return (long long)json_number_value(json_object_get(object, name));
}

/* The first that holds: what keeps work away from it most surely stands in front. */
static void say_state(const json_t *backend, char ret[WORDS_MAX])
{
    const json_t *breaker = json_object_get(backend, "breaker");
    const char *state = rd_cli_json_text(breaker, "state");
    const char *why = rd_cli_json_text(backend, "why");
    if (is(backend, "retired")) {
        (void)snprintf(ret, WORDS_MAX, "retired: its last runs end");
    } else if (!is(backend, "ready")) {
        (void)snprintf(ret, WORDS_MAX, "not ready%s%.200s", why[0] == '\0' ? "" : ": ", why);
    } else if (is(backend, "quarantined")) {
        (void)snprintf(ret, WORDS_MAX, "quarantined: it does not end what it was told to stop");
    } else if (strcmp(state, "open") == 0) {
        (void)snprintf(ret, WORDS_MAX, "breaker open: %lld of %lld failed; probed in %lld s",
                       number(breaker, "failures"), number(breaker, "requests"),
                       number(breaker, "retry_after_seconds"));
    } else if (strcmp(state, "half_open") == 0) {
        (void)snprintf(ret, WORDS_MAX, "breaker half open: being tried");
    } else {
        (void)snprintf(ret, WORDS_MAX, "ready");
    }
}

static void print_backend(const json_t *backend)
{
    char words[WORDS_MAX];
    char slots[48];
    say_state(backend, words);
    (void)snprintf(slots, sizeof slots, "%lld/%lld", number(backend, "taken"),
                   number(backend, "slots"));
    rd_cli_print_text(rd_cli_json_text(backend, "name"), 16);
    (void)putchar(' ');
    rd_cli_print_text(rd_cli_json_text(backend, "type"), 8);
    (void)putchar(' ');
    rd_cli_print_text(slots, 9);
    (void)putchar(' ');
    rd_cli_print_text(rd_cli_json_text(backend, "url"), 34);
    (void)putchar(' ');
    rd_cli_print_text(words, 0);
    (void)putchar('\n');
}

int rd_cli_backends(struct rd_cli *cli)
{
    RD_AUTO_FREE char *text = NULL;
    int rc = rd_cli_connect(cli);
    if (rc != RENDER_OK) {
        return rc;
    }
    render_status status = render_call(cli->client, "GET", "/backends", NULL, &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    json_t *answer = json_loads(text, 0, NULL);
    const json_t *backends = json_object_get(answer, "backends");
    if (!json_is_array(backends)) {
        json_decref(answer);
        return rd_cli_fail(cli, RENDER_ERR_SERVER, "the gateway's answer is no list of backends");
    }
    if (cli->json) {
        return rd_cli_print_json(cli, answer);
    }
    if (!cli->quiet && json_array_size(backends) > 0) {
        (void)printf("%-16s %-8s %-9s %-34s %s\n", "NAME", "TYPE", "SLOTS", "URL", "STATE");
    }
    for (size_t i = 0; i < json_array_size(backends); i++) {
        print_backend(json_array_get(backends, i));
    }
    json_decref(answer);
    return rd_cli_finish(cli);
}
