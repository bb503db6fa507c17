/* SPDX-License-Identifier: Apache-2.0
 *
 * See grpc_request.h. protobuf-c packs what is small: names, shapes, parameters. Behind it the raw
 * contents (field 7) are written by hand, tag and length into `text`, the tensor's body as a piece
 * that points to it. Triton wants raw contents for all inputs or for none, in the order of the
 * inputs, and so they are.
 *
 * The outputs that the mapping reads are asked for by name: a model may have others, and they would
 * be computed and sent for nothing. */
#include "engine/triton/grpc_request.h"

#include <string.h>

#include <inference.pb-c.h>

#include "engine/triton/grpc_message.h"

enum {
    TAG_RAW = 7 << 3 | 2,
    PARAMETERS_MAX = 3,
};

void rd_grpc_request_init(struct rd_grpc_request *request)
{
    *request = (struct rd_grpc_request){.count = 0};
    rd_buf_init(&request->text, RD_GRPC_REQUEST_TEXT_MAX);
}

void rd_grpc_request_done(struct rd_grpc_request *request)
{
    rd_buf_done(&request->text);
}

static void begin(struct rd_grpc_request *request)
{
    static const char frame[RD_GRPC_FRAME_LEN];
    rd_buf_reset(&request->text);
    rd_buf_append(&request->text, frame, sizeof frame);
    request->count = 0;
    request->total = 0;
}

/* What was written to `text` since the last piece becomes one. */
static void piece_of_text(struct rd_grpc_request *request, size_t from)
{
    size_t len = request->text.len - from;
    if (len > 0) {
        request->pieces[request->count].data = NULL;
        request->pieces[request->count].from = from;
        request->pieces[request->count++].len = len;
        request->total += len;
    }
}

/* All is written: the length of the message goes in front. */
static rd_err complete(struct rd_grpc_request *request)
{
    RD_TRY(rd_buf_err(&request->text));
    uint64_t len = request->total - RD_GRPC_FRAME_LEN;
    if (len > INT32_MAX) {
        return RD_ERR_TOO_LARGE;
    }
    for (unsigned i = 0; i < 4; i++) {
        request->text.data[1 + i] = (char)(len >> (24 - 8 * i));
    }
    return RD_OK;
}

static void pack(struct rd_grpc_request *request, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    char *room = rd_buf_reserve(&request->text, len);
    if (room != NULL) {
        rd_buf_commit(&request->text, protobuf_c_message_pack(message, (uint8_t *)room));
    }
}

rd_err rd_grpc_request_message(struct rd_grpc_request *request, const ProtobufCMessage *message)
{
    begin(request);
    pack(request, message);
    RD_TRY(rd_buf_err(&request->text));
    piece_of_text(request, 0);
    return complete(request);
}

/* ---- an inference ---- */

/* The array that a ModelInferRequest is made of: protobuf-c packs from pointers to each. */
struct parts {
    Inference__ModelInferRequest request;
    Inference__ModelInferRequest__InferInputTensor inputs[RD_MAPPING_TENSORS_MAX];
    Inference__ModelInferRequest__InferInputTensor *input_at[RD_MAPPING_TENSORS_MAX];
    Inference__ModelInferRequest__InferRequestedOutputTensor outputs[RD_MAPPING_TENSORS_MAX];
    Inference__ModelInferRequest__InferRequestedOutputTensor *output_at[RD_MAPPING_TENSORS_MAX];
    Inference__InferParameter values[PARAMETERS_MAX];
    Inference__InferParameterEntry entries[PARAMETERS_MAX];
    Inference__InferParameterEntry *entry_at[PARAMETERS_MAX];
};

/* protobuf-c's fields are char *, and only read when packing. */
static char *text(const char *constant)
{
    union {
        const char *in;
        char *out;
    } same = {.in = constant};
    return same.out;
}

static Inference__InferParameter *add_parameter(struct parts *parts, const char *key)
{
    size_t i = parts->request.n_parameters++;
    inference__infer_parameter__init(&parts->values[i]);
    inference__infer_parameter_entry__init(&parts->entries[i]);
    parts->entries[i].key = text(key);
    parts->entries[i].value = &parts->values[i];
    parts->entry_at[i] = &parts->entries[i];
    return &parts->values[i];
}

static void add_parameters(struct parts *parts, const struct rd_grpc_infer *infer)
{
    Inference__InferParameter *value;
    if (infer->priority != 0) {
        value = add_parameter(parts, "priority");
        value->parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_UINT64_PARAM;
        value->uint64_param = infer->priority;
    }
    if (infer->timeout_us != 0) {
        value = add_parameter(parts, "timeout");
        value->parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM;
        value->int64_param = (int64_t)infer->timeout_us;
    }
    if (infer->mapping->decoupled) {
        value = add_parameter(parts, "triton_enable_empty_final_response");
        value->parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_BOOL_PARAM;
        value->bool_param = 1;
    }
    parts->request.parameters = parts->entry_at;
}

static void add_tensors(struct parts *parts, const struct rd_grpc_infer *infer)
{
    const struct rd_tensors *tensors = infer->tensors;
    for (size_t i = 0; i < tensors->count; i++) {
        Inference__ModelInferRequest__InferInputTensor *input = &parts->inputs[i];
        inference__model_infer_request__infer_input_tensor__init(input);
        input->name = text(tensors->items[i].name);
        input->datatype = text(rd_datatype_name(tensors->items[i].datatype));
        input->n_shape = tensors->items[i].rank;
        /* tidy: cast away const: packing reads only */
        input->shape = (int64_t *)(uintptr_t)tensors->items[i].shape;
        parts->input_at[i] = input;
    }
    parts->request.n_inputs = tensors->count;
    parts->request.inputs = parts->input_at;
    for (size_t i = 0; i < infer->mapping->outputs_count; i++) {
        inference__model_infer_request__infer_requested_output_tensor__init(&parts->outputs[i]);
        parts->outputs[i].name = text(infer->mapping->outputs[i].name);
        parts->output_at[i] = &parts->outputs[i];
    }
    parts->request.n_outputs = infer->mapping->outputs_count;
    parts->request.outputs = parts->output_at;
}

static void put_raw(struct rd_grpc_request *request, const struct rd_tensor *tensor, size_t *from)
{
    uint64_t len = tensor->head_len + tensor->body_len;
    rd_buf_char(&request->text, TAG_RAW);
    do {
        rd_buf_char(&request->text, (char)((len & 0x7f) | (len > 0x7f ? 0x80 : 0)));
        len >>= 7;
    } while (len != 0);
    rd_buf_append(&request->text, tensor->head, tensor->head_len);
    if (tensor->body_len > 0) {
        piece_of_text(request, *from);
        *from = request->text.len;
        request->pieces[request->count].data = tensor->body;
        request->pieces[request->count++].len = tensor->body_len;
        request->total += tensor->body_len;
    }
}

rd_err rd_grpc_request_infer(struct rd_grpc_request *request, const struct rd_grpc_infer *infer)
{
    struct parts parts;
    inference__model_infer_request__init(&parts.request);
    parts.request.model_name = text(infer->model);
    if (infer->version != NULL) {
        parts.request.model_version = text(infer->version);
    }
    if (infer->id != NULL) {
        parts.request.id = text(infer->id);
    }
    add_parameters(&parts, infer);
    add_tensors(&parts, infer);
    begin(request);
    pack(request, &parts.request.base);
    size_t from = 0;
    for (size_t i = 0; i < infer->tensors->count; i++) {
        put_raw(request, &infer->tensors->items[i], &from);
    }
    RD_TRY(rd_buf_err(&request->text));
    piece_of_text(request, from);
    return complete(request);
}

size_t rd_grpc_request_read(const struct rd_grpc_request *request, uint64_t offset, uint8_t *out,
                            size_t room)
{
    size_t done = 0;
    uint64_t start = 0;
    for (size_t i = 0; i < request->count && done < room; i++) {
        size_t len = request->pieces[i].len;
        if (offset < start + len) {
            const uint8_t *data =
                request->pieces[i].data != NULL
                    ? request->pieces[i].data
                    : (const uint8_t *)request->text.data + request->pieces[i].from;
            size_t skip = (size_t)(offset - start);
            size_t take = len - skip < room - done ? len - skip : room - done;
            memcpy(out + done, data + skip, take);
            done += take;
            offset += take;
        }
        start += len;
    }
    return done;
}
