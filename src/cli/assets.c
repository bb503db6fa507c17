/* SPDX-License-Identifier: Apache-2.0
 *
 * `render models`, `render upload`, `render fetch`. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"

enum { OUTPUT = RD_CLI_OWN, ATTESTATION };

const struct rd_cli_option rd_cli_fetch_options[] = {
    {"output", 'o', "FILE", "where to; '-' is standard output", "@file"},
    {"attestation", 0, NULL, "also write FILE.intoto.json", NULL},
    {NULL, 0, NULL, NULL, NULL},
};

/* Texts of an array, or the "name" of objects in it, with spaces between. */
static void print_list(const json_t *list, int width)
{
    char text[256] = "";
    size_t len = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *name =
            json_is_string(item) ? json_string_value(item) : rd_cli_json_text(item, "name");
        int put = snprintf(text + len, sizeof text - len, "%s%s", i == 0 ? "" : " ", name);
        if (put < 0 || (size_t)put >= sizeof text - len) {
            break;
        }
        len += (size_t)put;
    }
    rd_cli_print_text(text, width);
}

int rd_cli_models(struct rd_cli *cli)
{
    RD_AUTO_FREE char *text = NULL;
    int rc = rd_cli_connect(cli);
    if (rc != RENDER_OK) {
        return rc;
    }
    render_status status = render_call(cli->client, "GET", "/models", NULL, &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    json_t *answer = json_loads(text, 0, NULL);
    const json_t *models = json_object_get(answer, "models");
    if (!json_is_array(models)) {
        json_decref(answer);
        return rd_cli_fail(cli, RENDER_ERR_SERVER, "the gateway's answer lists no models");
    }
    if (cli->json) {
        return rd_cli_print_json(cli, answer);
    }
    (void)printf("%-16s %-22s %-22s %s\n", "MODEL", "TASKS", "BACKENDS", "STATUS");
    for (size_t i = 0; i < json_array_size(models); i++) {
        const json_t *model = json_array_get(models, i);
        rd_cli_print_text(rd_cli_json_text(model, "id"), 16);
        (void)putchar(' ');
        print_list(json_object_get(model, "tasks"), 22);
        (void)putchar(' ');
        print_list(json_object_get(model, "backends"), 22);
        (void)putchar(' ');
        rd_cli_print_text(rd_cli_json_text(model, "status"), 0);
        (void)printf("%s\n",
                     json_is_true(json_object_get(model, "available")) ? "" : ", not available");
    }
    json_decref(answer);
    return rd_cli_finish(cli);
}

int rd_cli_upload(struct rd_cli *cli)
{
    RD_AUTO_FREE char *url = NULL;
    int rc = rd_cli_connect(cli);
    if (rc != RENDER_OK) {
        return rc;
    }
    rd_cli_progress_begin(cli, "uploading");
    render_status status = render_upload(cli->client, cli->words[0], &url);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    rd_cli_progress_end(cli);
    if (cli->json) {
        return rd_cli_print_json(cli, json_pack("{s:s}", "asset_url", url));
    }
    rd_cli_print_text(url, 0);
    (void)putchar('\n');
    return rd_cli_finish(cli);
}

static int save_fetched(struct rd_cli *cli, const render_output *output)
{
    RD_AUTO_FREE char *attestation = NULL;
    char named[64];
    const char *file = cli->values[OUTPUT];
    if (file == NULL) {
        rd_cli_default_name(output->asset_url, output->content_type, named);
        file = named;
    }
    int rc = rd_cli_save(cli, file, output->bytes, output->len, false);
    if (rc == RENDER_OK && cli->values[ATTESTATION] != NULL) {
        rc = rd_cli_save_attestation(cli, output->asset_url, file, &attestation);
    }
    if (rc != RENDER_OK || strcmp(file, "-") == 0) {
        return rc;
    }
    if (cli->json) {
        return rd_cli_print_json(cli, json_pack("{s:s, s:s?, s:I, s:s?, s:s?}", "file", file,
                                                "content_type", output->content_type, "bytes",
                                                (json_int_t)output->len, "asset_url",
                                                output->asset_url, "attestation", attestation));
    }
    (void)printf("%s  ", file);
    rd_cli_print_text(output->content_type == NULL ? "no type" : output->content_type, 0);
    (void)printf(", %zu bytes\n", output->len);
    if (!cli->quiet && attestation != NULL) {
        (void)printf("  attestation  %s\n", attestation);
    }
    return rd_cli_finish(cli);
}

int rd_cli_fetch(struct rd_cli *cli)
{
    const char *file = cli->values[OUTPUT];
    bool to_stdout = file != NULL && strcmp(file, "-") == 0;
    if (to_stdout && (cli->json || cli->values[ATTESTATION] != NULL)) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "-o - does not go with --json or --attestation");
    }
    int rc = rd_cli_connect(cli);
    if (rc != RENDER_OK) {
        return rc;
    }
    render_output output = RENDER_OUTPUT_INIT;
    rd_cli_progress_begin(cli, "fetching");
    render_status status = render_fetch(cli->client, cli->words[0], &output);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    rd_cli_progress_end(cli);
    rc = save_fetched(cli, &output);
    render_output_done(&output);
    return rc;
}
