/* SPDX-License-Identifier: Apache-2.0
 *
 * Local files. Results replace a file whole or not at all, so that a full disk or a Ctrl-C never
 * leaves half a picture under the right name; but only where a regular file is (or nothing):
 * /dev/stdout and pipes are written to, not replaced. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"

enum { ATTESTATION_WAIT_MS = 5000, ASSET_DIGITS = 12 };

static int write_stream(struct rd_cli *cli, FILE *stream, const char *name, const void *bytes,
                        size_t len)
{
    if (fwrite(bytes, 1, len, stream) != len || fflush(stream) != 0) {
        return rd_cli_fail(cli, RENDER_ERR_IO, "cannot write %s: %s", name, strerror(errno));
    }
    return RENDER_OK;
}

int rd_cli_save(struct rd_cli *cli, const char *file, const void *bytes, size_t len, bool secret)
{
    if (strcmp(file, "-") == 0) {
        return write_stream(cli, stdout, "standard output", bytes, len);
    }
    struct stat info;
    if (stat(file, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
        FILE *stream = fopen(file, "wb");
        if (stream == NULL) {
            return rd_cli_fail(cli, RENDER_ERR_IO, "cannot open %s: %s", file, strerror(errno));
        }
        int rc = write_stream(cli, stream, file, bytes, len);
        (void)fclose(stream);
        return rc;
    }
    mode_t mask = umask(0);
    (void)umask(mask);
    struct rd_why why = {""};
    if (rd_fs_write_atomic(file, bytes, len, secret ? 0600 : 0666 & ~mask, &why) != RD_OK) {
        return rd_cli_fail(cli, RENDER_ERR_IO, "%s", why.text);
    }
    return RENDER_OK;
}

int rd_cli_read(struct rd_cli *cli, const char *file, size_t max, char **ret, size_t *ret_len)
{
    RD_AUTO_BUF struct rd_buf text;
    struct rd_why why = {""};
    rd_buf_init(&text, max);
    rd_err err = rd_fs_read(strcmp(file, "-") == 0 ? "/dev/stdin" : file, &text, &why);
    if (err != RD_OK) {
        return rd_cli_fail(cli, err == RD_ERR_NO_MEMORY ? RENDER_ERR_MEMORY : RENDER_ERR_IO, "%s",
                           why.text);
    }
    *ret = rd_buf_steal(&text, ret_len);
    return *ret != NULL ? RENDER_OK : rd_cli_fail(cli, RENDER_ERR_MEMORY, "out of memory");
}

const char *rd_cli_extension(const char *content_type)
{
    static const char *const types[][2] = {
        {"image/png", ".png"}, {"image/jpeg", ".jpg"},        {"image/webp", ".webp"},
        {"video/mp4", ".mp4"}, {"application/json", ".json"}, {"application/jwk-set+json", ".json"},
    };
    for (size_t i = 0; content_type != NULL && i < sizeof types / sizeof *types; i++) {
        if (rd_text_eq(content_type, strcspn(content_type, "; "), types[i][0])) {
            return types[i][1];
        }
    }
    return ".bin";
}

void rd_cli_default_name(const char *asset_url, const char *content_type, char ret[64])
{
    const char *slash = asset_url == NULL ? NULL : strrchr(asset_url, '/');
    const char *name = slash == NULL ? "" : slash + 1;
    char stem[2 + ASSET_DIGITS + 1] = "";
    size_t len = 0;
    /* Only what cannot be a path, an option or a surprise. */
    for (; len < sizeof stem - 1 && name[len] != '\0'; len++) {
        bool plain = (name[len] >= '0' && name[len] <= '9') ||
                     (name[len] >= 'a' && name[len] <= 'z') ||
                     (name[len] >= 'A' && name[len] <= 'Z') || (name[len] == '_' && len > 0);
        stem[len] = plain ? name[len] : 'x';
    }
    (void)snprintf(ret, 64, "%s%s", len == 0 ? "output" : stem, rd_cli_extension(content_type));
}

/* Its own URL may hold a name that is of no use here: 0.0.0.0, or one inside a cluster. */
void rd_cli_asset_path(const char *asset_url, char *ret, size_t room)
{
    const char *at = strstr(asset_url, "/a/a_");
    bool plain = at != NULL && at[strcspn(at, "?#")] == '\0' && strchr(at + 3, '/') == NULL;
    (void)snprintf(ret, room, "%s", plain ? at : asset_url);
}

int rd_cli_save_attestation(struct rd_cli *cli, const char *asset_url, const char *file,
                            char **ret_name)
{
    RD_AUTO_FREE char *text = NULL;
    char asset[RD_CLI_URL_MAX];
    rd_cli_asset_path(asset_url, asset, sizeof asset);
    render_status status = render_attestation(cli->client, asset, ATTESTATION_WAIT_MS, &text);
    rd_cli_progress_end(cli);
    *ret_name = NULL;
    if (status != RENDER_OK) {
        rd_cli_warn(cli, "%s is complete, but its attestation could not be had: %s", file,
                    render_client_error(cli->client));
        return RENDER_OK;
    }
    RD_AUTO_BUF struct rd_buf name;
    rd_buf_init(&name, RD_CLI_URL_MAX);
    rd_buf_printf(&name, "%s" RD_CLI_ATTESTATION_SUFFIX, file);
    if (rd_buf_err(&name) != RD_OK) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "the file's name is too long");
    }
    int rc = rd_cli_save(cli, name.data, text, strlen(text), false);
    if (rc == RENDER_OK) {
        *ret_name = rd_buf_steal(&name, NULL);
    }
    return rc;
}

int rd_cli_save_jwks(struct rd_cli *cli, const char *file)
{
    RD_AUTO_FREE char *text = NULL;
    render_status status = render_call(cli->client, "GET", "/.well-known/jwks.json", NULL, &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    return rd_cli_save(cli, file, text, strlen(text), false);
}
