/* SPDX-License-Identifier: Apache-2.0
 *
 * How a generation becomes tensors, as data: which input of a model gets which field of the
 * generation, and which output is the picture. An operator writes it (`mappings:` in the
 * configuration, docs/mappings.md), or names one of those compiled in. Everything here is constant
 * and pure: tensor.h makes the inputs, answer.h reads the outputs, an engine moves the bytes.
 *
 * A shape is what goes over the wire, the batch dimension too. Numbers and texts have one element:
 * all dimensions are 1. A raw picture is [H, W, 3] or [3, H, W], with any dimensions of 1 in front;
 * where the 3 stands says which of the two it is. H and W may be -1: the generation's size. */
#ifndef RD_ENGINE_TENSOR_MAPPING_H
#define RD_ENGINE_TENSOR_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/generation.h"
#include "engine/engine.h"
#include "engine/tensor/datatype.h"

enum {
    RD_MAPPING_TENSORS_MAX = 32, /* inputs, and outputs, of one mapping */
    RD_MAPPING_RANK_MAX = 8,
    RD_MAPPING_SIDE_MAX = 4096, /* of a raw picture */
};

/* What an input is filled with. */
enum rd_mapping_field {
    RD_INPUT_VALUE, /* the constant in `value` */
    RD_INPUT_PROMPT,
    RD_INPUT_NEGATIVE_PROMPT,
    RD_INPUT_SEED, /* of this output: the generation's + its index */
    RD_INPUT_STEPS,
    RD_INPUT_GUIDANCE,
    RD_INPUT_CFG,
    RD_INPUT_STRENGTH,
    RD_INPUT_WIDTH,
    RD_INPUT_HEIGHT,
    RD_INPUT_DURATION, /* seconds */
    RD_INPUT_MOTION_STRENGTH,
    RD_INPUT_SHIFT,
    RD_INPUT_SAMPLER,
    RD_INPUT_SCHEDULER,
    RD_INPUT_IMAGE,
    RD_INPUT_MASK,
    RD_INPUT_TASK,       /* "t2i" */
    RD_INPUT_MEDIA_TYPE, /* "image/png": what was asked for */
    RD_INPUT_REQUEST,    /* the whole request as JSON */
    RD_INPUT_COUNT_
};

/* What an output is. */
enum rd_mapping_gives {
    RD_OUTPUT_IMAGE,          /* BYTES: a file; else raw RGB */
    RD_OUTPUT_VIDEO,          /* BYTES: an MP4 file */
    RD_OUTPUT_PROGRESS,       /* a number 0..1 */
    RD_OUTPUT_PREVIEW,        /* as IMAGE, small */
    RD_OUTPUT_DEVICE_SECONDS, /* device time of this output */
    RD_OUTPUT_DEVICE,         /* BYTES: which device, "cuda:0" */
    RD_OUTPUT_COUNT_
};

/* What the samples of a raw picture in a float datatype lie between. */
enum rd_mapping_range {
    RD_RANGE_0_1,
    RD_RANGE_MINUS1_1,
    RD_RANGE_0_255,
    RD_RANGE_COUNT_,
};

/* One row: an input or an output. */
struct rd_mapping_tensor {
    const char *name;
    enum rd_mapping_field field; /* inputs */
    const char *value;           /* inputs: RD_INPUT_VALUE's, as text; else NULL */
    bool optional;               /* inputs: left out when the generation has none */
    enum rd_mapping_gives gives; /* outputs */
    enum rd_datatype datatype;
    enum rd_mapping_range range;
    unsigned rank; /* of an output 0: any shape of one element */
    int64_t shape[RD_MAPPING_RANK_MAX];
};

struct rd_mapping {
    const char *name;
    const char *const *models; /* "family/model" */
    size_t models_count;       /* 0: for every model of the engine that names it */
    const char *model;         /* the server's name for the model; NULL: the catalogue's */
    const char *version;       /* NULL: the server chooses */
    bool decoupled;            /* answers stream: ModelStreamInfer */
    unsigned tasks;            /* 1u << enum rd_task; 0: follows from the rows */
    const struct rd_mapping_tensor *inputs, *outputs;
    size_t inputs_count, outputs_count;
};

/* The names in the configuration; NULL behind the last. */
const char *rd_mapping_field_name(unsigned index); /* "value", "prompt", ... */
const char *rd_mapping_gives_name(unsigned index); /* "image", ... */
const char *rd_mapping_range_name(unsigned index); /* "0..1", "-1..1", "0..255" */

/* The mappings that are compiled in, by name; NULL: no such. By index: NULL behind the last. */
const struct rd_mapping *rd_mapping_ready(const char *name);
const struct rd_mapping *rd_mapping_ready_at(size_t index);

/* What is wrong with a mapping: where it stands, and the sentence. */
struct rd_mapping_problem {
    const char *list; /* "inputs", "outputs"; NULL: the mapping itself */
    size_t index;     /* in that list */
    const char *key;  /* "datatype" ...; NULL: the row as a whole */
    char text[300];   /* "expected X, got Y"; without Y where that is the key's own text */
};

/* The rules between fields. False: none is broken. Everything below wants a mapping that passed. */
bool rd_mapping_problem_find(const struct rd_mapping *mapping, struct rd_mapping_problem *ret);
/* The same as an error: CONFIG, "mapping NAME: inputs[2] (SEED): datatype: expected X, got Y". */
rd_err rd_mapping_check(const struct rd_mapping *mapping, struct rd_why *why) RD_MUST;

/* The one of the engine's mappings that is for `model` ("family/model"); NULL: none. */
const struct rd_mapping *rd_mapping_for(const struct rd_engine_config *config, const char *model);
/* How the server calls the model. Lives as long as the mapping and `model` do. */
const char *rd_mapping_server_model(const struct rd_mapping *mapping, const char *model);
unsigned rd_mapping_tasks(const struct rd_mapping *mapping); /* 1u << enum rd_task */
unsigned rd_mapping_media(const struct rd_mapping *mapping); /* 1u << enum rd_media */
/* It has an output that gives this: for capabilities. */
bool rd_mapping_has(const struct rd_mapping *mapping, enum rd_mapping_gives gives);

/* Where a raw picture's dimensions stand. */
struct rd_mapping_picture {
    unsigned channels; /* 1 or 3 */
    bool planar;       /* [3, H, W] */
    size_t height_at;  /* which dimension is H; W is the next one */
    int64_t width, height;
};
/* False when the shape is none of a raw picture. H and W of -1 stay so. */
bool rd_mapping_picture(const int64_t *shape, size_t rank, struct rd_mapping_picture *ret);

/* A tensor as a server describes it, in its metadata or in front of its answer. */
struct rd_tensor_info {
    const char *name, *datatype;
    const int64_t *shape;
    size_t rank;
    bool optional; /* metadata's inputs: may be left out (ModelConfig's input.optional). Set it also
                      where the server does not tell: then nothing is claimed to be missing */
};

struct rd_model_metadata {
    const char *name, *platform;
    const char *const *versions;
    size_t versions_count;
    const struct rd_tensor_info *inputs, *outputs;
    size_t inputs_count, outputs_count;
    bool decoupled; /* it is known to be (ModelConfig's model_transaction_policy) */
};

/* Whether the server's model takes what the mapping makes, and gives what it reads. CONFIG, with
 * every difference in turn as far as `why` has room: which tensor, what the mapping has, what the
 * server has, what to write. */
rd_err rd_mapping_check_server(const struct rd_mapping *mapping,
                               const struct rd_model_metadata *metadata,
                               struct rd_why *why) RD_MUST;

#endif
