/* SPDX-License-Identifier: Apache-2.0
 *
 * `render jobs list`, `show`, `cancel`, `export`, and how jobs are told. */
#include "cli/jobs.h"

#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/generation.h"

enum { STATUS = RD_CLI_OWN, LIMIT, AFTER };
enum { LIMIT_MAX = 1000 };

#define STATUSES "queued running complete error cancelled"

const struct rd_cli_option rd_cli_jobs_list_options[] = {
    {"status", 0, "STATUS", "only these: queued, running, complete, error or cancelled", STATUSES},
    {"limit", 0, "N", "at most so many, 1 to 1000; default: 50", NULL},
    {"after", 0, "ID", "those that are older than this one", NULL},
    {NULL, 0, NULL, NULL, NULL},
};
const struct rd_cli_option rd_cli_jobs_export_options[] = {
    {"status", 0, "STATUS", "only these: queued, running, complete, error or cancelled", STATUSES},
    {NULL, 0, NULL, NULL, NULL},
};

int rd_cli_job_code(const char *status, const char *error_code)
{
    if (strcmp(status, "complete") == 0) {
        return RENDER_OK;
    }
    bool cancelled = strcmp(status, "cancelled") == 0 || strcmp(error_code, "cancelled") == 0 ||
                     strcmp(error_code, "expired") == 0;
    return cancelled ? RENDER_ERR_CANCELLED : RENDER_ERR_SERVER;
}

static double number_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

void rd_cli_job_line(const render_job_event *event, const json_t *data, char *ret, size_t room)
{
    const char *name = event->name;
    if (strcmp(name, "position") == 0) {
        double eta = number_of(data, "eta_seconds");
        int len = snprintf(ret, room, "queued, position %.0f", number_of(data, "position"));
        if (eta > 0 && len > 0 && (size_t)len < room) {
            (void)snprintf(ret + len, room - (size_t)len, ", about %.0f s", eta);
        }
    } else if (strcmp(name, "progress") == 0) {
        (void)snprintf(ret, room, "running %.0f%%, step %.0f", 100 * number_of(data, "progress"),
                       number_of(data, "step"));
    } else if (strcmp(name, "complete") == 0) {
        (void)snprintf(ret, room, "complete %s", rd_cli_json_text(data, "output"));
    } else if (strcmp(name, "error") == 0) {
        (void)snprintf(ret, room, "error %s: %s", rd_cli_json_text(data, "code"),
                       rd_cli_json_text(data, "message"));
    } else if (strcmp(name, "missed") == 0) {
        (void)snprintf(ret, room, "missed %.0f events", number_of(data, "count"));
    } else {
        (void)snprintf(ret, room, "%s", name);
    }
}

json_t *rd_cli_job_parse(struct rd_cli *cli, const char *text)
{
    json_t *job = json_loads(text, 0, NULL);
    if (rd_cli_json_text(job, "status")[0] == '\0') {
        json_decref(job);
        int rc = rd_cli_fail(cli, RENDER_ERR_SERVER, "the gateway's answer is no job");
        (void)rc;
        return NULL;
    }
    return job;
}

/* ---- list ---- */

/* What is most worth knowing: how far, where it is, or why not. */
static void print_state(const json_t *job)
{
    const char *status = rd_cli_json_text(job, "status");
    if (strcmp(status, "queued") == 0) {
        (void)printf("position %.0f", number_of(job, "position"));
    } else if (strcmp(status, "running") == 0) {
        (void)printf("%.0f%%", 100 * number_of(job, "progress"));
    } else if (strcmp(status, "complete") == 0) {
        rd_cli_print_text(rd_cli_json_text(job, "output"), 0);
    } else {
        rd_cli_print_text(rd_cli_json_text(json_object_get(job, "error"), "message"), 0);
    }
    (void)putchar('\n');
}

static void print_row(const json_t *job)
{
    rd_cli_print_text(rd_cli_json_text(job, "id"), 25);
    (void)putchar(' ');
    rd_cli_print_text(rd_cli_json_text(job, "status"), 10);
    (void)putchar(' ');
    rd_cli_print_text(rd_cli_json_text(job, "model"), 16);
    (void)putchar(' ');
    rd_cli_print_text(rd_cli_json_text(job, "created_at"), 19);
    (void)putchar(' ');
    print_state(job);
}

/* One page; the object is the caller's. */
static int fetch_page(struct rd_cli *cli, const char *after, unsigned limit, json_t **ret)
{
    RD_AUTO_FREE char *text = NULL;
    render_status status = render_job_list(cli->client, cli->values[STATUS], after, limit, &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    json_t *page = json_loads(text, 0, NULL);
    if (!json_is_array(json_object_get(page, "jobs"))) {
        json_decref(page);
        return rd_cli_fail(cli, RENDER_ERR_SERVER, "the gateway's answer lists no jobs");
    }
    *ret = page;
    return RENDER_OK;
}

int rd_cli_jobs_list(struct rd_cli *cli)
{
    json_t *page = NULL;
    int64_t limit = 0;
    int rc = rd_cli_number(cli, LIMIT, 1, LIMIT_MAX, &limit);
    rc = rc == RENDER_OK ? rd_cli_connect(cli) : rc;
    rc = rc == RENDER_OK ? fetch_page(cli, cli->values[AFTER], (unsigned)limit, &page) : rc;
    if (rc != RENDER_OK) {
        return rc;
    }
    if (cli->json) {
        return rd_cli_print_json(cli, page);
    }
    const json_t *jobs = json_object_get(page, "jobs");
    (void)printf("%-25s %-10s %-16s %-19s %s\n", "ID", "STATUS", "MODEL", "CREATED", "");
    for (size_t i = 0; i < json_array_size(jobs); i++) {
        print_row(json_array_get(jobs, i));
    }
    const char *next = rd_cli_json_text(page, "next");
    if (next[0] != '\0' && !cli->quiet && rd_id_valid(next, "j_")) {
        (void)fprintf(stderr, "there are more: --after %s\n", next);
    }
    json_decref(page);
    return rd_cli_finish(cli);
}

/* ---- show and cancel ---- */

static void print_value(const char *name, const json_t *value)
{
    if (value == NULL || json_is_null(value)) {
        return;
    }
    RD_AUTO_FREE char *text =
        json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    (void)printf("%-14s ", name);
    rd_cli_print_text(json_is_string(value) ? json_string_value(value)
                      : text == NULL        ? ""
                                            : text,
                      0);
    (void)putchar('\n');
}

int rd_cli_jobs_show(struct rd_cli *cli)
{
    RD_AUTO_FREE char *text = NULL;
    int rc = rd_cli_connect(cli);
    if (rc != RENDER_OK) {
        return rc;
    }
    render_status status = render_job_get(cli->client, cli->words[0], &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    json_t *job = rd_cli_job_parse(cli, text);
    if (job == NULL) {
        return RENDER_ERR_SERVER;
    }
    if (cli->json) {
        return rd_cli_print_json(cli, job);
    }
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(job, name, value)
    {
        print_value(name, value);
    }
    json_decref(job);
    return rd_cli_finish(cli);
}

int rd_cli_jobs_cancel(struct rd_cli *cli)
{
    RD_AUTO_FREE char *text = NULL;
    int rc = rd_cli_connect(cli);
    if (rc != RENDER_OK) {
        return rc;
    }
    render_status status = render_job_cancel(cli->client, cli->words[0], &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    json_t *job = rd_cli_job_parse(cli, text);
    if (job == NULL) {
        return RENDER_ERR_SERVER;
    }
    if (cli->json) {
        return rd_cli_print_json(cli, job);
    }
    bool now = strcmp(rd_cli_json_text(job, "status"), "cancelled") == 0;
    json_decref(job);
    if (!cli->quiet) {
        (void)printf("%s %s\n", cli->words[0], now ? "is cancelled" : "is being stopped");
    }
    return rd_cli_finish(cli);
}

/* ---- export ---- */

/* A line of its own for one job, with its request. One that is gone since it was listed is left
 * out. */
static int export_one(struct rd_cli *cli, const char *id)
{
    RD_AUTO_FREE char *text = NULL;
    render_status status = render_job_get(cli->client, id, &text);
    if (status == RENDER_ERR_REFUSED) {
        rd_cli_warn(cli, "%.40s is gone since it was listed", id);
        return RENDER_OK;
    }
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    json_t *job = rd_cli_job_parse(cli, text);
    if (job == NULL) {
        return RENDER_ERR_SERVER;
    }
    int rc = json_dumpf(job, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(job);
    (void)putchar('\n');
    return rc == 0 && ferror(stdout) == 0 ? RENDER_OK : rd_cli_finish(cli);
}

int rd_cli_jobs_export(struct rd_cli *cli)
{
    char after[64] = "";
    json_t *page = NULL;
    int rc = rd_cli_connect(cli);
    bool more = true;
    while (rc == RENDER_OK && more) {
        rc = fetch_page(cli, after[0] == '\0' ? NULL : after, LIMIT_MAX, &page);
        const json_t *jobs = rc == RENDER_OK ? json_object_get(page, "jobs") : NULL;
        for (size_t i = 0; rc == RENDER_OK && i < json_array_size(jobs); i++) {
            rc = export_one(cli, rd_cli_json_text(json_array_get(jobs, i), "id"));
        }
        const char *next = rc == RENDER_OK ? rd_cli_json_text(page, "next") : "";
        more = rd_id_valid(next, "j_") && strlen(next) < sizeof after && strcmp(next, after) != 0;
        if (more) {
            memcpy(after, next, strlen(next) + 1);
        }
        json_decref(page);
        page = NULL;
    }
    return rc == RENDER_OK ? rd_cli_finish(cli) : rc;
}
