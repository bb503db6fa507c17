/* SPDX-License-Identifier: Apache-2.0
 *
 * What a command prints: lines of the protocol, each a JSON object, and whatever its libraries
 * print among them, which is kept as its last words and otherwise means nothing. So a stray
 * "Loading pipeline..." costs no picture, and garbage is bounded like anything else: the length of
 * a line, the number of lines, and, by not reading faster (run.c), their rate. */
#include <math.h>
#include <string.h>

#include "engine/http/reply.h"
#include "engine/process/folder.h"
#include "engine/process/internal.h"

static void take_progress(struct rd_engine_run *run, const struct rd_process_line *line)
{
    const struct rd_generation *generation = run->job.generation;
    if (run->job.sink.progress == NULL || (!line->has_progress && !line->has_step)) {
        return;
    }
    unsigned step = line->has_step ? line->step : run->step;
    step = step < generation->steps ? step : generation->steps;
    double part = line->has_progress      ? line->progress
                  : generation->steps > 0 ? (double)step / generation->steps
                                          : 0;
    if (!line->has_step) {
        step = (unsigned)lround(part * generation->steps);
    }
    double fraction = (run->output + part) / generation->count;
    if (fraction >= run->fraction) { /* it never goes back */
        run->fraction = fraction;
        run->step = step;
        run->job.sink.progress(run->job.sink.ctx, fraction, step);
    }
}

/* A preview that is not what it should be is left out. */
static void take_preview(struct rd_engine_run *run, const char *name)
{
    static const enum rd_media known[] = {RD_MEDIA_PNG, RD_MEDIA_WEBP, RD_MEDIA_JPEG};
    char path[PATH_MAX];
    struct rd_process_output file = {.fd = -1};
    size_t len = 0;
    if (run->job.sink.preview == NULL ||
        rd_process_folder_path(run->folder, name, path, NULL) != RD_OK ||
        rd_process_output_open(&file, path, RD_ENGINE_HELD_MAX, NULL) != RD_OK) {
        return;
    }
    uint8_t *bytes = run->engine->buffer;
    rd_err err = rd_process_output_read(&file, bytes, RD_ENGINE_HELD_MAX, &len, NULL);
    rd_process_output_close(&file);
    if (err != RD_OK || len != file.size || len < RD_HTTP_MAGIC_LEN) {
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (rd_http_magic_is(bytes, known[i])) {
            run->job.sink.preview(run->job.sink.ctx, known[i], bytes, len);
            return;
        }
    }
}

static void take(struct rd_engine_run *run, const struct rd_process_line *line)
{
    if (line->has_device_ns) {
        run->told_ns = line->device_ns;
    }
    if (line->device[0] != '\0') {
        memcpy(run->device, line->device, sizeof run->device);
    }
    take_progress(run, line);
    if (line->preview[0] != '\0') {
        take_preview(run, line->preview);
    }
    if (line->has_error) {
        struct rd_why why;
        (void)rd_why_set(&why, RD_OK, "the command says: %s",
                         line->error[0] != '\0' ? line->error : "error, without words");
        run->final = !line->retriable;
        run->faultless = !line->retriable; /* the request is at fault */
        rd_process_run_stop(run, RD_ERR_BACKEND_FAILED, why.text);
    }
}

static void line_ends(struct rd_engine_run *run)
{
    struct rd_process_line line;
    run->window_lines++;
    if (++run->lines > RD_PROCESS_LINES_MAX) {
        struct rd_why why;
        (void)rd_why_set(&why, RD_OK, "the command printed more than %d lines",
                         RD_PROCESS_LINES_MAX);
        run->final = run->err == RD_OK || run->final;
        rd_process_run_stop(run, RD_ERR_BACKEND_FAILED, why.text);
    } else if (!run->line_long && run->line_len > 0 && run->line[0] == '{' &&
               rd_process_line_parse(run->line, run->line_len, &line)) {
        take(run, &line);
    } else {
        rd_process_words_add(&run->words, run->line, run->line_len);
        rd_process_words_add(&run->words, "\n", 1);
    }
    run->line_len = 0;
    run->line_long = false;
}

void rd_process_stdout_bytes(struct rd_engine_run *run, const char *bytes, size_t len)
{
    while (len > 0 && run->err == RD_OK) { /* of a run that is stopped, nothing counts any more */
        const char *newline = memchr(bytes, '\n', len);
        size_t part = newline != NULL ? (size_t)(newline - bytes) : len;
        size_t room = sizeof run->line - run->line_len;
        size_t kept = part < room ? part : room;
        memcpy(run->line + run->line_len, bytes, kept);
        run->line_len += kept;
        run->line_long = run->line_long || kept < part;
        if (newline == NULL) {
            return;
        }
        line_ends(run);
        bytes += part + 1;
        len -= part + 1;
    }
}
