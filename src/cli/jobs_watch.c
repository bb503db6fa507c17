/* SPDX-License-Identifier: Apache-2.0
 *
 * `render jobs watch`: one thread and one connection for each job, since librender follows one at a
 * time, and the main thread draws. On a terminal it is a table that is drawn anew in place, as many
 * rows as fit; else a line for each event as it comes; with --json each line is a JSON object.
 *
 * `lock` guards the rows and standard output. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/jobs.h"

enum { JOBS_MAX = 64, DRAW_MS = 200, BAR = 20, STATUS_WIDTH = 10 };

struct row {
    struct watch *watch;
    pthread_t thread;
    bool started;
    render_client *client; /* owned */
    char id[64];
    char model[64];
    char status[16];
    char said[RD_CLI_JOB_TEXT_MAX]; /* of the last event */
    char code[64];                  /* of the error that it ended with */
    double progress;
    uint64_t began_ns;
    bool ended;
    int rc;
};

struct watch {
    struct rd_cli *cli;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct row rows[JOBS_MAX];
    unsigned count, open;
    unsigned drawn; /* lines that are on the terminal */
    bool table;
};

/* ---- one job: its own thread ---- */

static void print_event(struct row *row, const render_job_event *event, json_t *data)
{
    if (row->watch->cli->json) {
        json_t *line = json_pack("{s:s, s:s, s:I, s:O?}", "job_id", row->id, "event", event->name,
                                 "event_id", (json_int_t)event->id, "data", data);
        (void)json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
        json_decref(line);
    } else {
        (void)printf("%s ", row->id);
        rd_cli_print_text(row->said, 0);
    }
    (void)putchar('\n');
    (void)fflush(stdout);
}

/* What the event says about the row; with the lock held. */
static void take_event(struct row *row, const render_job_event *event, const json_t *data)
{
    static const char *const statuses[][2] = {{"position", "queued"},   {"started", "running"},
                                              {"progress", "running"},  {"preview", "running"},
                                              {"complete", "complete"}, {"error", "error"}};
    rd_cli_job_line(event, data, row->said, sizeof row->said);
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        if (strcmp(event->name, statuses[i][0]) == 0) {
            (void)snprintf(row->status, sizeof row->status, "%s", statuses[i][1]);
        }
    }
    if (strcmp(event->name, "progress") == 0) {
        row->progress = json_number_value(json_object_get(data, "progress"));
    } else if (strcmp(event->name, "complete") == 0) {
        row->progress = 1;
    } else if (strcmp(event->name, "error") == 0) {
        (void)snprintf(row->code, sizeof row->code, "%s", rd_cli_json_text(data, "code"));
    }
}

static int on_event(void *ctx, const render_job_event *event)
{
    struct row *row = ctx;
    struct watch *watch = row->watch;
    json_t *data = json_loads(event->data, 0, NULL);
    (void)pthread_mutex_lock(&watch->lock);
    take_event(row, event, data);
    if (!watch->table) {
        print_event(row, event, data);
    }
    (void)pthread_mutex_unlock(&watch->lock);
    json_decref(data);
    return 0;
}

static void *follow(void *ctx)
{
    struct row *row = ctx;
    struct watch *watch = row->watch;
    render_status status = render_job_watch(row->client, row->id, 0, on_event, row);
    (void)pthread_mutex_lock(&watch->lock);
    row->ended = true;
    row->rc = status == RENDER_OK ? rd_cli_job_code(row->status, row->code) : (int)status;
    if (status != RENDER_OK) {
        (void)snprintf(row->said, sizeof row->said, "%s", render_client_error(row->client));
        (void)snprintf(row->status, sizeof row->status, "lost");
    }
    watch->open--;
    (void)pthread_cond_signal(&watch->changed);
    (void)pthread_mutex_unlock(&watch->lock);
    return NULL;
}

/* ---- the table ---- */

static unsigned terminal_size(unsigned *ret_columns)
{
    struct winsize size = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
    *ret_columns = known && size.ws_col > 0 ? size.ws_col : 80;
    return known && size.ws_row > 2 ? size.ws_row : 24;
}

static void draw_row(const struct row *row, unsigned columns, uint64_t now_ns)
{
    char bar[BAR + 1];
    size_t full = (size_t)(row->progress * BAR + 0.5);
    for (size_t i = 0; i < BAR; i++) {
        bar[i] = i < full ? '#' : '.';
    }
    bar[BAR] = '\0';
    rd_cli_print_text(row->id, 25);
    (void)putchar(' ');
    rd_cli_print_text(row->status, STATUS_WIDTH);
    (void)printf(" [%s] %5.0f s ", bar, (double)(now_ns - row->began_ns) / 1e9);
    const int used = 25 + 1 + STATUS_WIDTH + BAR + 4 + 8;
    rd_cli_print_text(row->said, (int)columns - 1 > used ? (int)columns - 1 - used : 1);
}

/* With the lock held. Rows that have ended give way when there are more than lines. */
static void draw(struct watch *watch)
{
    unsigned columns = 0;
    unsigned lines = terminal_size(&columns) - 1;
    unsigned ended = watch->count - watch->open;
    unsigned skip = watch->count <= lines ? 0 : watch->count - (lines - 1);
    unsigned hidden = 0;
    uint64_t now_ns = rd_clock_mono_ns();
    if (watch->drawn > 0) {
        (void)printf("\x1b[%uA", watch->drawn);
    }
    watch->drawn = 0;
    for (unsigned i = 0; i < watch->count; i++) {
        struct row *row = &watch->rows[i];
        bool last_chance = watch->count - i <= skip - hidden;
        if (hidden < skip && (row->ended || last_chance)) {
            hidden++;
            continue;
        }
        (void)printf("\x1b[K");
        draw_row(row, columns, now_ns);
        (void)printf("\n");
        watch->drawn++;
    }
    if (hidden > 0) {
        (void)printf("\x1b[K%u more, %u of all have ended\n", hidden, ended);
        watch->drawn++;
    }
    (void)printf("\x1b[J");
    (void)fflush(stdout);
}

/* ---- which jobs ---- */

static int add(struct watch *watch, const char *id)
{
    struct row *row = &watch->rows[watch->count];
    if (!rd_id_valid(id, "j_") || strlen(id) >= sizeof row->id) {
        return rd_cli_fail(watch->cli, RENDER_ERR_USAGE,
                           "'%.60s' is no job's id; `render jobs list` shows them", id);
    }
    render_status status = render_client_copy(watch->cli->client, &row->client);
    if (status != RENDER_OK) {
        return rd_cli_fail(watch->cli, status, "out of memory");
    }
    memcpy(row->id, id, strlen(id) + 1);
    row->watch = watch;
    row->began_ns = rd_clock_mono_ns();
    (void)snprintf(row->status, sizeof row->status, "...");
    watch->count++;
    return RENDER_OK;
}

/* The caller's jobs in this state, as many as there is room for. */
static int add_all(struct watch *watch, const char *state)
{
    RD_AUTO_FREE char *text = NULL;
    unsigned room = JOBS_MAX - watch->count;
    if (room == 0) {
        return RENDER_OK;
    }
    render_status status = render_job_list(watch->cli->client, state, NULL, room, &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(watch->cli, status);
    }
    json_t *page = json_loads(text, 0, NULL);
    const json_t *jobs = json_object_get(page, "jobs");
    int rc = RENDER_OK;
    for (size_t i = 0; rc == RENDER_OK && i < json_array_size(jobs) && i < room; i++) {
        rc = add(watch, rd_cli_json_text(json_array_get(jobs, i), "id"));
    }
    if (rd_cli_json_text(page, "next")[0] != '\0') {
        rd_cli_warn(watch->cli, "there are more; the newest %d are watched", (int)JOBS_MAX);
    }
    json_decref(page);
    return rc;
}

static int choose(struct watch *watch)
{
    struct rd_cli *cli = watch->cli;
    int rc = RENDER_OK;
    for (size_t i = 0; rc == RENDER_OK && i < cli->word_count; i++) {
        rc = add(watch, cli->words[i]);
    }
    if (rc == RENDER_OK && cli->word_count == 0) {
        rc = add_all(watch, "running");
        rc = rc == RENDER_OK ? add_all(watch, "queued") : rc;
        if (rc == RENDER_OK && watch->count == 0 && !cli->quiet) {
            (void)fprintf(stderr, "no job of yours is queued or running\n");
        }
    }
    return rc;
}

/* ---- the whole ---- */

static void look_on(struct watch *watch)
{
    (void)pthread_mutex_lock(&watch->lock);
    while (watch->open > 0) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until); /* what a condition waits by */
        until.tv_nsec += DRAW_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (watch->table) {
            draw(watch);
        }
        (void)pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
    }
    if (watch->table && watch->count > 0) {
        draw(watch);
    }
    (void)pthread_mutex_unlock(&watch->lock);
}

static int run(struct watch *watch)
{
    int rc = choose(watch);
    if (rc != RENDER_OK) {
        return rc;
    }
    for (unsigned i = 0; i < watch->count; i++) {
        struct row *row = &watch->rows[i];
        (void)pthread_mutex_lock(&watch->lock);
        watch->open++;
        (void)pthread_mutex_unlock(&watch->lock);
        row->started = pthread_create(&row->thread, NULL, follow, row) == 0;
        if (!row->started) {
            (void)pthread_mutex_lock(&watch->lock);
            watch->open--;
            row->rc = RENDER_ERR_MEMORY;
            (void)pthread_mutex_unlock(&watch->lock);
        }
    }
    look_on(watch);
    for (unsigned i = 0; i < watch->count; i++) {
        struct row *row = &watch->rows[i];
        if (row->started) {
            (void)pthread_join(row->thread, NULL);
        }
        if (strcmp(row->status, "lost") == 0) {
            (void)fprintf(stderr, "render: %s: %s\n", row->id, row->said);
        }
        rc = rc == RENDER_OK ? row->rc : rc;
    }
    int written = rd_cli_finish(watch->cli);
    return rc == RENDER_OK ? written : rc;
}

int rd_cli_jobs_watch(struct rd_cli *cli)
{
    const char *term = getenv("TERM");
    int rc = rd_cli_connect(cli);
    struct watch *watch = rc == RENDER_OK ? rd_mem_alloc(sizeof *watch) : NULL;
    if (rc != RENDER_OK || watch == NULL) {
        return rc != RENDER_OK ? rc : rd_cli_fail(cli, RENDER_ERR_MEMORY, "out of memory");
    }
    watch->cli = cli;
    watch->table = !cli->json && isatty(STDOUT_FILENO) && term != NULL && term[0] != '\0' &&
                   strcmp(term, "dumb") != 0;
    if (pthread_mutex_init(&watch->lock, NULL) != 0 ||
        pthread_cond_init(&watch->changed, NULL) != 0) {
        rd_mem_free(watch);
        return rd_cli_fail(cli, RENDER_ERR_MEMORY, "out of memory");
    }
    rc = run(watch);
    for (unsigned i = 0; i < watch->count; i++) {
        render_client_free(watch->rows[i].client);
    }
    (void)pthread_cond_destroy(&watch->changed);
    (void)pthread_mutex_destroy(&watch->lock);
    rd_mem_free(watch);
    return rc;
}
