/* SPDX-License-Identifier: Apache-2.0
 *
 * BLAKE3 against the official test vectors (input byte i is i % 251; the key is the one below),
 * SHA-256 against FIPS 180-4's examples, HMAC against RFC 4231; one-shot and in pieces. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

enum { INPUT_LEN = 102400 };

static const char key[] = "whats the Elvish word for friend";
static uint8_t input[INPUT_LEN];

static const struct {
    size_t len;
    const char *hash, *keyed;
} vectors[] = {
    {0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
     "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"},
    {1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
     "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"},
    {1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
     "c951ecdf03288d0fcc96ee3413563d8a6d3589547f2c2fb36d9786470f1b9d6e"},
    {1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
     "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4"},
    {1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
     "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69"},
    {2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a",
     "879cf1fa2ea0e79126cb1063617a05b6ad9d0b696d0d757cf053439f60a99dd1"},
    {2049, "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030",
     "9f29700902f7c86e514ddc4df1e3049f258b2472b6dd5267f61bf13983b78dd5"},
    {8193, "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b",
     "954a2a75420c8d6547e3ba5b98d963e6fa6491addc8c023189cc519821b4a1f5"},
    {31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
     "efa53b389ab67c593dba624d898d0f7353ab99e4ac9d42302ee64cbf9939a419"},
    {102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
     "1c35d1a5811083fd7119f5d5d1ba027b4d01c0c6c49fb6ff2cf75393ea5db4a7"},
};

static int fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < INPUT_LEN; i++) {
        input[i] = (uint8_t)(i % 251);
    }
    return 0;
}

static void assert_hex(const uint8_t digest[RD_HASH_LEN], const char *expected)
{
    char hex[RD_HASH_HEX_LEN + 1];
    rd_text_hex(digest, RD_HASH_LEN, hex);
    assert_string_equal(hex, expected);
}

static void official_blake3_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint8_t digest[RD_HASH_LEN];
        rd_hash_blake3(input, vectors[i].len, digest);
        assert_hex(digest, vectors[i].hash);
        rd_hash_blake3_keyed((const uint8_t *)key, input, vectors[i].len, digest);
        assert_hex(digest, vectors[i].keyed);
    }
}

/* The streaming form gives the same however the bytes are cut; both hashes at once. */
static void pieces_make_the_whole(void **state)
{
    (void)state;
    static const size_t steps[] = {1, 63, 64, 65, 1000, 1024, 4096, 65536, INPUT_LEN};
    for (size_t v = 0; v < sizeof vectors / sizeof vectors[0]; v++) {
        uint8_t sha256[RD_HASH_LEN];
        rd_hash_sha256(input, vectors[v].len, sha256);
        for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
            struct rd_hasher *hasher = NULL;
            struct rd_hash hash;
            assert_int_equal(rd_hasher_new(&hasher), RD_OK);
            for (size_t at = 0; at < vectors[v].len; at += steps[s]) {
                size_t rest = vectors[v].len - at;
                rd_hasher_update(hasher, input + at, rest < steps[s] ? rest : steps[s]);
            }
            rd_hasher_update(hasher, NULL, 0);
            rd_hasher_finish(hasher, &hash);
            rd_hasher_free(hasher);
            assert_hex(hash.blake3, vectors[v].hash);
            assert_memory_equal(hash.sha256, sha256, RD_HASH_LEN);
        }
    }
    rd_hasher_free(NULL);
}

static void sha256_of_fips_180(void **state)
{
    (void)state;
    uint8_t digest[RD_HASH_LEN];
    rd_hash_sha256("", 0, digest);
    assert_hex(digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    rd_hash_sha256("abc", 3, digest);
    assert_hex(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    rd_hash_sha256(two_blocks, sizeof two_blocks - 1, digest);
    assert_hex(digest, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    RD_AUTO_FREE char *million = rd_mem_alloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    rd_hash_sha256(million, 1000000, digest);
    assert_hex(digest, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void hmac_of_rfc_4231(void **state)
{
    (void)state;
    uint8_t digest[RD_HASH_LEN];
    uint8_t twenty[20];
    memset(twenty, 0x0b, sizeof twenty);
    rd_hash_hmac_sha256(twenty, 20, "Hi There", 8, digest);
    assert_hex(digest, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    rd_hash_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, digest);
    assert_hex(digest, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    uint8_t long_key[131];
    memset(long_key, 0xaa, sizeof long_key);
    static const char text[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    rd_hash_hmac_sha256(long_key, sizeof long_key, text, sizeof text - 1, digest);
    assert_hex(digest, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(official_blake3_vectors),
        cmocka_unit_test(pieces_make_the_whole),
        cmocka_unit_test(sha256_of_fips_180),
        cmocka_unit_test(hmac_of_rfc_4231),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
