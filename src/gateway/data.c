/* SPDX-License-Identifier: Apache-2.0
 *
 * The data folder. See data.h. */
#include "gateway/data.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/text.h"

static rd_err join(const char *dir, const char *name, char ret[RD_DATA_PATH_MAX],
                   struct rd_why *why)
{
    int len = snprintf(ret, RD_DATA_PATH_MAX, "%s/%s", dir, name);
    return len > 0 && len < RD_DATA_PATH_MAX
               ? RD_OK
               : rd_why_set(why, RD_ERR_CONFIG, "the path of the data folder is too long");
}

/* render-signer stands beside this program when installed, and one folder over in a build tree. */
static rd_err find_signer(char ret[RD_DATA_PATH_MAX], struct rd_why *why)
{
    static const char *const places[] = {"render-signer", "../signer/render-signer",
                                         "src/signer/render-signer"};
    char self[RD_DATA_PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len <= 0) {
        return rd_why_errno(why, errno, "read", "/proc/self/exe");
    }
    self[len] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        RD_TRY(join(self, places[i], ret, why));
        if (access(ret, X_OK) == 0) {
            return RD_OK;
        }
    }
    return rd_why_set(why, RD_ERR_CONFIG, "no render-signer beside this program in %s", self);
}

rd_err rd_data_paths(const char *dir, struct rd_data_paths *ret, struct rd_why *why)
{
    RD_TRY(join(dir, "admin.key", ret->admin_key, why));
    RD_TRY(join(dir, "signing.key", ret->signing_key, why));
    RD_TRY(join(dir, "prompt.secret", ret->prompt_secret, why));
    RD_TRY(join(dir, "objects", ret->objects, why));
    return find_signer(ret->signer_program, why);
}

rd_err rd_data_prepare(const char *dir, struct rd_data_paths *ret, struct rd_why *why)
{
    RD_TRY(rd_fs_mkdir(dir, 0700, why));
    struct stat info;
    if (stat(dir, &info) != 0) {
        return rd_why_errno(why, errno, "look at", dir);
    }
    if ((info.st_mode & 077) != 0) {
        return rd_why_set(why, RD_ERR_CONFIG,
                          "%s can be entered by others (mode %04o); it holds keys: chmod 700 it",
                          dir, (unsigned)(info.st_mode & 07777));
    }
    return rd_data_paths(dir, ret, why);
}

static const char first_name[] = "first administrator";

struct look {
    bool found, file;
};

/* A live administrator: without one nobody could make keys any more. The first one's key counts
 * only if somebody can have it: a kill between making it and writing the file leaves one that
 * nobody knows, never used and with no file. */
static bool look_for_live(void *ctx, const struct rd_key *key)
{
    struct look *look = ctx;
    bool unknown = !look->file && key->last_used_ms == 0 && strcmp(key->name, first_name) == 0;
    look->found = !unknown && key->revoked_ms == 0 && (key->scopes & RD_SCOPE_ADMIN) != 0 &&
                  (key->expires_ms == 0 || key->expires_ms > rd_clock_wall_ms());
    return !look->found;
}

rd_err rd_data_admin_key(struct rd_store *store, const char *path, struct rd_why *why)
{
    struct look look = {.file = access(path, F_OK) == 0};
    RD_TRY(rd_store_key_list(store, NULL, look_for_live, &look));
    if (look.found) {
        return RD_OK;
    }
    struct rd_key key;
    char text[RD_KEY_TEXT_LEN + 1];
    RD_TRY(rd_store_key_create(store, "admin", first_name, RD_SCOPE_ALL, 0, &key, text, why));
    char line[RD_KEY_TEXT_LEN + 2];
    (void)snprintf(line, sizeof line, "%s\n", text);
    rd_err err = rd_fs_write_atomic(path, line, strlen(line), 0600, why);
    if (err != RD_OK) { /* a key that nobody can read must not stay: the next start makes another */
        rd_err revoked = rd_store_key_revoke(store, NULL, key.id);
        (void)revoked;
    }
    rd_mem_wipe(text, sizeof text);
    rd_mem_wipe(line, sizeof line);
    return err;
}

rd_err rd_data_prompt_secret(const char *path, uint8_t ret[RD_SALT_LEN], struct rd_why *why)
{
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 2 * RD_SALT_LEN + 1);
    rd_err err = rd_fs_read(path, &text, why);
    if (err == RD_ERR_NOT_FOUND) {
        char hex[2 * RD_SALT_LEN + 1];
        rd_id_random(ret, RD_SALT_LEN);
        rd_text_hex(ret, RD_SALT_LEN, hex);
        hex[2 * RD_SALT_LEN] = '\n';
        return rd_fs_write_atomic(path, hex, sizeof hex, 0600, why);
    }
    if (err != RD_OK) {
        return err;
    }
    if (text.len != 2 * RD_SALT_LEN + 1 ||
        !rd_text_unhex(text.data, 2 * RD_SALT_LEN, ret, RD_SALT_LEN)) {
        return rd_why_set(
            why, RD_ERR_CONFIG,
            "%s must hold %d hex digits and a newline; restore it from "
            "a backup, or delete it: earlier prompts can then not be revealed any more",
            path, 2 * RD_SALT_LEN);
    }
    return RD_OK;
}
