/* SPDX-License-Identifier: Apache-2.0
 *
 * What `render generate` and `render jobs submit` share: options that become a request, and outputs
 * that become files. The options stand first in the table of either, in this order. */
#ifndef RD_CLI_GENERATION_H
#define RD_CLI_GENERATION_H

#include "cli/cli.h"

enum {
    RD_CLI_GEN_MODEL = RD_CLI_OWN,
    RD_CLI_GEN_OUTPUT,
    RD_CLI_GEN_FORMAT,
    RD_CLI_GEN_BACKEND,
    RD_CLI_GEN_SEED,
    RD_CLI_GEN_STEPS,
    RD_CLI_GEN_COUNT,
    RD_CLI_GEN_IMAGE,
    RD_CLI_GEN_MASK,
    RD_CLI_GEN_VIDEO,
    RD_CLI_GEN_TASK,
    RD_CLI_GEN_TYPE,
    RD_CLI_GEN_SET,
    RD_CLI_GEN_NO_ATTESTATION,
    RD_CLI_GEN_SAVE_JWKS,
    RD_CLI_GEN_END, /* where a command's further options begin */
    RD_CLI_GEN_COUNT_MAX = 4,
};

#define RD_CLI_GENERATION_OPTIONS                                                                  \
    {"model", 'm', "MODEL", "family/model or a model-hub id", NULL},                               \
        {"output", 'o', "FILE", "where to; '-' is standard output", "@file"},                      \
        {"format", 0, "NAME", "size: 1024, 512, portrait, landscape, 720p, ...",                   \
         "1024 512 portrait portrait-wide landscape landscape-wide 720p 720p-portrait 480p "       \
         "480p-portrait "                                                                          \
         "square"},                                                                                \
        {"backend", 0, "NAME", "the backend to use, as `render models` lists it", NULL},           \
        {"seed", 0, "N", "the same seed gives the same output", NULL},                             \
        {"steps", 0, "N", "refinement steps", NULL},                                               \
        {"count", 0, "N", "1 to 4 pictures; files get -1, -2, ...", "1 2 3 4"},                    \
        {"image", 0, "FILE", "start from this picture (file or URL)", "@file"},                    \
        {"mask", 0, "FILE", "edit only where this picture is white", "@file"},                     \
        {"video", 0, NULL, "make a video", NULL},                                                  \
        {"task", 0, "TASK", "t2i, i2i, edit, t2v or i2v; else by the inputs",                      \
         "t2i i2i edit t2v i2v"},                                                                  \
        {"type", 0, "TYPE", "png, webp or jpeg; else by FILE's name", "png webp jpeg"},            \
        {"set", 0, "FIELD=VALUE", "any further field; may be repeated", NULL},                     \
        {"no-attestation", 0, NULL, "write only the output", NULL},                                \
    {                                                                                              \
        "save-jwks", 0, "FILE", "also save the gateway's public keys", "@file"                     \
    }

struct rd_cli_generation {
    struct rd_cli *cli;
    render_generate_request request;
    unsigned count;
    const char *file; /* what -o says, or NULL */
    char *prompt;     /* owned, when it came from stdin */
    char *fields;     /* owned, jansson's: free() */
    json_t *rows;     /* owned: what --json will print */
};

/* Reads the options and the prompt. Release with rd_cli_generation_done in every case. */
int rd_cli_generation_prepare(struct rd_cli_generation *job) RD_MUST;
/* Writes output `index` to its file, with its attestation, and tells where or notes a row. */
int rd_cli_generation_save(struct rd_cli_generation *job, const render_output *output,
                           unsigned index) RD_MUST;
void rd_cli_generation_done(struct rd_cli_generation *job);
/* A whole number that an option gives; *ret is untouched when it is not given. */
int rd_cli_number(struct rd_cli *cli, int option, uint64_t min, uint64_t max, int64_t *ret) RD_MUST;

#endif
