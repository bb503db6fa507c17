/* SPDX-License-Identifier: Apache-2.0
 *
 * `render jobs submit`: the options of `render generate`, a place in the queue, and with --wait the
 * outputs as well. The id alone goes to stdout, so that it can be captured. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/generation.h"
#include "cli/jobs.h"

enum { PRIORITY = RD_CLI_GEN_END, WEBHOOK, TTL, KEY, WAIT };
_Static_assert((int)WAIT < (int)RD_CLI_OPTIONS_MAX, "every option has its place");

const struct rd_cli_option rd_cli_jobs_submit_options[] = {
    RD_CLI_GENERATION_OPTIONS,
    {"priority", 0, "LANE", "high, normal or low", "high normal low"},
    {"webhook", 0, "URL", "is told when the job ends", NULL},
    {"ttl", 0, "SECONDS", "give up after so long in the queue, 60 to 86400", NULL},
    {"idempotency-key", 0, "TEXT", "the same key again gives the same job", NULL},
    {"wait", 'w', NULL, "wait for the end and save the outputs", NULL},
    {NULL, 0, NULL, NULL, NULL},
};

static int read_options(struct rd_cli_generation *job, render_submit_options *ret)
{
    struct rd_cli *cli = job->cli;
    static const int saving[] = {RD_CLI_GEN_OUTPUT, RD_CLI_GEN_NO_ATTESTATION,
                                 RD_CLI_GEN_SAVE_JWKS};
    int64_t ttl = 0;
    int rc = rd_cli_number(cli, TTL, 60, 86400, &ttl);
    for (size_t i = 0; rc == RENDER_OK && i < sizeof saving / sizeof *saving; i++) {
        if (cli->values[saving[i]] != NULL && cli->values[WAIT] == NULL) {
            rc = rd_cli_fail(cli, RENDER_ERR_USAGE, "--%s: goes with --wait",
                             rd_cli_option_at(cli->command, (size_t)saving[i])->name);
        }
    }
    *ret = (render_submit_options){.priority = cli->values[PRIORITY],
                                   .webhook = cli->values[WEBHOOK],
                                   .idempotency_key = cli->values[KEY],
                                   .ttl_s = (unsigned)ttl,
                                   .count = job->count};
    return rc;
}

/* ---- waiting ---- */

static int on_event(void *ctx, const render_job_event *event)
{
    struct rd_cli_generation *job = ctx;
    char line[RD_CLI_JOB_TEXT_MAX];
    json_t *data = json_loads(event->data, 0, NULL);
    rd_cli_job_line(event, data, line, sizeof line);
    for (char *p = line; *p != '\0'; p++) {
        *p = *p < ' ' || *p > '~' ? '?' : *p; /* a server's text, on a terminal */
    }
    rd_cli_progress_say(job->cli, line);
    json_decref(data);
    return 0;
}

static int fetch_output(struct rd_cli_generation *job, const json_t *whole, const char *url,
                        unsigned index)
{
    struct rd_cli *cli = job->cli;
    char path[RD_CLI_URL_MAX];
    render_output output = RENDER_OUTPUT_INIT;
    rd_cli_asset_path(url, path, sizeof path);
    render_status status = render_fetch(cli->client, path, &output);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    output.seed = (uint32_t)json_integer_value(json_object_get(whole, "seed")) + index;
    rd_cli_progress_end(cli);
    int rc = rd_cli_generation_save(job, &output, index);
    render_output_done(&output);
    return rc;
}

static int save_outputs(struct rd_cli_generation *job, json_t *whole)
{
    struct rd_cli *cli = job->cli;
    const json_t *outputs = json_object_get(whole, "outputs");
    unsigned count = json_is_array(outputs) ? (unsigned)json_array_size(outputs) : 1;
    int rc = RENDER_OK;
    job->count = count; /* of an idempotency key's job, not of this command's */
    for (unsigned i = 0; rc == RENDER_OK && i < count && i < RD_CLI_GEN_COUNT_MAX; i++) {
        const char *url = json_is_array(outputs) ? json_string_value(json_array_get(outputs, i))
                                                 : rd_cli_json_text(whole, "output");
        rc = fetch_output(job, whole, url == NULL ? "" : url, i);
    }
    if (rc == RENDER_OK && cli->values[RD_CLI_GEN_SAVE_JWKS] != NULL) {
        rc = rd_cli_save_jwks(cli, cli->values[RD_CLI_GEN_SAVE_JWKS]);
    }
    if (rc == RENDER_OK && cli->json) {
        return rd_cli_print_json(cli, json_pack("{s:O, s:O}", "job", whole, "outputs", job->rows));
    }
    return rc == RENDER_OK ? rd_cli_finish(cli) : rc;
}

/* Watches the job to its end, and does what is to be done then. */
static int wait_for(struct rd_cli_generation *job, const char *id)
{
    struct rd_cli *cli = job->cli;
    RD_AUTO_FREE char *text = NULL;
    if (!cli->quiet && !cli->json) {
        (void)fprintf(stderr, "%s\n", id); /* whoever stops waiting can come back */
    }
    rd_cli_progress_begin(cli, "queued");
    render_status status = render_job_watch(cli->client, id, 0, on_event, job);
    status = status == RENDER_OK ? render_job_get(cli->client, id, &text) : status;
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    rd_cli_progress_end(cli);
    json_t *whole = rd_cli_job_parse(cli, text);
    if (whole == NULL) {
        return RENDER_ERR_SERVER;
    }
    const json_t *error = json_object_get(whole, "error");
    const char *name = rd_cli_json_text(whole, "status");
    int rc = rd_cli_job_code(name, rd_cli_json_text(error, "code"));
    if (rc == RENDER_OK) {
        rc = save_outputs(job, whole);
    } else {
        char message[RD_CLI_JOB_TEXT_MAX];
        (void)snprintf(message, sizeof message, "%s", rd_cli_json_text(error, "message"));
        for (char *p = message; *p != '\0'; p++) {
            *p = *p < ' ' || *p > '~' ? '?' : *p;
        }
        rc = rd_cli_fail(cli, (render_status)rc, "%s ended as %.20s: %s", id, name, message);
    }
    json_decref(whole);
    return rc;
}

/* ---- submitting ---- */

static int report(struct rd_cli *cli, json_t *created)
{
    if (cli->json) {
        return rd_cli_print_json(cli, created);
    }
    rd_cli_print_text(rd_cli_json_text(created, "id"), 0);
    (void)putchar('\n');
    if (!cli->quiet) {
        double eta = json_number_value(json_object_get(created, "eta_seconds"));
        (void)fprintf(stderr, "queued, position %d",
                      (int)json_integer_value(json_object_get(created, "position")));
        (void)(eta > 0 ? fprintf(stderr, ", about %.0f s\n", eta) : fprintf(stderr, "\n"));
    }
    json_decref(created);
    return rd_cli_finish(cli);
}

static int submit(struct rd_cli_generation *job, const render_submit_options *options)
{
    struct rd_cli *cli = job->cli;
    RD_AUTO_FREE char *text = NULL;
    render_status status = render_job_submit(cli->client, &job->request, options, &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    json_t *created = rd_cli_job_parse(cli, text);
    if (created == NULL) {
        return RENDER_ERR_SERVER;
    }
    if (cli->values[WAIT] == NULL) {
        return report(cli, created);
    }
    int rc = wait_for(job, rd_cli_json_text(created, "id"));
    json_decref(created);
    return rc;
}

int rd_cli_jobs_submit(struct rd_cli *cli)
{
    struct rd_cli_generation job = {.cli = cli, .rows = json_array()};
    render_submit_options options;
    int rc = rd_cli_generation_prepare(&job);
    rc = rc == RENDER_OK ? read_options(&job, &options) : rc;
    rc = rc == RENDER_OK ? rd_cli_connect(cli) : rc;
    rc = rc == RENDER_OK ? submit(&job, &options) : rc;
    rd_cli_generation_done(&job);
    return rc;
}
