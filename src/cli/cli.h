/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line program `render`, over librender. A command is a row of the table in main.c: a
 * name, a help, a table of options, a function. Parsing, help and the shells' completions all read
 * the same tables, so they cannot tell different stories.
 *
 * What is asked for goes to stdout; progress, warnings and errors go to stderr. With --json, stdout
 * gets exactly one JSON value, also when the command fails. Exit codes are render_status. */
#ifndef RD_CLI_CLI_H
#define RD_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "render.h"

enum {
    RD_CLI_OPTIONS_MAX = 32, /* own and common options of a command */
    RD_CLI_WORDS_MAX = 64,   /* positional arguments */
    RD_CLI_SETS_MAX = 64,    /* repetitions of --set */
    RD_CLI_URL_MAX = 4096,
};

struct rd_cli_option {
    const char *name;     /* without "--"; NULL ends a table */
    char letter;          /* 0: none */
    const char *argument; /* what follows, for the help; NULL: a flag */
    const char *help;
    const char *choices; /* NULL, "@file", or words with spaces between: for completion */
};

/* Positions of the common options; a command's own begin at RD_CLI_OWN. */
enum {
    RD_CLI_URL,
    RD_CLI_KEY_FILE,
    RD_CLI_CA_FILE,
    RD_CLI_JSON,
    RD_CLI_QUIET,
    RD_CLI_HELP,
    RD_CLI_OWN,
};
extern const struct rd_cli_option rd_cli_common[RD_CLI_OWN + 1];

struct rd_cli_command;

struct rd_cli {
    const struct rd_cli_command *command;
    const char *values[RD_CLI_OPTIONS_MAX]; /* by position; NULL: not given; "" for a flag */
    const char *sets[RD_CLI_SETS_MAX];      /* what --set was given, in order */
    size_t set_count;
    const char *words[RD_CLI_WORDS_MAX];
    size_t word_count;
    render_client *client; /* once rd_cli_connect succeeded */
    bool json, quiet;
};

struct rd_cli_command {
    const char *name;  /* one or two words */
    const char *words; /* "PROMPT", "[FILE]": positional arguments, for the usage line */
    size_t words_min, words_max;
    const char *summary;                 /* one line */
    const char *help;                    /* examples and what one should know */
    const struct rd_cli_option *options; /* own ones, NULL-ended; NULL: none */
    const char *choices; /* of the first word, for completion; as in rd_cli_option */
    int (*run)(struct rd_cli *cli);
};
extern const struct rd_cli_command rd_cli_commands[]; /* ended by a NULL name */

/* options.c: fills `cli` from the arguments behind the command's name. RENDER_ERR_USAGE after
 * saying on stderr what is wrong and what to do. */
int rd_cli_parse(struct rd_cli *cli, int argc, char **argv) RD_MUST;
void rd_cli_print_help(const struct rd_cli_command *command); /* NULL: of the program */
const struct rd_cli_option *rd_cli_option_at(const struct rd_cli_command *command, size_t position);

/* session.c */
int rd_cli_connect(struct rd_cli *cli) RD_MUST; /* URL and key from options, files, environment */
/* Says what the client ran into (and, with --json, prints it); returns the exit code. */
int rd_cli_client_failed(struct rd_cli *cli, render_status status);
/* The same for what this program itself found. */
int rd_cli_fail(struct rd_cli *cli, render_status status, const char *fmt, ...) RD_PRINTF(3, 4);
void rd_cli_warn(const struct rd_cli *cli, const char *fmt, ...) RD_PRINTF(2, 3);
void rd_cli_progress_begin(struct rd_cli *cli, const char *what);
/* Another text for the line; drawn at once. */
void rd_cli_progress_say(struct rd_cli *cli, const char *what);
void rd_cli_progress_end(struct rd_cli *cli);
/* Prints a JSON value on stdout and frees it. */
int rd_cli_print_json(struct rd_cli *cli, json_t *value) RD_MUST;
/* Flushes stdout; the exit code. */
int rd_cli_finish(struct rd_cli *cli) RD_MUST;
/* A server's text on a terminal: control characters become '?'. At most `width` bytes, then padded
 * to it (0: all, no padding). */
void rd_cli_print_text(const char *text, int width);
const char *rd_cli_json_text(const json_t *object, const char *name); /* "" when it is no text */

/* files.c */
/* Replaces FILE (whole or not at all); "-" is stdout; devices and pipes are written to. */
int rd_cli_save(struct rd_cli *cli, const char *file, const void *bytes, size_t len,
                bool secret) RD_MUST;
/* The whole file, with a NUL behind it; "-" is stdin. Free with rd_mem_free. */
int rd_cli_read(struct rd_cli *cli, const char *file, size_t max, char **ret,
                size_t *ret_len) RD_MUST;
const char *rd_cli_extension(const char *content_type); /* ".png"; ".bin" for anything unknown */
/* "a_0123456789ab.png": the name of an asset's file when none was given. */
void rd_cli_default_name(const char *asset_url, const char *content_type, char ret[64]);
#define RD_CLI_ATTESTATION_SUFFIX ".intoto.json"
/* The asset's path on the gateway that we talk to: its own idea of its URL may be of no use here.
 */
void rd_cli_asset_path(const char *asset_url, char *ret, size_t room);
/* Fetches an asset's attestation and writes it beside FILE. *ret_name gets its name (rd_mem_free),
 * or NULL when there is none yet: then a warning was printed, since the file itself is good. */
int rd_cli_save_attestation(struct rd_cli *cli, const char *asset_url, const char *file,
                            char **ret_name) RD_MUST;
int rd_cli_save_jwks(struct rd_cli *cli, const char *file) RD_MUST;

/* The commands; their option tables stand beside them. */
int rd_cli_generate(struct rd_cli *cli);
int rd_cli_models(struct rd_cli *cli);
int rd_cli_backends(struct rd_cli *cli);
int rd_cli_upload(struct rd_cli *cli);
int rd_cli_fetch(struct rd_cli *cli);
int rd_cli_reveal(struct rd_cli *cli);
int rd_cli_verify(struct rd_cli *cli);
int rd_cli_keys_create(struct rd_cli *cli);
int rd_cli_keys_list(struct rd_cli *cli);
int rd_cli_keys_revoke(struct rd_cli *cli);
int rd_cli_webhooks_list(struct rd_cli *cli);
int rd_cli_webhooks_replay(struct rd_cli *cli);
int rd_cli_webhooks_test(struct rd_cli *cli);
int rd_cli_webhooks_secret(struct rd_cli *cli);
int rd_cli_jobs_submit(struct rd_cli *cli);
int rd_cli_jobs_list(struct rd_cli *cli);
int rd_cli_jobs_show(struct rd_cli *cli);
int rd_cli_jobs_cancel(struct rd_cli *cli);
int rd_cli_jobs_watch(struct rd_cli *cli);
int rd_cli_jobs_export(struct rd_cli *cli);
int rd_cli_completion(struct rd_cli *cli);
extern const struct rd_cli_option rd_cli_generate_options[], rd_cli_fetch_options[],
    rd_cli_jobs_submit_options[], rd_cli_jobs_list_options[], rd_cli_jobs_export_options[],
    rd_cli_verify_options[], rd_cli_keys_create_options[], rd_cli_webhooks_list_options[],
    rd_cli_webhooks_secret_options[];

#endif
