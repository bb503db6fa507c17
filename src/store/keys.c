/* SPDX-License-Identifier: Apache-2.0
 *
 * Scopes and API keys. See store.h for the promises.
 *
 * All keys live in memory: `entries` in the order of creation, and a hash table over their HMACs.
 * The table is indexed by the HMAC's first bytes, which nobody can choose or learn without the
 * pepper, so neither flooding nor timing of the probe is of use; what is found is then compared in
 * constant time on all 32 bytes. A check costs one HMAC (about 0.5 us) and a read lock.
 *
 * Order of a change: creating goes to disk first, then to memory, since a key that was shown must
 * survive. Revoking goes to memory first, then to disk: if the disk fails, the caller hears it, but
 * the key is already refused (until a restart, which cannot know). Growing memory is done before
 * the disk is touched, so that nothing can fail after a commit. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "store/internal.h"

static const struct {
    unsigned bit;
    const char *name;
} scopes[] = {
    {RD_SCOPE_GENERATE, "generate"},
    {RD_SCOPE_UPLOAD, "upload"},
    {RD_SCOPE_READ, "read"},
    {RD_SCOPE_ADMIN, "admin"},
};
enum { SCOPE_COUNT = sizeof scopes / sizeof *scopes, FIRST_ROOM = 16 };

bool rd_scope_parse(const char *name, unsigned *ret_bit)
{
    for (size_t i = 0; i < SCOPE_COUNT; i++) {
        if (strcmp(scopes[i].name, name) == 0) {
            *ret_bit = scopes[i].bit;
            return true;
        }
    }
    return false;
}

const char *rd_scope_name(unsigned bit)
{
    for (size_t i = 0; i < SCOPE_COUNT; i++) {
        if (scopes[i].bit == bit) {
            return scopes[i].name;
        }
    }
    return NULL;
}

static size_t slot_of(const struct rd_store_keys *keys, const uint8_t hash[RD_HASH_LEN])
{
    uint64_t start;
    memcpy(&start, hash, sizeof start);
    return (size_t)start & (keys->slot_count - 1);
}

static void slot_put(struct rd_store_keys *keys, size_t index)
{
    size_t slot = slot_of(keys, keys->entries[index]->hash);
    while (keys->slots[slot] != 0) {
        slot = (slot + 1) & (keys->slot_count - 1);
    }
    keys->slots[slot] = (uint32_t)index + 1;
}

/* Makes room for one more entry. The caller alone changes the table (writer lock, or opening); the
 * write lock is held only to exchange the pointers. */
static rd_err make_room(struct rd_store_keys *keys)
{
    if (keys->count < keys->room) {
        return RD_OK;
    }
    size_t room = keys->room == 0 ? FIRST_ROOM : keys->room * 2;
    struct rd_store_key_entry **entries = rd_mem_alloc_array(room, sizeof *entries);
    uint32_t *slots = rd_mem_alloc_array(room * 2, sizeof *slots);
    if (entries == NULL || slots == NULL) {
        rd_mem_free(entries);
        rd_mem_free(slots);
        return RD_ERR_NO_MEMORY;
    }
    if (keys->count > 0) {
        memcpy(entries, keys->entries, keys->count * sizeof *entries);
    }
    (void)pthread_rwlock_wrlock(&keys->lock);
    struct rd_store_key_entry **old_entries = keys->entries;
    uint32_t *old_slots = keys->slots;
    keys->entries = entries;
    keys->slots = slots;
    keys->room = room;
    keys->slot_count = room * 2;
    for (size_t i = 0; i < keys->count; i++) {
        slot_put(keys, i);
    }
    (void)pthread_rwlock_unlock(&keys->lock);
    rd_mem_free(old_entries);
    rd_mem_free(old_slots);
    return RD_OK;
}

static void add_entry(struct rd_store_keys *keys, struct rd_store_key_entry *entry)
{
    (void)pthread_rwlock_wrlock(&keys->lock);
    keys->entries[keys->count] = entry;
    slot_put(keys, keys->count);
    keys->count++;
    (void)pthread_rwlock_unlock(&keys->lock);
}

static void copy_out(const struct rd_store_key_entry *entry, struct rd_key *ret)
{
    *ret = entry->key;
    ret->last_used_ms = atomic_load_explicit(&entry->last_used_ms, memory_order_relaxed);
}

/* One row of RD_STORE_SQL_KEY_LOAD; false when it is not exactly what was written. */
static bool read_row(const struct rd_store *store, sqlite3_stmt *row,
                     struct rd_store_key_entry *entry)
{
    struct rd_key *key = &entry->key;
    uint8_t written[RD_STORE_SEAL_LEN];
    uint8_t expected[RD_STORE_SEAL_LEN];
    uint64_t bits = 0;
    uint64_t used = 0;
    bool ok = rd_store_column_text(row, 0, key->id, sizeof key->id) &&
              rd_store_column_text(row, 1, key->tenant, sizeof key->tenant) &&
              rd_store_column_text(row, 2, key->name, sizeof key->name) &&
              rd_store_column_text(row, 3, key->prefix, sizeof key->prefix) &&
              rd_store_column_u64(row, 4, &bits) && rd_store_column_u64(row, 5, &key->owner) &&
              rd_store_column_u64(row, 6, &key->created_ms) &&
              rd_store_column_u64(row, 7, &key->expires_ms) &&
              rd_store_column_u64(row, 8, &key->revoked_ms) && rd_store_column_u64(row, 9, &used) &&
              rd_store_column_blob(row, 10, entry->hash, RD_HASH_LEN) &&
              rd_store_column_blob(row, 11, written, sizeof written) && bits <= RD_SCOPE_ALL;
    if (!ok) {
        return false;
    }
    key->scopes = (unsigned)bits;
    atomic_init(&entry->last_used_ms, used);
    atomic_init(&entry->last_written_ms, used);
    rd_store_seal_key(store, key, entry->hash, expected);
    return rd_text_secret_eq(written, sizeof written, expected, sizeof expected);
}

static rd_err load_row(struct rd_store *store, sqlite3_stmt *row, struct rd_why *why)
{
    if (store->keys.count == RD_STORE_KEYS_MAX) {
        return rd_why_set(why, RD_ERR_CORRUPT, "render.db holds more than %d keys",
                          (int)RD_STORE_KEYS_MAX);
    }
    RD_AUTO_FREE struct rd_store_key_entry *entry = rd_mem_alloc(sizeof *entry);
    if (entry == NULL || make_room(&store->keys) != RD_OK) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "no memory for the API keys");
    }
    if (!read_row(store, row, entry)) {
        return rd_why_set(
            why, RD_ERR_CORRUPT,
            "render.db: the entry of API key %.32s (number %zu) was altered outside of the "
            "gateway: restore the database from a backup, or delete that row of `keys` "
            "with sqlite3",
            entry->key.id[0] == '\0' ? "?" : entry->key.id, store->keys.count + 1);
    }
    add_entry(&store->keys, RD_STEAL(entry));
    return RD_OK;
}

rd_err rd_store_keys_load(struct rd_store *store, struct rd_why *why)
{
    sqlite3_stmt *row = NULL;
    bool got = true;
    rd_err err = make_room(&store->keys);
    if (err == RD_OK) {
        err = rd_store_db_query(&store->writer, RD_STORE_SQL_KEY_LOAD, NULL, &row);
    }
    while (err == RD_OK) {
        err = rd_store_db_row(&store->writer, row, &got);
        if (err != RD_OK || !got) {
            break;
        }
        rd_err altered = load_row(store, row, why);
        if (altered != RD_OK) {
            (void)sqlite3_reset(row);
            return altered;
        }
    }
    return err == RD_OK ? RD_OK
                        : rd_why_set(why, err, "render.db: the API keys cannot be read: %s",
                                     sqlite3_errmsg(store->writer.handle));
}

void rd_store_keys_done(struct rd_store *store)
{
    for (size_t i = 0; i < store->keys.count; i++) {
        rd_mem_free(store->keys.entries[i]);
    }
    rd_mem_free(store->keys.entries);
    rd_mem_free(store->keys.slots);
    store->keys.entries = NULL;
    store->keys.slots = NULL;
    store->keys.count = 0;
}

bool rd_store_tenant_valid(const char *tenant)
{
    size_t len = strspn(tenant, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return len >= 1 && len <= RD_NAME_MAX && tenant[len] == '\0' && tenant[0] != '-';
}

bool rd_store_name_valid(const char *name)
{
    size_t len = strnlen(name, RD_NAME_MAX + 1);
    if (len == 0 || len > RD_NAME_MAX || !rd_text_utf8_valid(name, len)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        unsigned char next = (unsigned char)name[i + 1];
        /* C0, DEL, and C1 (U+0080 to U+009F are c2 80 to c2 9f): they can rule a terminal. */
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && next < 0xa0)) {
            return false;
        }
    }
    return true;
}

static rd_err validate(struct rd_store *store, const struct rd_key *key, const char *tenant,
                       const char *name, struct rd_why *why)
{
    if (!rd_store_tenant_valid(tenant)) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                          "tenant: 1 to 64 of a-z, 0-9 and '-', not beginning with '-'");
    }
    if (!rd_store_name_valid(name)) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                          "name: 1 to 64 bytes of UTF-8 without control characters");
    }
    if (key->scopes == 0 || (key->scopes & ~(unsigned)RD_SCOPE_ALL) != 0) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                          "scopes: at least one of generate, upload, read, admin");
    }
    if (key->expires_ms > INT64_MAX ||
        (key->expires_ms != 0 && key->expires_ms <= store->now_ms())) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "expires: must lie in the future");
    }
    return RD_OK;
}

static rd_err look_up_owner(struct rd_store_db *db, const char *tenant, bool *ret_found,
                            uint64_t *ret)
{
    sqlite3_stmt *row = NULL;
    RD_TRY(rd_store_db_query(db, RD_STORE_SQL_TENANT_OWNER,
                             RD_STORE_VALUES(RD_STORE_VALUE_TEXT(tenant)), &row));
    RD_TRY(rd_store_db_row(db, row, ret_found));
    bool ok = !*ret_found || rd_store_column_u64(row, 0, ret);
    (void)sqlite3_reset(row);
    return ok ? RD_OK : RD_ERR_CORRUPT;
}

/* The tenant's number; it is given to the tenant here when this is its first key. */
static rd_err find_owner(struct rd_store_db *db, const struct rd_key *key, uint64_t *ret)
{
    bool found = false;
    RD_TRY(look_up_owner(db, key->tenant, &found, ret));
    if (found) {
        return RD_OK;
    }
    RD_TRY(rd_store_db_run(
        db, RD_STORE_SQL_TENANT_ADD,
        RD_STORE_VALUES(RD_STORE_VALUE_TEXT(key->tenant), RD_STORE_VALUE_INT(key->created_ms))));
    RD_TRY(look_up_owner(db, key->tenant, &found, ret));
    return found ? RD_OK : RD_ERR_CORRUPT;
}

static rd_err insert(struct rd_store *store, struct rd_store_key_entry *entry)
{
    struct rd_key *key = &entry->key;
    uint8_t seal[RD_STORE_SEAL_LEN];
    RD_TRY(find_owner(&store->writer, key, &key->owner));
    rd_store_seal_key(store, key, entry->hash, seal);
    return rd_store_db_run(
        &store->writer, RD_STORE_SQL_KEY_ADD,
        RD_STORE_VALUES(RD_STORE_VALUE_TEXT(key->id), RD_STORE_VALUE_INT(key->owner),
                        RD_STORE_VALUE_TEXT(key->name), RD_STORE_VALUE_TEXT(key->prefix),
                        RD_STORE_VALUE_INT(key->scopes),
                        RD_STORE_VALUE_BLOB(entry->hash, RD_HASH_LEN),
                        RD_STORE_VALUE_INT(key->created_ms), RD_STORE_VALUE_INT(key->expires_ms),
                        RD_STORE_VALUE_BLOB(seal, sizeof seal)));
}

/* Everything but the owner's number, which the database gives. */
static void fill(struct rd_store *store, struct rd_store_key_entry *entry, const char *tenant,
                 const char *name, const char text[RD_KEY_TEXT_LEN + 1])
{
    struct rd_key *key = &entry->key;
    rd_store_key_hash(store, text, RD_KEY_TEXT_LEN, entry->hash);
    rd_id_new("key_", key->id);
    (void)snprintf(key->tenant, sizeof key->tenant, "%s", tenant);
    (void)snprintf(key->name, sizeof key->name, "%s", name);
    memcpy(key->prefix, text, sizeof key->prefix - 1);
    key->created_ms = store->now_ms();
}

/* Under the writer's lock: disk, then memory. Takes over *entry when it succeeds. */
static rd_err store_entry(struct rd_store *store, struct rd_store_key_entry **entry,
                          struct rd_why *why)
{
    if (store->keys.count >= RD_STORE_KEYS_MAX) {
        return rd_why_set(why, RD_ERR_CONFLICT, "the store holds %d keys and takes no more",
                          (int)RD_STORE_KEYS_MAX);
    }
    rd_err err = make_room(&store->keys);
    err = err == RD_OK ? insert(store, *entry) : err;
    err = err == RD_OK ? rd_store_db_commit(&store->writer) : err;
    if (err != RD_OK) {
        return rd_why_set(why, err, "the key cannot be stored: %s",
                          sqlite3_errmsg(store->writer.handle));
    }
    add_entry(&store->keys, RD_STEAL(*entry));
    return RD_OK;
}

rd_err rd_store_key_create(struct rd_store *store, const char *tenant, const char *name,
                           unsigned scope_bits, uint64_t expires_ms, struct rd_key *ret,
                           char ret_text[RD_KEY_TEXT_LEN + 1], struct rd_why *why)
{
    RD_AUTO_FREE struct rd_store_key_entry *entry = rd_mem_alloc(sizeof *entry);
    if (entry == NULL) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "no memory for a key");
    }
    entry->key.scopes = scope_bits;
    entry->key.expires_ms = expires_ms;
    RD_TRY(validate(store, &entry->key, tenant, name, why));
    char text[RD_KEY_TEXT_LEN + 1];
    rd_store_key_text_new(text);
    fill(store, entry, tenant, name, text);
    rd_err err = rd_store_db_begin(&store->writer);
    if (err != RD_OK) {
        return rd_why_set(why, err, "the database takes no changes");
    }
    const struct rd_store_key_entry *made = entry;
    err = store_entry(store, &entry, why);
    if (err == RD_OK) {
        copy_out(made, ret); /* entries live as long as the store */
        memcpy(ret_text, text, sizeof text);
    }
    rd_store_db_end(&store->writer);
    rd_mem_wipe(text, sizeof text);
    return err;
}

/* The live entry with this HMAC; NULL when there is none. Under the keys' lock. */
static struct rd_store_key_entry *find(const struct rd_store_keys *keys,
                                       const uint8_t hash[RD_HASH_LEN])
{
    size_t slot = slot_of(keys, hash);
    while (keys->slots[slot] != 0) {
        struct rd_store_key_entry *entry = keys->entries[keys->slots[slot] - 1];
        if (rd_text_secret_eq(entry->hash, RD_HASH_LEN, hash, RD_HASH_LEN)) {
            return entry;
        }
        slot = (slot + 1) & (keys->slot_count - 1);
    }
    return NULL;
}

/* Notes the use in memory; true when the database should hear of it. */
static bool note_use(struct rd_store_key_entry *entry, uint64_t now)
{
    uint64_t last = atomic_load_explicit(&entry->last_used_ms, memory_order_relaxed);
    if (now <= last || now - last < RD_STORE_USED_EVERY_MS) {
        return false;
    }
    return atomic_compare_exchange_strong(&entry->last_used_ms, &last, now);
}

rd_err rd_store_key_check(struct rd_store *store, const char *text, size_t len, struct rd_key *ret)
{
    if (!rd_store_key_text_valid(text, len)) {
        return RD_ERR_UNAUTHORIZED;
    }
    uint8_t hash[RD_HASH_LEN];
    rd_store_key_hash(store, text, len, hash);
    uint64_t now = store->now_ms();
    bool valid = false;
    bool used = false;
    (void)pthread_rwlock_rdlock(&store->keys.lock);
    struct rd_store_key_entry *entry = find(&store->keys, hash);
    if (entry != NULL && entry->key.revoked_ms == 0 &&
        (entry->key.expires_ms == 0 || now < entry->key.expires_ms)) {
        valid = true;
        copy_out(entry, ret);
        used = note_use(entry, now);
    }
    (void)pthread_rwlock_unlock(&store->keys.lock);
    if (used) {
        rd_store_flush_soon(store);
    }
    return valid ? RD_OK : RD_ERR_UNAUTHORIZED;
}

/* Marks the key in memory; NULL when `tenant` has no such key. */
static struct rd_store_key_entry *revoke_in_memory(struct rd_store *store, const char *tenant,
                                                   const char *id)
{
    struct rd_store_key_entry *found = NULL;
    uint64_t now = store->now_ms();
    (void)pthread_rwlock_wrlock(&store->keys.lock);
    for (size_t i = 0; i < store->keys.count && found == NULL; i++) {
        struct rd_store_key_entry *entry = store->keys.entries[i];
        if (strcmp(entry->key.id, id) == 0 &&
            (tenant == NULL || strcmp(entry->key.tenant, tenant) == 0)) {
            found = entry;
        }
    }
    if (found != NULL && found->key.revoked_ms == 0) {
        found->key.revoked_ms = now == 0 ? 1 : now;
    }
    (void)pthread_rwlock_unlock(&store->keys.lock);
    return found;
}

rd_err rd_store_key_revoke(struct rd_store *store, const char *tenant, const char *id)
{
    struct rd_store_key_entry *entry = revoke_in_memory(store, tenant, id);
    if (entry == NULL) {
        return RD_ERR_NOT_FOUND;
    }
    /* Revoked entries never change again, so it can be read without the lock. A second revocation
     * writes the same row again: the first may not have reached the disk. */
    uint8_t seal[RD_STORE_SEAL_LEN];
    rd_store_seal_key(store, &entry->key, entry->hash, seal);
    RD_TRY(rd_store_db_begin(&store->writer));
    rd_err err = rd_store_db_run(&store->writer, RD_STORE_SQL_KEY_REVOKE,
                                 RD_STORE_VALUES(RD_STORE_VALUE_TEXT(entry->key.id),
                                                 RD_STORE_VALUE_INT(entry->key.revoked_ms),
                                                 RD_STORE_VALUE_BLOB(seal, sizeof seal)));
    err = err == RD_OK ? rd_store_db_commit(&store->writer) : err;
    rd_store_db_end(&store->writer);
    return err;
}

rd_err rd_store_key_list(struct rd_store *store, const char *tenant,
                         bool (*each)(void *ctx, const struct rd_key *key), void *ctx)
{
    /* One at a time, by position: entries only ever get appended, and the caller's function runs
     * without our lock, so it may call the store. */
    for (size_t i = 0;; i++) {
        struct rd_key key;
        bool end = true;
        bool wanted = false;
        (void)pthread_rwlock_rdlock(&store->keys.lock);
        if (i < store->keys.count) {
            end = false;
            wanted = tenant == NULL || strcmp(store->keys.entries[i]->key.tenant, tenant) == 0;
            if (wanted) {
                copy_out(store->keys.entries[i], &key);
            }
        }
        (void)pthread_rwlock_unlock(&store->keys.lock);
        if (end || (wanted && !each(ctx, &key))) {
            return RD_OK;
        }
    }
}

size_t rd_store_key_count(struct rd_store *store)
{
    (void)pthread_rwlock_rdlock(&store->keys.lock);
    size_t count = store->keys.count;
    (void)pthread_rwlock_unlock(&store->keys.lock);
    return count;
}

/* The next entry from *index on whose use the database has not heard of. */
static struct rd_store_key_entry *next_used(struct rd_store *store, size_t *index)
{
    struct rd_store_key_entry *found = NULL;
    (void)pthread_rwlock_rdlock(&store->keys.lock);
    while (*index < store->keys.count && found == NULL) {
        struct rd_store_key_entry *entry = store->keys.entries[(*index)++];
        if (atomic_load(&entry->last_used_ms) != atomic_load(&entry->last_written_ms)) {
            found = entry;
        }
    }
    (void)pthread_rwlock_unlock(&store->keys.lock);
    return found;
}

rd_err rd_store_keys_flush(struct rd_store *store)
{
    size_t index = 0;
    struct rd_store_key_entry *entry = next_used(store, &index);
    if (entry == NULL) {
        return RD_OK;
    }
    RD_TRY(rd_store_db_begin(&store->writer));
    rd_err err = RD_OK;
    while (entry != NULL && err == RD_OK) {
        uint64_t used = atomic_load(&entry->last_used_ms);
        err = rd_store_db_run(
            &store->writer, RD_STORE_SQL_KEY_USED,
            RD_STORE_VALUES(RD_STORE_VALUE_TEXT(entry->key.id), RD_STORE_VALUE_INT(used)));
        atomic_store(&entry->last_written_ms, used); /* after a failed commit the next use writes */
        entry = next_used(store, &index);
    }
    err = err == RD_OK ? rd_store_db_commit(&store->writer) : err;
    rd_store_db_end(&store->writer);
    return err;
}
