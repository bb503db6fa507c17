/* SPDX-License-Identifier: Apache-2.0
 *
 * Trusted keys from any bytes. What is taken must be a sound key, once, and a refusal must leave
 * the list as it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "provenance/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd_verify_keys keys = {0};
    struct rd_why why = {""};
    rd_err err = rd_verify_keys_add(&keys, (const char *)data, size, &why);
    if ((err == RD_OK) != (keys.count > 0) || (err != RD_OK) != (why.text[0] != '\0')) {
        abort();
    }
    for (size_t i = 0; i < keys.count; i++) {
        if (crypto_core_ed25519_is_valid_point(keys.keys[i]) != 1) {
            abort();
        }
        for (size_t j = 0; j < i; j++) {
            if (memcmp(keys.keys[i], keys.keys[j], 32) == 0) {
                abort();
            }
        }
    }
    return 0;
}
