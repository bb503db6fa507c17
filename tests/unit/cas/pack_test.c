/* SPDX-License-Identifier: Apache-2.0
 *
 * The format: the bytes are where pack.c says (a change must be deliberate), every flipped bit of a
 * header is noticed, a header counts only where it was written for, and lengths that do not fit are
 * refused even with a good checksum. */
#include "support.h"

static const uint8_t secret[RD_CAS_SECRET_LEN] = {1, 2, 3, 4, 5};

static struct rd_cas_head sample(void)
{
    struct rd_cas_head head = {.kind = RD_CAS_OBJECT,
                               .flags = RD_CAS_WANT_NOTE,
                               .payload_off = 512,
                               .meta_len = 0x21,
                               .offset = 0x12000,
                               .capacity = 0x3000,
                               .seq = 0x1122334455667788,
                               .synced = 0x1122334455667700,
                               .payload_len = 0x1234,
                               .owner = 0xa1a2a3a4a5a6a7a8,
                               .created_ms = 0x0000018f00000001,
                               .large_id = 0xffeeddccbbaa9988};
    memset(head.hash.blake3, 0xb3, RD_HASH_LEN);
    memset(head.hash.sha256, 0x5a, RD_HASH_LEN);
    memset(head.meta_check, 0xec, RD_HASH_LEN);
    (void)snprintf(head.content_type, sizeof head.content_type, "image/png");
    return head;
}

static void test_layout(void **state)
{
    (void)state;
    uint8_t got[RD_CAS_SECTOR], want[RD_CAS_SECTOR] = {0};
    struct rd_cas_head head = sample(), back;
    static const uint8_t front[80] = {
        'R',  'R',  'E',  'C',  1,    2,    1,    0,    0x00, 0x20, 0x01, 0,    0,    0,
        0,    0,    0x00, 0x30, 0,    0,    0,    0,    0,    0,    0x88, 0x77, 0x66, 0x55,
        0x44, 0x33, 0x22, 0x11, 0x00, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x34, 0x12,
        0,    0,    0,    0,    0,    0,    0x00, 0x02, 0,    0,    0x21, 0,    0,    0,
        0xa8, 0xa7, 0xa6, 0xa5, 0xa4, 0xa3, 0xa2, 0xa1, 0x01, 0,    0,    0,    0x8f, 0x01,
        0,    0,    0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    memcpy(want, front, sizeof front);
    memset(want + 80, 0xb3, 32);
    memset(want + 112, 0x5a, 32);
    memset(want + 144, 0xec, 32);
    memcpy(want + 176, "image/png", 9);
    rd_hash_blake3_keyed(secret, want, 480, want + 480);
    rd_cas_head_encode(&head, secret, got);
    assert_memory_equal(got, want, sizeof want);
    assert_true(rd_cas_head_decode(got, secret, head.offset, &back));
    assert_memory_equal(&back.hash, &head.hash, sizeof head.hash);
    assert_int_equal(back.seq, head.seq);
    assert_int_equal(back.synced, head.synced);
    assert_int_equal(back.owner, head.owner);
    assert_int_equal(back.large_id, head.large_id);
    assert_int_equal(back.created_ms, head.created_ms);
    assert_string_equal(back.content_type, "image/png");
    assert_int_equal(rd_cas_head_meta_at(&back), 0x12000 + 512 + 0x1234);
    back.kind = RD_CAS_LARGE;
    assert_int_equal(rd_cas_head_meta_at(&back), 0x12000 + 512);

    struct rd_cas_pack_head pack = {.number = 7, .base_seq = 9, .created_ms = 11}, pack_back;
    memcpy(pack.secret, secret, sizeof secret);
    memset(want, 0, sizeof want);
    memcpy(want, "RDPACK\n1\7\0\0\0\0\0\0\0\11\0\0\0\0\0\0\0\13\0\0\0\0\0\0\0", 32);
    memcpy(want + 32, secret, sizeof secret);
    rd_hash_blake3(want, 480, want + 480);
    rd_cas_pack_head_encode(&pack, got);
    assert_memory_equal(got, want, sizeof want);
    assert_true(rd_cas_pack_head_decode(got, &pack_back));
    assert_int_equal(pack_back.number, 7);
    assert_memory_equal(pack_back.secret, secret, sizeof secret);
    for (size_t bit = 0; bit < 8 * sizeof got; bit++) {
        got[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(rd_cas_pack_head_decode(got, &pack_back));
        got[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void test_every_flipped_bit(void **state)
{
    (void)state;
    uint8_t bytes[RD_CAS_SECTOR], other[RD_CAS_SECRET_LEN];
    struct rd_cas_head head = sample(), back = {.seq = 77};
    rd_cas_head_encode(&head, secret, bytes);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(rd_cas_head_decode(bytes, secret, head.offset, &back));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(back.seq, 77);                                             /* untouched */
    assert_false(rd_cas_head_decode(bytes, secret, head.offset + 4096, &back)); /* elsewhere */
    memcpy(other, secret, sizeof other);
    other[31] ^= 1;
    assert_false(rd_cas_head_decode(bytes, other, head.offset, &back)); /* another pack */
    assert_true(rd_cas_head_decode(bytes, secret, head.offset, &back));
}

static bool accepted(const struct rd_cas_head *head)
{
    uint8_t bytes[RD_CAS_SECTOR];
    struct rd_cas_head back;
    rd_cas_head_encode(head, secret, bytes);
    return rd_cas_head_decode(bytes, secret, head->offset, &back);
}

static void test_bounds(void **state)
{
    (void)state;
    struct rd_cas_head head = sample();
    head.meta_len = 0;
    head.payload_len = 0x3000 - 512;
    assert_true(accepted(&head));
    head.payload_len++;
    assert_false(accepted(&head)); /* payload beyond the record */
    head.kind = RD_CAS_LARGE;
    assert_true(accepted(&head)); /* it lies elsewhere */
    head.payload_len = ((uint64_t)1 << 32) + 1;
    assert_false(accepted(&head));
    head = sample();
    head.payload_len = 0;
    head.capacity = 0x20000;
    head.meta_len = RD_CAS_META_MAX;
    assert_true(accepted(&head));
    head.meta_len++;
    assert_false(accepted(&head));
    head = sample();
    head.capacity = 4095;
    assert_false(accepted(&head));
    head.capacity = 0;
    assert_false(accepted(&head));
    head.capacity = UINT64_MAX - 4095;
    assert_false(accepted(&head));
    head = sample();
    head.offset = 0;
    assert_false(accepted(&head));
    head.offset = 0x12200;
    assert_false(accepted(&head)); /* between blocks */
    head = sample();
    head.kind = 0;
    assert_false(accepted(&head));
    head.kind = RD_CAS_END + 1;
    assert_false(accepted(&head));
    head = sample();
    head.payload_off = 511;
    assert_false(accepted(&head));
    head.payload_off = 0x3001;
    assert_false(accepted(&head));
    head = sample();
    head.kind = RD_CAS_EVENTS;
    head.capacity = 0x100000;
    head.payload_len = RD_CAS_EVENTS_MAX;
    assert_true(accepted(&head));
    head.payload_len++;
    assert_false(accepted(&head));
}

static void test_events(void **state)
{
    (void)state;
    struct rd_buf out;
    uint8_t note[RD_CAS_NOTE_MAX];
    memset(note, 0xaa, sizeof note);
    rd_buf_init(&out, 65536);
    struct rd_cas_event in[3] = {{.type = RD_CAS_NOTE, .note = note, .note_len = sizeof note},
                                 {.type = RD_CAS_LINK, .owner = 5},
                                 {.type = RD_CAS_UNLINK, .owner = UINT64_MAX}};
    for (size_t i = 0; i < 3; i++) {
        memset(in[i].blake3, (int)i + 1, RD_HASH_LEN);
        rd_cas_event_write(&out, &in[i]);
    }
    const uint8_t *data = (const uint8_t *)out.data;
    size_t pos = 0;
    struct rd_cas_event got;
    for (size_t i = 0; i < 3; i++) {
        assert_true(rd_cas_event_read(data, out.len, &pos, &got));
        assert_int_equal(got.type, in[i].type);
        assert_int_equal(got.owner, in[i].owner);
        assert_memory_equal(got.blake3, in[i].blake3, RD_HASH_LEN);
        assert_int_equal(got.note_len, in[i].note_len);
    }
    assert_int_equal(pos, out.len);
    assert_false(rd_cas_event_read(data, out.len, &pos, &got));
    for (size_t cut = 0; cut < RD_CAS_EVENT_LEN + RD_CAS_NOTE_MAX; cut++) { /* cut short */
        pos = 0;
        assert_false(rd_cas_event_read(data, cut, &pos, &got));
        assert_int_equal(pos, 0);
    }
    pos = SIZE_MAX;
    assert_false(rd_cas_event_read(data, out.len, &pos, &got));
    uint8_t bad[600] = {RD_CAS_NOTE, 0, 0x01, 0x02}; /* a note of 513 bytes */
    pos = 0;
    assert_false(rd_cas_event_read(bad, sizeof bad, &pos, &got));
    bad[0] = RD_CAS_LINK;
    bad[2] = 1;
    bad[3] = 0; /* a link with a note */
    assert_false(rd_cas_event_read(bad, sizeof bad, &pos, &got));
    bad[2] = 0;
    assert_true(rd_cas_event_read(bad, sizeof bad, &pos, &got));
    bad[0] = 4;
    pos = 0;
    assert_false(rd_cas_event_read(bad, sizeof bad, &pos, &got));
    rd_buf_done(&out);
}

static void put_head(int fd, struct rd_cas_head head, uint64_t at)
{
    uint8_t bytes[RD_CAS_SECTOR];
    rd_cas_head_encode(&head, secret, bytes);
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, (off_t)at), sizeof bytes);
}

static void test_walk_and_search(void **state)
{
    (void)state;
    struct place place;
    char path[400];
    place_make(&place);
    (void)snprintf(path, sizeof path, "%s/pack", place.root);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    uint64_t size = 0x100000, first = 0;
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    struct rd_cas_head head = {.kind = RD_CAS_OPEN,
                               .offset = 4096,
                               .capacity = 8192,
                               .seq = 5,
                               .payload_off = 4096},
                       got;
    assert_int_equal(rd_cas_pack_walk(fd, secret, 4096, size, &got, &first), RD_ERR_NOT_FOUND);
    assert_int_equal(rd_cas_pack_search(fd, secret, 4096, size, &got, &first), RD_ERR_NOT_FOUND);
    put_head(fd, head, 4096);
    assert_int_equal(rd_cas_pack_walk(fd, secret, 4096, size, &got, &first), RD_OK);
    assert_int_equal(got.kind, RD_CAS_OPEN); /* still being filled, or given up */
    struct rd_cas_head final = head;
    final.kind = RD_CAS_OBJECT;
    final.seq = 9;
    final.payload_len = 100;
    put_head(fd, final, 4096 + 512);
    assert_int_equal(rd_cas_pack_walk(fd, secret, 4096, size, &got, &first), RD_OK);
    assert_int_equal(got.kind, RD_CAS_OBJECT);
    assert_int_equal(got.seq, 9);
    assert_int_equal(first, 5);
    final.capacity = 4096; /* a final header that does not match its region does not count */
    put_head(fd, final, 4096 + 512);
    assert_int_equal(rd_cas_pack_walk(fd, secret, 4096, size, &got, &first), RD_OK);
    assert_int_equal(got.kind, RD_CAS_OPEN);
    /* A second header behind an OBJECT is payload, whatever it says. */
    head.kind = RD_CAS_OBJECT;
    head.payload_off = 512;
    put_head(fd, head, 4096);
    assert_int_equal(rd_cas_pack_walk(fd, secret, 4096, size, &got, &first), RD_OK);
    assert_int_equal(got.seq, 5);
    /* Beyond the end of the file. */
    assert_int_equal(rd_cas_pack_walk(fd, secret, 4096, 4096 + 8191, &got, &first),
                     RD_ERR_NOT_FOUND);
    assert_int_equal(rd_cas_pack_walk(fd, secret, size, size, &got, &first), RD_ERR_NOT_FOUND);
    assert_int_equal(rd_cas_pack_walk(fd, secret, UINT64_MAX, size, &got, &first),
                     RD_ERR_NOT_FOUND);
    /* The search finds it over a gap, and nothing behind it. */
    head.offset = 0x80000;
    put_head(fd, head, 0x80000);
    assert_int_equal(rd_cas_pack_search(fd, secret, 8192, size, &got, &first), RD_OK);
    assert_int_equal(got.offset, 0x80000);
    assert_int_equal(rd_cas_pack_search(fd, secret, 0x81000, size, &got, &first), RD_ERR_NOT_FOUND);
    close(fd);
    place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),          cmocka_unit_test(test_every_flipped_bit),
        cmocka_unit_test(test_bounds),          cmocka_unit_test(test_events),
        cmocka_unit_test(test_walk_and_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
