/* SPDX-License-Identifier: Apache-2.0
 *
 * The items of a pack: found by walking, or read from its hint file, which spares the walk at
 * start.
 *
 * DIR/packs/NNNNNNNN.idx, little-endian:
 *
 *     0 "RDHINT\n1"  8 number u32  12 ended u32  16 end u64  24 synced u64  32 last_seq u64
 *     40 first_seq u64  48 last_first_seq u64  56 kept u64  64 count u64
 *     72 items, 104 bytes each: 0 kind u8  1 event u8  2 want_note u8  3 zero  4 note_len u32
 *        8 place u32  12 zero u32  16 offset u64  24 capacity u64  32 seq u64  40 size u64
 *        48 owner u64  56 created_ms u64  64 large_id u64  72 blake3[32]
 *     then BLAKE3 of all before, keyed with the pack's secret
 *
 * It is replaced whole or not at all, and only believed when the checksum holds: a lost or spoilt
 * hint costs a walk, never data. `ended` says that the pack is sealed, so the hint is complete.
 * Without it, the hint was written when the store closed, and the pack may have grown since: walk
 * on from `end`. */
#include "cas/internal.h"

#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cas/wire.h"

enum {
    HEAD_LEN = 72,
    ITEM_LEN = 104,
    ITEMS_MAX = 1 << 23, /* a 256 MiB pack full of events has 5.5 million */
};

static const char hint_magic[8] = {'R', 'D', 'H', 'I', 'N', 'T', '\n', '1'};

#define put rd_cas_wire_put
#define get rd_cas_wire_get

void rd_cas_items_done(struct rd_cas_items *items)
{
    rd_mem_free(items->items);
    *items = (struct rd_cas_items){0};
}

rd_err rd_cas_items_add(struct rd_cas_items *items, const struct rd_cas_item *item)
{
    if (items->count == items->cap) {
        size_t cap = items->cap == 0 ? 64 : items->cap * 2;
        struct rd_cas_item *grown = rd_mem_resize(items->items, cap * sizeof *grown);
        if (grown == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        items->items = grown;
        items->cap = cap;
    }
    items->items[items->count++] = *item;
    return RD_OK;
}

static rd_err add_events(const struct rd_cas_pack *pack, const struct rd_cas_head *head,
                         struct rd_cas_items *items)
{
    RD_AUTO_BUF struct rd_buf bytes;
    rd_buf_init(&bytes, RD_CAS_EVENTS_MAX);
    struct rd_cas_item item = {.kind = RD_CAS_EVENTS,
                               .pack = pack->head.number,
                               .offset = head->offset,
                               .capacity = head->capacity,
                               .seq = head->seq};
    rd_err err = rd_cas_pack_events(pack->handle.fd, head, &bytes);
    if (err == RD_ERR_CORRUPT) {
        return rd_cas_items_add(items, &item); /* event 0: whoever walks decides */
    }
    RD_TRY(err);
    struct rd_cas_event event;
    uint64_t base = head->offset + head->payload_off;
    for (size_t pos = 0;
         rd_cas_event_read((const uint8_t *)rd_buf_cstr(&bytes), bytes.len, &pos, &event);) {
        item.event = event.type;
        item.owner = event.owner;
        item.note_len = (uint32_t)event.note_len;
        item.offset = base + event.note_at;
        memcpy(item.blake3, event.blake3, RD_HASH_LEN);
        RD_TRY(rd_cas_items_add(items, &item));
        item.place++;
    }
    return RD_OK;
}

static rd_err add_record(const struct rd_cas_pack *pack, const struct rd_cas_head *head,
                         struct rd_cas_items *items)
{
    struct rd_cas_item item = {.kind = head->kind,
                               .want_note = (head->flags & RD_CAS_WANT_NOTE) != 0,
                               .pack = pack->head.number,
                               .offset = head->offset,
                               .capacity = head->capacity,
                               .seq = head->seq,
                               .size = head->payload_len,
                               .owner = head->owner,
                               .created_ms = head->created_ms,
                               .large_id = head->kind == RD_CAS_LARGE ? head->large_id : 0};
    memcpy(item.blake3, head->hash.blake3, RD_HASH_LEN);
    switch ((enum rd_cas_kind)head->kind) {
    case RD_CAS_OBJECT:
    case RD_CAS_DUP:
    case RD_CAS_LARGE:
        return rd_cas_items_add(items, &item);
    case RD_CAS_EVENTS:
        items->kept += head->capacity;
        return add_events(pack, head, items);
    case RD_CAS_END:
        items->ended = true;
        return RD_OK;
    case RD_CAS_OPEN:
    case RD_CAS_VOID:
        return RD_OK;
    }
    return RD_ERR_CORRUPT;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

rd_err rd_cas_items_walk(const struct rd_cas_pack *pack, uint64_t from, uint64_t limit,
                         struct rd_cas_items *items)
{
    struct rd_cas_head head;
    uint64_t first;
    items->end = from;
    while (!items->ended) {
        rd_err err =
            rd_cas_pack_walk(pack->handle.fd, pack->head.secret, items->end, limit, &head, &first);
        if (err == RD_ERR_NOT_FOUND) {
            return RD_OK;
        }
        RD_TRY(err);
        RD_TRY(add_record(pack, &head, items));
        items->synced = max_u64(items->synced, head.synced);
        items->last_seq = max_u64(items->last_seq, head.seq);
        items->first_seq = items->first_seq == 0 ? first : items->first_seq;
        items->last_first_seq = first;
        items->end += head.capacity;
    }
    return RD_OK;
}

static void encode_item(const struct rd_cas_item *item, uint8_t out[ITEM_LEN])
{
    memset(out, 0, ITEM_LEN);
    out[0] = item->kind;
    out[1] = item->event;
    out[2] = item->want_note ? 1 : 0;
    put(out + 4, item->note_len, 4);
    put(out + 8, item->place, 4);
    put(out + 16, item->offset, 8);
    put(out + 24, item->capacity, 8);
    put(out + 32, item->seq, 8);
    put(out + 40, item->size, 8);
    put(out + 48, item->owner, 8);
    put(out + 56, item->created_ms, 8);
    put(out + 64, item->large_id, 8);
    memcpy(out + 72, item->blake3, RD_HASH_LEN);
}

static struct rd_cas_item decode_item(const uint8_t in[ITEM_LEN], uint32_t pack)
{
    struct rd_cas_item item = {.kind = in[0],
                               .event = in[1],
                               .want_note = in[2] != 0,
                               .pack = pack,
                               .note_len = (uint32_t)get(in + 4, 4),
                               .place = (uint32_t)get(in + 8, 4),
                               .offset = get(in + 16, 8),
                               .capacity = get(in + 24, 8),
                               .seq = get(in + 32, 8),
                               .size = get(in + 40, 8),
                               .owner = get(in + 48, 8),
                               .created_ms = get(in + 56, 8),
                               .large_id = get(in + 64, 8)};
    memcpy(item.blake3, in + 72, RD_HASH_LEN);
    return item;
}

rd_err rd_cas_hint_write(const struct rd_cas *cas, const struct rd_cas_pack *pack,
                         const struct rd_cas_items *items, struct rd_why *why)
{
    RD_AUTO_BUF struct rd_buf out;
    char path[RD_CAS_PATH_MAX];
    uint8_t head[HEAD_LEN] = {0}, item[ITEM_LEN], check[RD_HASH_LEN];
    if (items->count > ITEMS_MAX) {
        return rd_why_set(why, RD_ERR_TOO_LARGE, "a pack with more than %d items", ITEMS_MAX);
    }
    rd_buf_init(&out, HEAD_LEN + items->count * ITEM_LEN + RD_HASH_LEN);
    memcpy(head, hint_magic, sizeof hint_magic);
    put(head + 8, pack->head.number, 4);
    put(head + 12, items->ended ? 1 : 0, 4);
    put(head + 16, items->end, 8);
    put(head + 24, items->synced, 8);
    put(head + 32, items->last_seq, 8);
    put(head + 40, items->first_seq, 8);
    put(head + 48, items->last_first_seq, 8);
    put(head + 56, items->kept, 8);
    put(head + 64, items->count, 8);
    rd_buf_append(&out, head, sizeof head);
    for (size_t i = 0; i < items->count; i++) {
        encode_item(&items->items[i], item);
        rd_buf_append(&out, item, sizeof item);
    }
    RD_TRY(rd_buf_err(&out));
    rd_hash_blake3_keyed(pack->head.secret, out.data, out.len, check);
    rd_buf_append(&out, check, sizeof check);
    RD_TRY(rd_buf_err(&out));
    rd_cas_path_pack(cas, pack->head.number, ".idx", path);
    return rd_fs_write_atomic(path, out.data, out.len, 0600, why);
}

/* Checks form and checksum. */
static bool hint_holds(const struct rd_cas_pack *pack, const uint8_t *data, size_t len)
{
    uint8_t check[RD_HASH_LEN];
    if (len < HEAD_LEN + RD_HASH_LEN || memcmp(data, hint_magic, sizeof hint_magic) != 0 ||
        get(data + 8, 4) != pack->head.number) {
        return false;
    }
    uint64_t count = get(data + 64, 8);
    if (count > ITEMS_MAX || len != HEAD_LEN + count * ITEM_LEN + RD_HASH_LEN) {
        return false;
    }
    rd_hash_blake3_keyed(pack->head.secret, data, len - RD_HASH_LEN, check);
    return memcmp(check, data + len - RD_HASH_LEN, sizeof check) == 0;
}

rd_err rd_cas_hint_read(const struct rd_cas *cas, const struct rd_cas_pack *pack,
                        struct rd_cas_items *items)
{
    RD_AUTO_BUF struct rd_buf file;
    char path[RD_CAS_PATH_MAX];
    rd_buf_init(&file, HEAD_LEN + (size_t)ITEMS_MAX * ITEM_LEN + RD_HASH_LEN);
    rd_cas_path_pack(cas, pack->head.number, ".idx", path);
    rd_err err = rd_fs_read(path, &file, NULL);
    const uint8_t *data = (const uint8_t *)rd_buf_cstr(&file);
    if (err == RD_ERR_NO_MEMORY) {
        return err;
    }
    if (err != RD_OK || !hint_holds(pack, data, file.len) || get(data + 16, 8) > pack->size) {
        return RD_ERR_NOT_FOUND;
    }
    items->ended = get(data + 12, 4) != 0;
    items->end = get(data + 16, 8);
    items->synced = get(data + 24, 8);
    items->last_seq = get(data + 32, 8);
    items->first_seq = get(data + 40, 8);
    items->last_first_seq = get(data + 48, 8);
    items->kept = get(data + 56, 8);
    items->trusted = items->ended;
    uint64_t count = get(data + 64, 8);
    for (uint64_t i = 0; i < count; i++) {
        struct rd_cas_item item = decode_item(data + HEAD_LEN + i * ITEM_LEN, pack->head.number);
        err = rd_cas_items_add(items, &item);
        if (err != RD_OK) {
            rd_cas_items_done(items);
            return err;
        }
    }
    return RD_OK;
}
