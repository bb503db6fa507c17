/* SPDX-License-Identifier: Apache-2.0
 *
 * The inputs of a request, byte by byte as they go over the wire: the expected bytes are written
 * out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/tensor/tensor.h"
#include "media/media.h"

static const struct rd_format square = {"512", RD_MODALITY_IMAGE, 512, 512};
static const struct rd_format tiny = {"tiny", RD_MODALITY_IMAGE, 4, 4};

static struct rd_generation a_generation(void)
{
    return (struct rd_generation){
        .modality = RD_MODALITY_IMAGE,
        .task = RD_TASK_T2I,
        .family = "flux",
        .model = "schnell",
        .format = &square,
        .media = RD_MEDIA_PNG,
        .prompt = "a cat",
        .negative_prompt = "",
        .seed = 4294967295u,
        .strength = 0.8,
        .steps = 4,
        .guidance = 3.5,
        .cfg = 1,
        .count = 1,
        .shift = -1,
        .sampler = "euler",
        .json = "{\"prompt\":\"a cat\"}",
        .json_len = 18,
    };
}

/* The tensor's bytes, in one piece. */
static size_t bytes_of(const struct rd_tensor *tensor, uint8_t *out)
{
    memcpy(out, tensor->head, tensor->head_len);
    if (tensor->body_len > 0) {
        memcpy(out + tensor->head_len, tensor->body, tensor->body_len);
    }
    return tensor->head_len + tensor->body_len;
}

static void assert_bytes(const struct rd_tensor *tensor, const char *want, size_t len)
{
    uint8_t got[4096];
    assert_true(tensor->head_len + tensor->body_len <= sizeof got);
    assert_int_equal(bytes_of(tensor, got), len);
    assert_memory_equal(got, want, len);
}
#define ASSERT_BYTES(tensor, want) assert_bytes((tensor), (want), sizeof(want) - 1)

static void test_prompt_to_picture(void **state)
{
    (void)state;
    const struct rd_mapping *mapping = rd_mapping_ready("prompt-to-picture");
    struct rd_generation g = a_generation();
    struct rd_tensors tensors;
    assert_int_equal(rd_tensors_make(mapping, &g, 0, &tensors, NULL), RD_OK);
    assert_int_equal(tensors.count, 6); /* no negative prompt */
    const struct rd_tensor *t = tensors.items;
    assert_string_equal(t[0].name, "prompt");
    assert_int_equal(t[0].datatype, RD_DATATYPE_BYTES);
    assert_int_equal(t[0].rank, 1);
    assert_int_equal(t[0].shape[0], 1);
    ASSERT_BYTES(&t[0], "\x05\0\0\0a cat");
    assert_ptr_equal(t[0].body, g.prompt); /* not copied */
    assert_string_equal(t[1].name, "seed");
    ASSERT_BYTES(&t[1], "\xff\xff\xff\xff\0\0\0\0");
    assert_string_equal(t[2].name, "steps");
    ASSERT_BYTES(&t[2], "\x04\0\0\0");
    assert_string_equal(t[3].name, "width");
    ASSERT_BYTES(&t[3], "\0\x02\0\0");
    assert_string_equal(t[5].name, "guidance");
    ASSERT_BYTES(&t[5], "\0\0\x60\x40");
    assert_int_equal(tensors.bytes, 9 + 8 + 4 + 4 + 4 + 4);
    rd_tensors_done(&tensors);
}

int main(void)
{
    (void)tiny;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompt_to_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
