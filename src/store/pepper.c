/* SPDX-License-Identifier: Apache-2.0
 *
 * DIR/pepper: 32 random bytes (0600) without which the database says nothing about any key. They
 * stay beside the database, not in it, so that a copy of the database alone is of no use to a
 * thief.
 *
 * The database keeps HMAC(pepper, "render pepper check v1"). So a pepper that was lost or exchanged
 * is one clear message at start, and not a gateway that refuses every key. A crash between making
 * the pepper and writing the check leaves a pepper and an empty store: the next start uses it. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/internal.h"

enum { PEPPER_LEN = 32 };
static const char check_name[] = "pepper_check";

static void derive(struct rd_store *store, const uint8_t pepper[PEPPER_LEN])
{
    static const char seal_label[] = "render store seal v1";
    static const char check_label[] = "render pepper check v1";
    (void)crypto_auth_hmacsha256_init(&store->hmac, pepper, PEPPER_LEN);
    rd_store_key_hash(store, seal_label, strlen(seal_label), store->seal_key);
    rd_store_key_hash(store, check_label, strlen(check_label), store->pepper_check);
}

void rd_store_key_hash(const struct rd_store *store, const char *text, size_t len,
                       uint8_t ret[RD_HASH_LEN])
{
    crypto_auth_hmacsha256_state state = store->hmac;
    (void)crypto_auth_hmacsha256_update(&state, (const unsigned char *)text, len);
    (void)crypto_auth_hmacsha256_final(&state, ret);
    rd_mem_wipe(&state, sizeof state);
}

/* Does the database hold anything that only the right pepper opens? */
static rd_err count_rows(struct rd_store *store, uint64_t *ret_keys, uint64_t *ret_uploads)
{
    sqlite3_stmt *row = NULL;
    bool got = false;
    RD_TRY(rd_store_db_query(&store->writer, RD_STORE_SQL_ROWS_UNDER_PEPPER, NULL, &row));
    RD_TRY(rd_store_db_row(&store->writer, row, &got));
    bool ok =
        got && rd_store_column_u64(row, 0, ret_keys) && rd_store_column_u64(row, 1, ret_uploads);
    (void)sqlite3_reset(row);
    return ok ? RD_OK : RD_ERR_CORRUPT;
}

static rd_err read_check(struct rd_store *store, uint8_t ret[RD_HASH_LEN], bool *ret_found)
{
    sqlite3_stmt *row = NULL;
    RD_TRY(rd_store_db_query(&store->writer, RD_STORE_SQL_META_GET,
                             RD_STORE_VALUES(RD_STORE_VALUE_TEXT(check_name)), &row));
    RD_TRY(rd_store_db_row(&store->writer, row, ret_found));
    bool ok = !*ret_found || rd_store_column_blob(row, 0, ret, RD_HASH_LEN);
    (void)sqlite3_reset(row);
    return ok ? RD_OK : RD_ERR_CORRUPT;
}

/* Compares with the check in the database, or puts it there when the store is still empty. */
static rd_err settle(struct rd_store *store, const char *dir, bool empty, struct rd_why *why)
{
    uint8_t known[RD_HASH_LEN];
    bool found = false;
    rd_err err = read_check(store, known, &found);
    if (err != RD_OK) {
        return rd_why_set(why, err, "%s/render.db: the pepper's check cannot be read", dir);
    }
    if (found && rd_text_secret_eq(known, sizeof known, store->pepper_check, RD_HASH_LEN)) {
        return RD_OK;
    }
    if (!empty) {
        return rd_why_set(
            why, RD_ERR_CORRUPT,
            "%s/pepper is not the one that %s/render.db was made with: restore both from "
            "the same backup",
            dir, dir);
    }
    err = rd_store_db_begin(&store->writer);
    if (err == RD_OK) {
        err =
            rd_store_db_run(&store->writer, RD_STORE_SQL_META_PUT,
                            RD_STORE_VALUES(RD_STORE_VALUE_TEXT(check_name),
                                            RD_STORE_VALUE_BLOB(store->pepper_check, RD_HASH_LEN)));
        err = err == RD_OK ? rd_store_db_commit(&store->writer) : err;
        rd_store_db_end(&store->writer);
    }
    return err == RD_OK ? RD_OK
                        : rd_why_set(why, err, "%s/render.db: cannot write: %s", dir,
                                     sqlite3_errmsg(store->writer.handle));
}

static rd_err check_mode(const char *path, struct rd_why *why)
{
    struct stat info;
    if (stat(path, &info) == 0 && (info.st_mode & 077) != 0) {
        return rd_why_set(
            why, RD_ERR_IO,
            "%s is readable by others (mode %03o): run `chmod 600` on it; if others may "
            "have read it, replace the keys as well",
            path, (unsigned)(info.st_mode & 0777));
    }
    return RD_OK;
}

rd_err rd_store_pepper_load(struct rd_store *store, const char *dir, struct rd_why *why)
{
    RD_AUTO_BUF struct rd_buf path;
    RD_AUTO_BUF struct rd_buf file;
    uint64_t keys = 0;
    uint64_t uploads = 0;
    rd_buf_init(&file, PEPPER_LEN);
    RD_TRY(rd_store_path(dir, "pepper", &path, why));
    rd_err err = count_rows(store, &keys, &uploads);
    if (err != RD_OK) {
        return rd_why_set(why, err, "%s/render.db: the keys cannot be counted", dir);
    }
    bool empty = keys == 0 && uploads == 0;

    err = rd_fs_read(path.data, &file, why);
    if (err == RD_ERR_NOT_FOUND && !empty) {
        return rd_why_set(
            why, RD_ERR_CORRUPT,
            "%s is missing, and without it none of the %llu API keys in %s/render.db can "
            "be checked: restore it from a backup, or move render.db away to begin anew "
            "with new keys",
            path.data, (unsigned long long)keys, dir);
    }
    if (err == RD_ERR_NOT_FOUND) {
        uint8_t fresh[PEPPER_LEN];
        rd_id_random(fresh, sizeof fresh);
        rd_buf_append(&file, fresh, sizeof fresh);
        rd_mem_wipe(fresh, sizeof fresh);
        if (rd_buf_err(&file) != RD_OK) {
            return rd_why_set(why, rd_buf_err(&file), "no memory for the pepper");
        }
        err = rd_fs_write_atomic(path.data, file.data, file.len, 0600, why);
    } else if (err == RD_ERR_TOO_LARGE || (err == RD_OK && file.len != PEPPER_LEN)) {
        return rd_why_set(why, RD_ERR_CORRUPT,
                          "%s is not the %d bytes that it must be: restore it "
                          "from a backup",
                          path.data, (int)PEPPER_LEN);
    }
    if (err != RD_OK) {
        return why == NULL || why->text[0] != '\0'
                   ? err
                   : rd_why_set(why, err, "cannot read or write %s", path.data);
    }
    RD_TRY(check_mode(path.data, why));
    derive(store, (const uint8_t *)file.data);
    rd_mem_wipe(file.data, file.len);
    return settle(store, dir, empty, why);
}
