/* SPDX-License-Identifier: Apache-2.0
 *
 * `render generate`: one call, answered when the outputs are there. */
#include <stdio.h>

#include "base/mem.h"
#include "cli/generation.h"

const struct rd_cli_option rd_cli_generate_options[] = {
    RD_CLI_GENERATION_OPTIONS,
    {NULL, 0, NULL, NULL, NULL},
};

static int report(struct rd_cli_generation *job, const render_output *first, const char *request_id)
{
    struct rd_cli *cli = job->cli;
    if (cli->json) {
        json_t *device_seconds =
            first->device_seconds < 0 ? json_null() : json_real(first->device_seconds);
        return rd_cli_print_json(cli, json_pack("{s:O, s:s, s:f, s:s?, s:o}", "outputs", job->rows,
                                                "request_id", request_id, "duration_ms",
                                                first->duration_ms, "device", first->device,
                                                "device_seconds", device_seconds));
    }
    return rd_cli_finish(cli);
}

static int make(struct rd_cli_generation *job)
{
    struct rd_cli *cli = job->cli;
    render_output outputs[RD_CLI_GEN_COUNT_MAX] = {RENDER_OUTPUT_INIT, RENDER_OUTPUT_INIT,
                                                   RENDER_OUTPUT_INIT, RENDER_OUTPUT_INIT};
    char request_id[64];
    rd_cli_progress_begin(cli, job->request.model);
    render_status status = render_generate_many(cli->client, &job->request, job->count, outputs);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    (void)snprintf(request_id, sizeof request_id, "%s", render_client_request_id(cli->client));
    rd_cli_progress_end(cli);
    int rc = RENDER_OK;
    for (unsigned i = 0; rc == RENDER_OK && i < job->count; i++) {
        rc = rd_cli_generation_save(job, &outputs[i], i);
    }
    if (rc == RENDER_OK && cli->values[RD_CLI_GEN_SAVE_JWKS] != NULL) {
        rc = rd_cli_save_jwks(cli, cli->values[RD_CLI_GEN_SAVE_JWKS]);
    }
    rc = rc == RENDER_OK ? report(job, &outputs[0], request_id) : rc;
    for (unsigned i = 0; i < job->count; i++) {
        render_output_done(&outputs[i]);
    }
    return rc;
}

int rd_cli_generate(struct rd_cli *cli)
{
    struct rd_cli_generation job = {.cli = cli, .rows = json_array()};
    int rc = rd_cli_generation_prepare(&job);
    rc = rc == RENDER_OK ? rd_cli_connect(cli) : rc;
    rc = rc == RENDER_OK ? make(&job) : rc;
    rd_cli_generation_done(&job);
    return rc;
}
