/* SPDX-License-Identifier: Apache-2.0
 *
 * The mappings that are compiled in, for the shapes that models in the field have; an engine names
 * them like its own. docs/mappings.md has a row for each input and output here, which a test
 * compares.
 *
 * The first five are what we propose to somebody who writes a model
 * now; the others are what well-known tutorials of Triton already have. Inputs that a model may do
 * without are optional here, and are left out where a generation has none of it. */
#include <string.h>

#include "engine/tensor/mapping.h"

#define COUNT(table) (sizeof(table) / sizeof(table)[0])
#define ONE .rank = 1, .shape = {1}
#define BATCHED .rank = 2, .shape = {1, 1} /* max_batch_size over 0: [1] behind the batch */
#define PIXELS .range = RD_RANGE_0_255, .rank = 3, .shape = {-1, -1, 3}
#define INPUT(field_, datatype_, name_)                                                            \
    .name = (name_), .field = RD_INPUT_##field_, .datatype = RD_DATATYPE_##datatype_
#define CONSTANT(value_, datatype_, name_)                                                         \
    .name = (name_), .field = RD_INPUT_VALUE, .value = (value_), .datatype = RD_DATATYPE_##datatype_
#define OUTPUT(gives_, datatype_, name_)                                                           \
    .name = (name_), .gives = RD_OUTPUT_##gives_, .datatype = RD_DATATYPE_##datatype_
#define OPTIONAL .optional = true

#define PROPOSED                                                                                   \
    {INPUT(PROMPT, BYTES, "prompt"), ONE},                                                         \
        {INPUT(NEGATIVE_PROMPT, BYTES, "negative_prompt"), ONE, OPTIONAL},                         \
        {INPUT(SEED, INT64, "seed"), ONE}, {INPUT(STEPS, INT32, "steps"), ONE},                    \
        {INPUT(WIDTH, INT32, "width"), ONE}, {INPUT(HEIGHT, INT32, "height"), ONE},

static const struct rd_mapping_tensor prompt_inputs[] = {
    PROPOSED{INPUT(GUIDANCE, FP32, "guidance"), ONE},
};
static const struct rd_mapping_tensor picture_inputs[] = {
    PROPOSED{INPUT(GUIDANCE, FP32, "guidance"), ONE},
    {INPUT(STRENGTH, FP32, "strength"), ONE, OPTIONAL},
    {INPUT(IMAGE, BYTES, "image"), ONE, OPTIONAL},
    {INPUT(MASK, BYTES, "mask"), ONE, OPTIONAL},
};
static const struct rd_mapping_tensor video_inputs[] = {
    PROPOSED{INPUT(CFG, FP32, "cfg"), ONE},
    {INPUT(DURATION, FP32, "duration"), ONE},
    {INPUT(IMAGE, BYTES, "image"), ONE, OPTIONAL},
};

static const struct rd_mapping_tensor file_outputs[] = {
    {OUTPUT(IMAGE, BYTES, "image")},
};
static const struct rd_mapping_tensor pixels_outputs[] = {
    {OUTPUT(IMAGE, UINT8, "pixels"), PIXELS},
};
static const struct rd_mapping_tensor stream_outputs[] = {
    {OUTPUT(IMAGE, BYTES, "image")},     {OUTPUT(PROGRESS, FP32, "progress")},
    {OUTPUT(PREVIEW, BYTES, "preview")}, {OUTPUT(DEVICE_SECONDS, FP64, "device_seconds")},
    {OUTPUT(DEVICE, BYTES, "device")},
};
static const struct rd_mapping_tensor video_outputs[] = {
    {OUTPUT(VIDEO, BYTES, "video")},
};

/* The ensemble of ONNX models that many repositories started from. It always makes 512 x 512. */
static const struct rd_mapping_tensor ensemble_inputs[] = {
    {INPUT(PROMPT, BYTES, "PROMPT"), ONE},
    {INPUT(NEGATIVE_PROMPT, BYTES, "NEGATIVE_PROMPT"), ONE},
    {CONSTANT("1", INT32, "SAMPLES"), ONE},
    {CONSTANT("DPMSolverMultistepScheduler", BYTES, "SCHEDULER"), ONE},
    {INPUT(STEPS, INT32, "STEPS"), ONE},
    {INPUT(GUIDANCE, FP32, "GUIDANCE_SCALE"), ONE},
    {INPUT(SEED, INT64, "SEED"), ONE},
};
static const struct rd_mapping_tensor ensemble_outputs[] = {
    {OUTPUT(IMAGE, FP16, "IMAGES"), .range = RD_RANGE_0_1, .rank = 4, .shape = {1, -1, -1, 3}},
};

/* NVIDIA's guide to Stable Diffusion with TensorRT. Seed and steps stand in its config.pbtxt. */
static const struct rd_mapping_tensor guide_inputs[] = {
    {INPUT(PROMPT, BYTES, "prompt"), BATCHED},
    {INPUT(NEGATIVE_PROMPT, BYTES, "negative_prompt"), BATCHED, OPTIONAL},
};
static const struct rd_mapping_tensor guide_outputs[] = {
    {OUTPUT(IMAGE, UINT8, "generated_image"), .range = RD_RANGE_0_255, .rank = 4,
     .shape = {1, -1, -1, 3}},
};

#define ROWS(in, out)                                                                              \
    .inputs = (in), .inputs_count = COUNT(in), .outputs = (out), .outputs_count = COUNT(out)
static const struct rd_mapping table[] = {
    {.name = "prompt-to-picture", ROWS(prompt_inputs, file_outputs)},
    {.name = "prompt-to-pixels", ROWS(prompt_inputs, pixels_outputs)},
    {.name = "prompt-to-stream", .decoupled = true, ROWS(prompt_inputs, stream_outputs)},
    {.name = "picture-to-picture", ROWS(picture_inputs, file_outputs)},
    {.name = "prompt-to-video", ROWS(video_inputs, video_outputs)},
    {.name = "stable-diffusion", ROWS(ensemble_inputs, ensemble_outputs)},
    {.name = "tensorrt-diffusion", ROWS(guide_inputs, guide_outputs)},
};

const struct rd_mapping *rd_mapping_ready_at(size_t index)
{
    return index < COUNT(table) ? &table[index] : NULL;
}

const struct rd_mapping *rd_mapping_ready(const char *name)
{
    for (size_t i = 0; i < COUNT(table); i++) {
        if (strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}
