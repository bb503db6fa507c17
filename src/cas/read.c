/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers. A look-up takes the map lock for a probe and a reference to the pack's descriptor,
 * never while a disk works; what is read after that is safe from compaction and deletion, because
 * the descriptor outlives the file's name. The record's header is read and checked every time (one
 * page, usually in the cache); the payload is hashed once per object and process. */
#include "cas/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

enum { READ_STEP = 1 << 18 };

void rd_cas_handle_ref(struct rd_cas_handle *handle)
{
    atomic_fetch_add_explicit(&handle->refs, 1, memory_order_relaxed);
}

void rd_cas_handle_unref(struct rd_cas_handle *handle)
{
    if (atomic_fetch_sub_explicit(&handle->refs, 1, memory_order_acq_rel) == 1) {
        if (handle->fd >= 0) {
            (void)close(handle->fd);
        }
        rd_mem_free(handle); /* the first member of whatever holds it */
    }
}

void rd_cas_view_done(struct rd_cas_view *view)
{
    rd_cas_handle_unref(view->handle);
    if (view->note_handle != NULL) {
        rd_cas_handle_unref(view->note_handle);
    }
}

/* Under the map lock. */
static rd_err view_find(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN],
                        struct rd_cas_view *view, uint64_t *ret_capacity)
{
    const struct rd_cas_entry *entry = rd_cas_index_find(cas->index, blake3);
    if (entry == NULL || !entry->visible) {
        return RD_ERR_NOT_FOUND;
    }
    struct rd_cas_pack *pack = rd_cas_state_pack(cas, entry->pack);
    struct rd_cas_pack *notes =
        entry->note_len == 0 ? NULL : rd_cas_state_pack(cas, entry->note_pack);
    if (pack == NULL) {
        return RD_ERR_CORRUPT;
    }
    *view = (struct rd_cas_view){.handle = &pack->handle,
                                 .offset = entry->offset,
                                 .pack = entry->pack,
                                 .verified = entry->verified};
    memcpy(view->secret, pack->head.secret, sizeof view->secret);
    rd_cas_handle_ref(view->handle);
    if (notes != NULL) {
        view->note_handle = &notes->handle;
        view->note_pack = entry->note_pack;
        view->note_at = entry->note_at;
        view->note_len = entry->note_len;
        rd_cas_handle_ref(view->note_handle);
    }
    *ret_capacity = entry->capacity;
    return RD_OK;
}

rd_err rd_cas_view_open(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN],
                        struct rd_cas_view *ret, struct rd_cas_head *ret_head)
{
    struct rd_cas_view view;
    uint64_t capacity, first;
    pthread_mutex_lock(&cas->map);
    rd_err err = view_find(cas, blake3, &view, &capacity);
    pthread_mutex_unlock(&cas->map);
    RD_TRY(err);
    err = rd_cas_pack_walk(view.handle->fd, view.secret, view.offset, view.offset + capacity,
                           ret_head, &first);
    if (err == RD_ERR_NOT_FOUND ||
        (err == RD_OK && ((ret_head->kind != RD_CAS_OBJECT && ret_head->kind != RD_CAS_LARGE) ||
                          memcmp(ret_head->hash.blake3, blake3, RD_HASH_LEN) != 0))) {
        err = RD_ERR_CORRUPT;
    }
    if (err != RD_OK) {
        rd_cas_view_done(&view);
        return err;
    }
    *ret = view;
    return RD_OK;
}

/* Opens the file of a large object; CORRUPT when it is missing or has another size. */
static rd_err open_large(struct rd_cas *cas, const struct rd_cas_head *head,
                         struct rd_cas_handle **ret)
{
    char path[RD_CAS_PATH_MAX];
    struct stat info;
    struct rd_cas_handle *handle = rd_mem_alloc(sizeof *handle);
    if (handle == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    atomic_init(&handle->refs, 1);
    rd_cas_path_large(cas, head->large_id, path);
    handle->fd = open(path, O_RDONLY | O_CLOEXEC);
    rd_err err = handle->fd >= 0 ? RD_OK : errno == ENOENT ? RD_ERR_CORRUPT : rd_err_errno(errno);
    if (err == RD_OK && fstat(handle->fd, &info) != 0) {
        err = rd_err_errno(errno);
    }
    if (err == RD_OK && (uint64_t)info.st_size != head->payload_len) {
        err = RD_ERR_CORRUPT;
    }
    if (err != RD_OK) {
        rd_cas_handle_unref(handle);
        return err;
    }
    *ret = handle;
    return RD_OK;
}

/* A large file is unlinked after its object left the index: then it is gone, not corrupt. */
static bool is_gone(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN])
{
    pthread_mutex_lock(&cas->map);
    const struct rd_cas_entry *entry = rd_cas_index_find(cas->index, blake3);
    bool gone = entry == NULL || !entry->visible;
    pthread_mutex_unlock(&cas->map);
    return gone;
}

static rd_err open_object(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN],
                          struct rd_cas_object *ret)
{
    struct rd_cas_view view;
    struct rd_cas_head head;
    RD_TRY(rd_cas_view_open(cas, blake3, &view, &head));
    struct rd_cas_object object = {.offset = head.offset + head.payload_off,
                                   .size = head.payload_len,
                                   .created_ms = head.created_ms,
                                   .hash = head.hash};
    memcpy(object.content_type, head.content_type, sizeof object.content_type);
    struct rd_cas_handle *handle = view.handle;
    if (head.kind == RD_CAS_LARGE) {
        rd_err err = open_large(cas, &head, &handle);
        rd_cas_view_done(&view);
        RD_TRY(err);
        object.offset = 0;
    } else if (view.note_handle != NULL) {
        rd_cas_handle_unref(view.note_handle);
    }
    object.fd = handle->fd;
    object.internal = handle;
    *ret = object;
    return RD_OK;
}

rd_err rd_cas_open_object(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN],
                          struct rd_cas_object *ret)
{
    rd_err err = open_object(cas, blake3, ret);
    if (err == RD_ERR_CORRUPT) {
        /* Between the look-up and the opening of a large file, the object may have been deleted or
         * got another record. Then the second look says what is true now. */
        err = is_gone(cas, blake3) ? RD_ERR_NOT_FOUND : open_object(cas, blake3, ret);
    }
    return err;
}

void rd_cas_release_object(struct rd_cas_object *object)
{
    if (object->internal != NULL) {
        rd_cas_handle_unref(object->internal);
        object->internal = NULL;
        object->fd = -1;
    }
}

rd_err rd_cas_check_bytes(int fd, uint64_t offset, uint64_t len, const struct rd_hash *hash)
{
    struct rd_hash got;
    struct rd_hasher *hasher = NULL;
    RD_AUTO_FREE char *step = rd_mem_alloc(READ_STEP);
    if (step == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    RD_TRY(rd_hasher_new(&hasher));
    rd_err err = RD_OK;
    for (uint64_t done = 0; done < len && err == RD_OK;) {
        size_t part = len - done < READ_STEP ? (size_t)(len - done) : READ_STEP;
        err = rd_fs_pread_all(fd, step, part, (off_t)(offset + done));
        if (err == RD_OK) {
            rd_hasher_update(hasher, step, part);
        }
        done += part;
    }
    if (err == RD_OK) {
        rd_hasher_finish(hasher, &got);
        if (memcmp(got.blake3, hash->blake3, RD_HASH_LEN) != 0 ||
            memcmp(got.sha256, hash->sha256, RD_HASH_LEN) != 0) {
            err = RD_ERR_CORRUPT;
        }
    }
    rd_hasher_free(hasher);
    return err;
}

rd_err rd_cas_verify_object(struct rd_cas *cas, struct rd_cas_object *object)
{
    pthread_mutex_lock(&cas->map);
    const struct rd_cas_entry *known = rd_cas_index_find(cas->index, object->hash.blake3);
    bool verified = known != NULL && known->verified;
    uint64_t seq = known == NULL ? 0 : known->seq;
    pthread_mutex_unlock(&cas->map);
    if (verified) {
        return RD_OK;
    }
    RD_TRY(rd_cas_check_bytes(object->fd, object->offset, object->size, &object->hash));
    pthread_mutex_lock(&cas->map);
    struct rd_cas_entry *entry = rd_cas_index_find(cas->index, object->hash.blake3);
    if (entry != NULL && entry->seq == seq) { /* still the record that was read */
        entry->verified = true;
    }
    pthread_mutex_unlock(&cas->map);
    return RD_OK;
}

bool rd_cas_owned_by(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN], uint64_t owner)
{
    pthread_mutex_lock(&cas->map);
    struct rd_cas_entry *entry = rd_cas_index_find(cas->index, blake3);
    const struct rd_cas_link *link =
        entry == NULL || !entry->visible ? NULL : rd_cas_entry_link(entry, owner);
    bool owned = link != NULL && link->durable;
    pthread_mutex_unlock(&cas->map);
    return owned;
}

rd_err rd_cas_read_record_meta(int fd, const struct rd_cas_head *head, struct rd_buf *out)
{
    uint8_t check[RD_HASH_LEN];
    char *room = rd_buf_reserve(out, head->meta_len);
    if (room == NULL) {
        return rd_buf_err(out);
    }
    RD_TRY(rd_fs_pread_all(fd, room, head->meta_len, (off_t)rd_cas_head_meta_at(head)));
    rd_hash_blake3(room, head->meta_len, check);
    if (memcmp(check, head->meta_check, sizeof check) != 0) {
        return RD_ERR_CORRUPT;
    }
    rd_buf_commit(out, head->meta_len);
    return RD_OK;
}

rd_err rd_cas_read_meta(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN],
                        struct rd_cas_meta *ret)
{
    RD_AUTO_BUF struct rd_buf meta;
    RD_AUTO_FREE char *note = NULL;
    struct rd_cas_view view;
    struct rd_cas_head head;
    rd_buf_init(&meta, RD_CAS_META_MAX);
    RD_TRY(rd_cas_view_open(cas, blake3, &view, &head));
    size_t note_len = view.note_len;
    rd_err err = rd_cas_read_record_meta(view.handle->fd, &head, &meta);
    if (err == RD_OK && view.note_handle != NULL) {
        note = rd_mem_alloc(note_len + 1);
        err = note == NULL
                  ? RD_ERR_NO_MEMORY
                  : rd_fs_pread_all(view.note_handle->fd, note, note_len, (off_t)view.note_at);
    }
    rd_cas_view_done(&view);
    RD_TRY(err);
    struct rd_cas_meta got = {.note = RD_STEAL(note), .note_len = note_len};
    if (got.note == NULL) {
        got.note_len = 0;
    }
    got.meta = rd_buf_steal(&meta, &got.meta_len);
    *ret = got;
    return RD_OK;
}
