/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzzes what reads pack files: the walk over records, the search for headers behind damage,
 * events, and with the first byte odd, the recovery of a whole store. The input is the pack behind
 * its first block. Whatever begins a block like a header gets its true offset and checksum here
 * (unless its byte 7 is 1), or no input would ever pass the checksum; the same for the sector
 * behind it. */
#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "cas/internal.h"
#include "cas/wire.h"

enum { INPUT_MAX = 1 << 18 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t secret[RD_CAS_SECRET_LEN] = {'f', 'u', 'z', 'z'};

static void sign(uint8_t *sector, uint64_t offset)
{
    if (memcmp(sector, "RREC", 4) != 0 || sector[7] == 1) {
        return;
    }
    rd_cas_wire_put(sector + 8, offset, 8);
    if (sector[5] == RD_CAS_EVENTS &&
        rd_cas_wire_get(sector + 40, 8) <= RD_CAS_BLOCK - RD_CAS_SECTOR &&
        rd_cas_wire_get(sector + 48, 4) == RD_CAS_SECTOR) {
        rd_hash_blake3(sector + RD_CAS_SECTOR, (size_t)rd_cas_wire_get(sector + 40, 8),
                       sector + 80);
    }
    rd_hash_blake3_keyed(secret, sector, 480, sector + 480);
}

/* A whole pack file around the input; the length goes to ret_len. Free with rd_mem_free. */
static uint8_t *build(const uint8_t *data, size_t size, size_t *ret_len)
{
    size_t len = RD_CAS_BLOCK + RD_CAS_BLOCKS(size) + 2 * RD_CAS_BLOCK;
    uint8_t *pack = rd_mem_alloc(len);
    struct rd_cas_pack_head head = {.number = 1, .base_seq = 0, .created_ms = 1};
    if (pack == NULL) {
        return NULL;
    }
    memcpy(head.secret, secret, sizeof secret);
    rd_cas_pack_head_encode(&head, pack);
    memcpy(pack + RD_CAS_BLOCK, data, size);
    for (size_t at = RD_CAS_BLOCK; at + RD_CAS_BLOCK <= len; at += RD_CAS_BLOCK) {
        sign(pack + at + RD_CAS_SECTOR, at);
        sign(pack + at, at);
    }
    *ret_len = len;
    return pack;
}

static void walk(const uint8_t *bytes, size_t len)
{
    struct rd_cas_pack pack = {.size = len, .head = {.number = 1}};
    struct rd_cas_items items = {0};
    memcpy(pack.head.secret, secret, sizeof secret);
    pack.handle.fd = memfd_create("pack", MFD_CLOEXEC);
    assert(pack.handle.fd >= 0 && write(pack.handle.fd, bytes, len) == (ssize_t)len);
    rd_err err = rd_cas_items_walk(&pack, RD_CAS_BLOCK, len, &items);
    assert(err == RD_OK);
    assert(items.end >= RD_CAS_BLOCK && items.end <= len);
    for (size_t i = 0; i < items.count; i++) {
        const struct rd_cas_item *item = &items.items[i];
        assert(item->offset >= RD_CAS_BLOCK && item->offset < len);
        assert(item->capacity <= len);
        assert(item->note_len <= RD_CAS_NOTE_MAX && item->offset + item->note_len <= len);
    }
    struct rd_cas_head head;
    uint64_t first;
    for (uint64_t at = items.end;
         rd_cas_pack_search(pack.handle.fd, secret, at, len, &head, &first) == RD_OK;
         at = head.offset + head.capacity) {
        assert(head.offset >= at);
    }
    rd_cas_items_done(&items);
    (void)close(pack.handle.fd);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *tree)
{
    (void)info;
    (void)type;
    (void)tree;
    return remove(path);
}

/* Opens a store on the pack. What it shows must be whole; then it must do its work. */
static void recover(const uint8_t *bytes, size_t len)
{
    char dir[] = "/dev/shm/fuzz-cas-XXXXXX", path[64];
    struct rd_cas *cas;
    struct rd_why why;
    if (mkdtemp(dir) == NULL) {
        return;
    }
    (void)snprintf(path, sizeof path, "%s/packs", dir);
    assert(mkdir(path, 0700) == 0);
    (void)snprintf(path, sizeof path, "%s/packs/00000001.pack", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    (void)close(fd);
    struct rd_cas_config config = {.dir = dir, .pack_bytes = RD_CAS_PACK_BYTES_MIN};
    for (int pass = 0; pass < 2; pass++) {
        rd_err err = rd_cas_open(&config, &cas, &why);
        if (err != RD_OK) {
            assert(err == RD_ERR_CORRUPT && why.text[0] != '\0');
            break;
        }
        struct rd_cas_scrub scrub = {0};
        uint64_t count;
        err = rd_cas_scrub(cas, &scrub);
        assert(err == RD_OK);
        err = rd_cas_compact(cas, 0, &count);
        assert(err == RD_OK || err == RD_ERR_CORRUPT);
        err = rd_cas_expire(cas, UINT64_MAX, &count);
        assert(err == RD_OK);
        rd_cas_close(cas);
    }
    (void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len = 0;
    if (size < 2 || size > INPUT_MAX) {
        return 0;
    }
    uint8_t *pack = build(data + 1, size - 1, &len);
    if (pack == NULL) {
        return 0;
    }
    walk(pack, len);
    if (data[0] % 2 == 1) {
        recover(pack, len);
    }
    rd_mem_free(pack);
    return 0;
}
