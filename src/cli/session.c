/* SPDX-License-Identifier: Apache-2.0
 *
 * What the commands share: connecting, telling errors, progress, printing.
 *
 * Progress is a line on stderr that is rewritten in place, only when stderr is a terminal that can
 * do so: a log or a pipe never gets half-lines. It is drawn from librender's progress function. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"

enum { KEY_FILE_MAX = 4096, BAR_WIDTH = 24 };

static struct progress {
    const char *what; /* NULL: no line is drawn */
    char said[64];
    uint64_t begin_ns, drawn_ns;
} progress; /* one command, one thread */

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

/* The first line of the file, without white space around it. */
static int read_key(struct rd_cli *cli, const char *file, char **ret)
{
    char *text = NULL;
    size_t len = 0;
    int rc = rd_cli_read(cli, file, KEY_FILE_MAX, &text, &len);
    if (rc != RENDER_OK) {
        return rc;
    }
    struct stat info;
    if (strcmp(file, "-") != 0 && stat(file, &info) == 0 && S_ISREG(info.st_mode) &&
        (info.st_mode & 077) != 0) {
        rd_cli_warn(cli, "%s can be read by other users; run `chmod 600` on it", file);
    }
    size_t start = strspn(text, " \t\r\n");
    size_t end = start + strcspn(text + start, " \t\r\n");
    if (start == end) {
        rd_mem_free(text);
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "%s holds no key", file);
    }
    memmove(text, text + start, end - start);
    text[end - start] = '\0';
    *ret = text;
    return RENDER_OK;
}

int rd_cli_connect(struct rd_cli *cli)
{
    const char *url = cli->values[RD_CLI_URL];
    url = url != NULL ? url : from_environment("RENDER_URL");
    url = url != NULL ? url : "http://127.0.0.1:8080";
    RD_AUTO_FREE char *from_file = NULL;
    const char *key = from_environment("RENDER_API_KEY");
    if (cli->values[RD_CLI_KEY_FILE] != NULL) {
        int rc = read_key(cli, cli->values[RD_CLI_KEY_FILE], &from_file);
        if (rc != RENDER_OK) {
            return rc;
        }
        key = from_file;
    }
    render_status status = render_client_new(url, key, &cli->client);
    if (from_file != NULL) {
        rd_mem_wipe(from_file, strlen(from_file));
    }
    if (status == RENDER_OK) {
        status = render_client_ca_file(cli->client, cli->values[RD_CLI_CA_FILE]);
    }
    if (status == RENDER_ERR_USAGE) {
        return rd_cli_fail(cli, status,
                           "cannot use the URL '%s'%s: a URL looks like http://127.0.0.1:8080 or "
                           "https://render.example, without a user or a query",
                           url,
                           key == NULL ? "" : " or the key (one word of at most 256 characters)");
    }
    return status == RENDER_OK ? RENDER_OK : rd_cli_fail(cli, status, "out of memory");
}

/* What would help, by status; NULL: the message says it all. */
static const char *advice(const struct rd_cli *cli, render_status status)
{
    switch (status) {
    case RENDER_ERR_CONNECT:
        return "is render-gateway running there? --url or RENDER_URL says where to look";
    case RENDER_ERR_AUTH:
        return cli->values[RD_CLI_KEY_FILE] == NULL && from_environment("RENDER_API_KEY") == NULL
                   ? "no key was sent: set RENDER_API_KEY, or give --key-file FILE"
                   : "the key may be revoked, expired, of another gateway, or lack a scope: "
                     "`render keys "
                     "list` with an administrator's key shows it";
    case RENDER_OK:
    case RENDER_ERR_USAGE:
    case RENDER_ERR_REFUSED:
    case RENDER_ERR_BUSY:
    case RENDER_ERR_SERVER:
    case RENDER_ERR_MEMORY:
    case RENDER_ERR_IO:
    case RENDER_ERR_UNVERIFIED:
    case RENDER_ERR_CANCELLED:
        break;
    }
    return NULL;
}

static void print_error_json(struct rd_cli *cli, render_status status, const char *message)
{
    if (!cli->json) {
        return;
    }
    json_t *error = json_pack("{s:s, s:i, s:s}", "error", render_status_name(status), "exit_code",
                              (int)status, "message", message);
    if (error != NULL && cli->client != NULL) {
        const char *id = render_client_request_id(cli->client);
        int retry_after = render_client_retry_after(cli->client);
        if (id[0] != '\0') {
            (void)json_object_set_new(error, "request_id", json_string(id));
        }
        if (retry_after >= 0) {
            (void)json_object_set_new(error, "retry_after_s", json_integer(retry_after));
        }
    }
    int rc = rd_cli_print_json(cli, error);
    (void)rc; /* the command has failed already, with a code that says more */
}

int rd_cli_client_failed(struct rd_cli *cli, render_status status)
{
    rd_cli_progress_end(cli);
    const char *hint = advice(cli, status);
    (void)fprintf(stderr, "render: %s\n", render_client_error(cli->client));
    if (hint != NULL) {
        (void)fprintf(stderr, "  %s\n", hint);
    }
    print_error_json(cli, status, render_client_error(cli->client));
    return (int)status;
}

int rd_cli_fail(struct rd_cli *cli, render_status status, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    rd_cli_progress_end(cli);
    (void)fprintf(stderr, "render: %s\n", text);
    print_error_json(cli, status, text);
    return (int)status;
}

void rd_cli_warn(const struct rd_cli *cli, const char *fmt, ...)
{
    if (cli->quiet) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    (void)fprintf(stderr, "render: warning: ");
    (void)vfprintf(stderr, fmt, args);
    (void)fprintf(stderr, "\n");
    va_end(args);
}

static int draw(void *ctx, uint64_t received, uint64_t expected)
{
    struct progress *p = ctx;
    uint64_t now = rd_clock_mono_ns();
    if (p->what == NULL || now - p->drawn_ns < 100000000) {
        return 0; /* ten times a second is enough */
    }
    p->drawn_ns = now;
    double seconds = (double)(now - p->begin_ns) / 1e9;
    char bar[BAR_WIDTH + 3] = "";
    if (expected > 0) {
        size_t full = (size_t)((double)received / (double)expected * BAR_WIDTH);
        full = full > BAR_WIDTH ? BAR_WIDTH : full;
        bar[0] = '[';
        memset(bar + 1, '#', full);
        memset(bar + 1 + full, '.', BAR_WIDTH - full);
        bar[BAR_WIDTH + 1] = ']';
    }
    (void)fprintf(stderr, "\r\x1b[K%.40s %s %.1f s", p->what, bar, seconds);
    if (p->what != p->said) { /* bytes, where they are what one waits for */
        (void)fprintf(stderr, ", %.1f KiB", (double)received / 1024);
    }
    (void)fflush(stderr);
    return 0;
}

void rd_cli_progress_begin(struct rd_cli *cli, const char *what)
{
    const char *term = from_environment("TERM");
    if (cli->quiet || !isatty(STDERR_FILENO) || term == NULL || strcmp(term, "dumb") == 0) {
        return;
    }
    progress.what = what;
    progress.begin_ns = rd_clock_mono_ns();
    render_client_on_progress(cli->client, draw, &progress);
    (void)fprintf(stderr, "%.40s ...", what);
    (void)fflush(stderr);
}

void rd_cli_progress_say(struct rd_cli *cli, const char *what)
{
    if (progress.what != NULL) {
        (void)snprintf(progress.said, sizeof progress.said, "%s", what);
        progress.what = progress.said;
        progress.drawn_ns = 0;
        (void)cli;
        (void)draw(&progress, 0, 0);
    }
}

void rd_cli_progress_end(struct rd_cli *cli)
{
    if (progress.what != NULL) {
        progress.what = NULL;
        render_client_on_progress(cli->client, NULL, NULL);
        (void)fprintf(stderr, "\r\x1b[K");
        (void)fflush(stderr);
    }
}

int rd_cli_print_json(struct rd_cli *cli, json_t *value)
{
    int rc = value == NULL ? -1
                           : json_dumpf(value, stdout,
                                        JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    json_decref(value);
    if (rc != 0) {
        (void)fprintf(stderr, "render: the result cannot be written\n");
        return RENDER_ERR_IO;
    }
    (void)putchar('\n');
    return rd_cli_finish(cli);
}

int rd_cli_finish(struct rd_cli *cli)
{
    (void)cli;
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        (void)fprintf(stderr, "render: cannot write to standard output\n");
        return RENDER_ERR_IO;
    }
    return RENDER_OK;
}

void rd_cli_print_text(const char *text, int width)
{
    size_t len = strlen(text);
    int columns = 0;
    for (size_t i = 0; i < len && (width == 0 || columns < width);) {
        size_t bytes = rd_text_utf8_width(text + i, len - i);
        unsigned char c = (unsigned char)text[i];
        bool control =
            c < 0x20 || c == 0x7f || (bytes == 2 && c == 0xc2 && (unsigned char)text[i + 1] < 0xa0);
        if (bytes == 0 || control) {
            (void)putchar('?');
        } else {
            (void)fwrite(text + i, 1, bytes, stdout);
        }
        i += bytes == 0 ? 1 : bytes;
        columns++;
    }
    for (; columns < width; columns++) {
        (void)putchar(' ');
    }
}

const char *rd_cli_json_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}
