/* SPDX-License-Identifier: Apache-2.0
 *
 * Options become a render_generate_request; the outputs become files. See generation.h. */
#include "cli/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

_Static_assert((int)RD_CLI_GEN_END <= (int)RD_CLI_OPTIONS_MAX, "every option has its place");

enum { PROMPT_MAX = 64 * 1024 };

int rd_cli_number(struct rd_cli *cli, int option, uint64_t min, uint64_t max, int64_t *ret)
{
    const char *text = cli->values[option];
    uint64_t value = 0;
    if (text == NULL) {
        return RENDER_OK;
    }
    if (!rd_text_u64(text, strlen(text), &value) || value < min || value > max) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "--%s: a whole number from %llu to %llu",
                           rd_cli_option_at(cli->command, (size_t)option)->name,
                           (unsigned long long)min, (unsigned long long)max);
    }
    *ret = (int64_t)value;
    return RENDER_OK;
}

/* VALUE is JSON when it reads as JSON, else text: steps=8, lightning=true, sampler=euler,
 * lora=[...] */
static int set_field(struct rd_cli *cli, json_t *fields, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || equals == assignment) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "--set %.100s: write FIELD=VALUE", assignment);
    }
    json_t *value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
    if (value == NULL) {
        value = json_string(equals + 1);
    }
    char name[128];
    size_t len = (size_t)(equals - assignment);
    if (value == NULL || len >= sizeof name) {
        json_decref(value);
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "--set %.100s: not text in UTF-8, or too long",
                           assignment);
    }
    memcpy(name, assignment, len);
    name[len] = '\0';
    return json_object_set_new(fields, name, value) == 0
               ? RENDER_OK
               : rd_cli_fail(cli, RENDER_ERR_USAGE, "--set %.100s: not text in UTF-8", assignment);
}

static int make_fields(struct rd_cli_generation *job)
{
    struct rd_cli *cli = job->cli;
    int64_t steps = -1;
    int rc = rd_cli_number(cli, RD_CLI_GEN_STEPS, 1, 1000, &steps);
    json_t *fields = json_object();
    for (size_t i = 0; rc == RENDER_OK && i < cli->set_count; i++) {
        rc = set_field(cli, fields, cli->sets[i]);
    }
    if (rc == RENDER_OK && steps > 0) {
        (void)json_object_set_new(fields, "steps", json_integer(steps));
    }
    if (rc == RENDER_OK) {
        job->fields = json_dumps(fields, JSON_COMPACT);
        job->request.fields_json = job->fields;
        rc = job->fields != NULL ? RENDER_OK : rd_cli_fail(cli, RENDER_ERR_MEMORY, "out of memory");
    }
    json_decref(fields);
    return rc;
}

/* By --type, else by the file's name, else what the gateway gives (PNG). */
static int choose_type(struct rd_cli_generation *job)
{
    static const char *const types[][3] = {{"png", ".png", "image/png"},
                                           {"webp", ".webp", "image/webp"},
                                           {"jpeg", ".jpeg", "image/jpeg"},
                                           {"jpg", ".jpg", "image/jpeg"}};
    const char *named = job->cli->values[RD_CLI_GEN_TYPE];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bool by_name = named == NULL && job->file != NULL && rd_text_ends(job->file, types[i][1]);
        if (by_name || (named != NULL && strcmp(named, types[i][0]) == 0)) {
            if (job->request.video) {
                return rd_cli_fail(job->cli, RENDER_ERR_USAGE,
                                   "a video is an MP4: name the file .mp4 and leave --type out");
            }
            job->request.content_type = types[i][2];
            return RENDER_OK;
        }
    }
    if (named != NULL) {
        return rd_cli_fail(job->cli, RENDER_ERR_USAGE, "--type: png, webp or jpeg");
    }
    if (job->file != NULL && rd_text_ends(job->file, ".mp4") && !job->request.video) {
        return rd_cli_fail(job->cli, RENDER_ERR_USAGE, "%.200s: for a video give --video as well",
                           job->file);
    }
    return RENDER_OK;
}

static int choose_prompt(struct rd_cli_generation *job)
{
    job->request.prompt = job->cli->words[0];
    if (strcmp(job->request.prompt, "-") != 0) {
        return RENDER_OK;
    }
    size_t len = 0;
    int rc = rd_cli_read(job->cli, "-", PROMPT_MAX, &job->prompt, &len);
    if (rc != RENDER_OK) {
        return rc;
    }
    while (len > 0 && (job->prompt[len - 1] == '\n' || job->prompt[len - 1] == '\r')) {
        job->prompt[--len] = '\0';
    }
    job->request.prompt = job->prompt;
    return RENDER_OK;
}

int rd_cli_generation_prepare(struct rd_cli_generation *job)
{
    struct rd_cli *cli = job->cli;
    const char *model = getenv("RENDER_MODEL");
    int64_t count = 1;
    job->file = cli->values[RD_CLI_GEN_OUTPUT];
    job->request = (render_generate_request)RENDER_GENERATE_REQUEST_INIT;
    job->request.model = cli->values[RD_CLI_GEN_MODEL] != NULL ? cli->values[RD_CLI_GEN_MODEL]
                         : model != NULL && model[0] != '\0'   ? model
                                                               : "builtin/plasma";
    job->request.task = cli->values[RD_CLI_GEN_TASK];
    job->request.format = cli->values[RD_CLI_GEN_FORMAT];
    job->request.backend = cli->values[RD_CLI_GEN_BACKEND];
    job->request.image_file = cli->values[RD_CLI_GEN_IMAGE];
    job->request.mask_file = cli->values[RD_CLI_GEN_MASK];
    job->request.video = cli->values[RD_CLI_GEN_VIDEO] != NULL;
    int rc = rd_cli_number(cli, RD_CLI_GEN_SEED, 0, UINT32_MAX, &job->request.seed);
    rc = rc == RENDER_OK ? rd_cli_number(cli, RD_CLI_GEN_COUNT, 1, RD_CLI_GEN_COUNT_MAX, &count)
                         : rc;
    job->count = (unsigned)count;
    if (rc == RENDER_OK && job->file != NULL && strcmp(job->file, "-") == 0 &&
        (count > 1 || cli->json || isatty(STDOUT_FILENO))) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE,
                           "-o -: writes one output to a pipe or a file, not to a terminal and not "
                           "together with --json or --count");
    }
    rc = rc == RENDER_OK ? choose_type(job) : rc;
    rc = rc == RENDER_OK ? make_fields(job) : rc;
    return rc == RENDER_OK ? choose_prompt(job) : rc;
}

/* "out.png" becomes "out-2.png" for the second of several. */
static void file_name(const struct rd_cli_generation *job, const render_output *output,
                      unsigned index, struct rd_buf *ret)
{
    char named[64];
    const char *file = job->file;
    if (file == NULL) {
        rd_cli_default_name(output->asset_url, output->content_type, named);
        rd_buf_str(ret, named); /* by content: several differ, or are the same */
        return;
    }
    const char *slash = strrchr(file, '/');
    const char *dot = strrchr(slash == NULL ? file : slash + 1, '.');
    size_t stem = dot == NULL || dot == file ? strlen(file) : (size_t)(dot - file);
    rd_buf_append(ret, file, stem);
    if (job->count > 1) {
        rd_buf_printf(ret, "-%u", index + 1);
    }
    rd_buf_str(ret, file + stem);
}

static int note_row(struct rd_cli_generation *job, const char *file, const render_output *output,
                    const char *attestation)
{
    json_t *row = json_pack("{s:s, s:s, s:s?, s:I, s:I, s:s?}", "file", file, "content_type",
                            output->content_type, "asset_url", output->asset_url, "bytes",
                            (json_int_t)output->len, "seed", (json_int_t)output->seed,
                            "attestation", attestation);
    return row != NULL && json_array_append_new(job->rows, row) == 0
               ? RENDER_OK
               : rd_cli_fail(job->cli, RENDER_ERR_IO, "%s: not a name in UTF-8", file);
}

int rd_cli_generation_save(struct rd_cli_generation *job, const render_output *output,
                           unsigned index)
{
    struct rd_cli *cli = job->cli;
    RD_AUTO_BUF struct rd_buf file;
    RD_AUTO_FREE char *attestation = NULL;
    rd_buf_init(&file, RD_CLI_URL_MAX);
    file_name(job, output, index, &file);
    if (rd_buf_err(&file) != RD_OK) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "the file's name is too long");
    }
    int rc = rd_cli_save(cli, file.data, output->bytes, output->len, false);
    bool to_stdout = strcmp(file.data, "-") == 0;
    if (rc == RENDER_OK && cli->values[RD_CLI_GEN_NO_ATTESTATION] == NULL && !to_stdout &&
        output->asset_url != NULL) {
        rc = rd_cli_save_attestation(cli, output->asset_url, file.data, &attestation);
    }
    if (rc != RENDER_OK || to_stdout) {
        return rc;
    }
    if (cli->json) {
        return note_row(job, file.data, output, attestation);
    }
    (void)printf("%s  %s, %zu bytes, seed %lu\n", file.data, output->content_type, output->len,
                 (unsigned long)output->seed);
    if (!cli->quiet && output->asset_url != NULL) {
        (void)printf("  asset        ");
        rd_cli_print_text(output->asset_url, 0);
        (void)printf("\n");
    }
    if (!cli->quiet && attestation != NULL) {
        (void)printf("  attestation  %s\n", attestation);
    }
    return RENDER_OK;
}

void rd_cli_generation_done(struct rd_cli_generation *job)
{
    rd_mem_free(job->prompt);
    rd_mem_free(job->fields); /* jansson's allocator is malloc */
    json_decref(job->rows);
}
