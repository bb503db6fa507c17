/* SPDX-License-Identifier: Apache-2.0
 *
 * The key file: three lines of text, always 124 bytes.
 *
 *     render-signing-key v1
 *     seed <44 characters: standard base64 of the 32-byte Ed25519 seed>
 *     public <44 characters: standard base64 of the public key>
 *
 * The public key follows from the seed; it stands there so that a damaged seed is seen, instead of
 * becoming another key that signs happily. A file that differs in one byte from this form is
 * refused, as is one that others can read, that belongs to somebody else, or that is a link or no
 * plain file: each of them means that this may not be the key that was made here.
 *
 * Making one: the bytes go to a new file of a random name, fsync, then link(2) to the real name,
 * which fails when that exists, then fsync of the folder. So a crash leaves no key or a whole one,
 * and of two signers that start at the same moment the second takes the first one's key. rename(2),
 * the usual way, would let the second replace a key that has signed already.
 *
 * To change the format: a new version word in line 1, keep reading v1, add a sample to the tests.
 */
#include "signer/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/text.h"

#define LINE_VERSION "render-signing-key v1\n"
#define LINE_SEED "seed "
#define LINE_PUBLIC "\npublic "

enum {
    SEED_LEN = crypto_sign_SEEDBYTES,
    SECRET_LEN = crypto_sign_SECRETKEYBYTES,
    DIGITS = 44, /* base64 of 32 bytes */
    SEED_AT = sizeof LINE_VERSION - 1 + sizeof LINE_SEED - 1,
    PUBLIC_AT = SEED_AT + DIGITS + sizeof LINE_PUBLIC - 1,
    FILE_LEN = PUBLIC_AT + DIGITS + 1,
    SUFFIX_DIGITS = 12,
    PATH_LEN_MAX = 4096,
};
_Static_assert(FILE_LEN == 124, "the key file's format is fixed");

static void format_file(const uint8_t seed[SEED_LEN], const uint8_t public[32],
                        char out[FILE_LEN + 1])
{
    char seed_digits[DIGITS + 1];
    char public_digits[DIGITS + 1];
    rd_text_base64(seed, SEED_LEN, seed_digits);
    rd_text_base64(public, 32, public_digits);
    (void)snprintf(out, FILE_LEN + 1, LINE_VERSION LINE_SEED "%s" LINE_PUBLIC "%s\n", seed_digits,
                   public_digits);
    rd_mem_wipe(seed_digits, sizeof seed_digits);
}

/* The seed as guarded memory with the key pair made of it. */
static rd_err hold(const uint8_t seed[SEED_LEN], struct rd_signerd_key *ret, struct rd_why *why)
{
    uint8_t *secret = sodium_malloc(SECRET_LEN);
    if (secret == NULL) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "cannot allocate guarded memory for the key");
    }
    ret->locked = sodium_mlock(secret, SECRET_LEN) == 0;
    (void)crypto_sign_seed_keypair(ret->public, secret, seed);
    (void)sodium_mprotect_readonly(secret);
    ret->secret = secret;
    return RD_OK;
}

void rd_signerd_key_done(struct rd_signerd_key *key)
{
    sodium_free(key->secret); /* wipes; NULL is fine */
    *key = (struct rd_signerd_key){0};
}

/* Whether the open file is one that only its owner, and that is us, could have written or read. */
static rd_err check_file(int fd, const char *path, struct rd_why *why)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return rd_why_errno(why, errno, "look at", path);
    }
    if (!S_ISREG(info.st_mode)) {
        return rd_why_set(why, RD_ERR_CONFIG, "%s is not a plain file", path);
    }
    if (info.st_uid != geteuid()) {
        return rd_why_set(why, RD_ERR_CONFIG, "%s belongs to user %u, not to user %u", path,
                          (unsigned)info.st_uid, (unsigned)geteuid());
    }
    if ((info.st_mode & 07177) != 0) {
        return rd_why_set(why, RD_ERR_CONFIG, "%s has mode %04o; it must be 0600", path,
                          (unsigned)(info.st_mode & 07777));
    }
    if (info.st_size != FILE_LEN) {
        return rd_why_set(why, RD_ERR_CONFIG, "%s is not a render signing key: %lld bytes, not %d",
                          path, (long long)info.st_size, (int)FILE_LEN);
    }
    return RD_OK;
}

/* Compares with the one form that this key's file can have. */
static rd_err parse_file(const char *text, const char *path, struct rd_signerd_key *ret,
                         struct rd_why *why)
{
    uint8_t seed[DIGITS];
    char expected[FILE_LEN + 1];
    size_t len = 0;
    struct rd_signerd_key key = {0};
    if (rd_text_unbase64(text + SEED_AT, DIGITS, seed, &len) != RD_OK || len != SEED_LEN) {
        rd_mem_wipe(seed, sizeof seed);
        return rd_why_set(why, RD_ERR_CONFIG, "%s is not a render signing key", path);
    }
    rd_err err = hold(seed, &key, why);
    if (err == RD_OK) {
        format_file(seed, key.public, expected);
        if (sodium_memcmp(expected, text, FILE_LEN) != 0) {
            rd_signerd_key_done(&key);
            err = rd_why_set(why, RD_ERR_CONFIG, "%s is damaged or not a render signing key", path);
        }
    }
    rd_mem_wipe(seed, sizeof seed);
    rd_mem_wipe(expected, sizeof expected);
    if (err == RD_OK) {
        *ret = key;
    }
    return err;
}

/* NOT_FOUND when nothing is there. */
static rd_err read_key(const char *path, struct rd_signerd_key *ret, struct rd_why *why)
{
    /* NONBLOCK, so that a FIFO in its place is refused and not waited for. */
    RD_AUTO_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return RD_ERR_NOT_FOUND;
    }
    if (fd < 0 && errno == ELOOP) {
        return rd_why_set(why, RD_ERR_CONFIG, "%s is a symbolic link", path);
    }
    if (fd < 0) {
        return rd_why_errno(why, errno, "open", path);
    }
    RD_TRY(check_file(fd, path, why));
    char text[FILE_LEN + 1];
    rd_err err = rd_fs_pread_all(fd, text, FILE_LEN, 0);
    if (err != RD_OK) {
        err = rd_why_set(why, err, "cannot read %s", path);
    } else {
        err = parse_file(text, path, ret, why);
    }
    rd_mem_wipe(text, sizeof text);
    return err;
}

static rd_err write_new(const char *temporary, const char *text, struct rd_why *why)
{
    RD_AUTO_CLOSE int fd =
        open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return rd_why_errno(why, errno, "create", temporary);
    }
    if (fchmod(fd, 0600) != 0) { /* a umask may have taken bits away */
        return rd_why_errno(why, errno, "set the mode of", temporary);
    }
    rd_err err = rd_fs_pwrite_all(fd, text, FILE_LEN, 0);
    if (err != RD_OK) {
        return rd_why_set(why, err, "cannot write %s", temporary);
    }
    if (fsync(fd) != 0) {
        return rd_why_errno(why, errno, "sync", temporary);
    }
    return RD_OK;
}

static rd_err sync_folder_of(const char *path, struct rd_why *why)
{
    char folder[PATH_LEN_MAX];
    const char *slash = strrchr(path, '/');
    int len = slash == NULL ? 1 : (int)(slash - path) + 1;
    (void)snprintf(folder, sizeof folder, "%.*s", len, slash == NULL ? "." : path);
    return rd_fs_sync_dir(folder, why);
}

/* Puts a new key at `path`; RD_OK also when another process was faster. */
static rd_err create_file(const char *path, struct rd_why *why)
{
    char temporary[PATH_LEN_MAX];
    char suffix[SUFFIX_DIGITS + 1];
    rd_id_secret(SUFFIX_DIGITS, suffix);
    int len = snprintf(temporary, sizeof temporary, "%s.%s", path, suffix);
    if (len < 0 || (size_t)len >= sizeof temporary) {
        return rd_why_set(why, RD_ERR_CONFIG, "the path of the key is too long");
    }
    uint8_t seed[SEED_LEN];
    uint8_t public[32];
    uint8_t secret[SECRET_LEN];
    char text[FILE_LEN + 1];
    rd_id_random(seed, sizeof seed);
    (void)crypto_sign_seed_keypair(public, secret, seed);
    format_file(seed, public, text);
    rd_err err = write_new(temporary, text, why);
    rd_mem_wipe(seed, sizeof seed);
    rd_mem_wipe(secret, sizeof secret);
    rd_mem_wipe(text, sizeof text);
    if (err == RD_OK && link(temporary, path) != 0 && errno != EEXIST) {
        err = rd_why_errno(why, errno, "create", path);
    }
    (void)unlink(temporary);
    RD_TRY(err);
    return sync_folder_of(path, why);
}

rd_err rd_signerd_key_open(const char *path, struct rd_signerd_key *ret, struct rd_why *why)
{
    rd_err err = read_key(path, ret, why);
    if (err != RD_ERR_NOT_FOUND) {
        return err;
    }
    RD_TRY(create_file(path, why));
    err = read_key(path, ret, why);
    if (err == RD_ERR_NOT_FOUND) {
        return rd_why_set(why, RD_ERR_IO, "%s vanished while it was made", path);
    }
    return err;
}
