/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in engine's way from a prompt to pixels: any words, any numbers, a tiny picture or
 * frame. Input: 24 bytes of numbers, then the prompt up to a newline, then the negative prompt. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/builtin/video.h"

enum { NUMBERS = 24, SIDE_MAX = 48 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* -64..63 and a few eighths: all ranges of the interface and beyond them on both sides. */
static double number(uint8_t byte)
{
    return byte == 255 ? 1e300 : byte / 2.0 - 64 + byte % 8 / 8.0;
}

static void paint(const struct rd_plan *plan, const uint8_t *n, const uint8_t *source, bool video)
{
    static uint8_t rgb[SIDE_MAX * SIDE_MAX * 3];
    static uint8_t mask[SIDE_MAX * SIDE_MAX];
    memset(mask, n[20], sizeof mask);
    struct rd_paint_input input = {
        .plan = plan,
        .width = n[18] % SIDE_MAX + 1,
        .height = n[19] % SIDE_MAX + 1,
        .source = n[21] & 1 ? source : NULL,
        .mask = (n[21] & 3) == 3 && !video ? mask : NULL,
    };
    struct rd_video *moving = NULL;
    struct rd_painter *painter = NULL;
    if (video && rd_video_new(&input, &moving) == RD_OK) {
        if (rd_video_frame(moving, n[22], rgb) != RD_OK) {
            abort();
        }
    } else if (!video && rd_painter_new(&input, &painter) == RD_OK) {
        for (unsigned i = 0; i < plan->steps; i++) {
            if (rd_painter_step(painter, i) != RD_OK) {
                abort();
            }
        }
        if (rd_painter_show(painter, rgb) != RD_OK) {
            abort();
        }
    }
    rd_video_free(moving);
    rd_painter_free(painter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const samplers[] = {"euler", "res_2m_sde", "res_3s", "uni_pc",
                                           "none of them"};
    static const char *const schedulers[] = {
        "simple", "beta", "exponential", "karras", "bong_tangent", "beta57", "?"};
    static const char *const noises[] = {"gaussian", "perlin", "brownian", "fractal"};
    static uint8_t source[SIDE_MAX * SIDE_MAX * 3];
    if (size < NUMBERS) {
        return 0;
    }
    const uint8_t *n = data;
    char *prompt = rd_mem_memdupz(data + NUMBERS, size - NUMBERS);
    if (!prompt) {
        return 0;
    }
    char *negative = strchr(prompt, '\n');
    if (negative) {
        *negative++ = '\0';
    }
    struct rd_lora lora = {prompt, number(n[15])};
    bool video = n[0] & 1;
    struct rd_generation generation = {
        .modality = video ? RD_MODALITY_VIDEO : RD_MODALITY_IMAGE,
        .prompt = prompt,
        .negative_prompt = negative,
        .steps = n[1] % 5,
        .guidance = number(n[2]),
        .cfg = number(n[3]),
        .strength = number(n[4]),
        .duration = number(n[5]),
        .motion_strength = number(n[6]),
        .shift = number(n[7]),
        .eta = number(n[8]),
        .detail_amount = number(n[9]),
        .detail_start = number(n[10]),
        .detail_end = number(n[11]),
        .sampler = samplers[n[12] % 5],
        .scheduler = schedulers[n[13] % 7],
        .noise_type = noises[n[14] % 4],
        .loras = &lora,
        .loras_count = n[16] & 1,
        .clip_skip = n[17] % 13,
        .lightning = n[0] & 2,
    };
    struct rd_plan plan;
    rd_plan_make(&generation, n[23] * 16777619u, &plan);
    paint(&plan, n, source, video);
    rd_mem_free(prompt);
    return 0;
}
