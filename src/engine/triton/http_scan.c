/* SPDX-License-Identifier: Apache-2.0
 *
 * See http_scan.h. The scanner follows strings, nesting and keys only; that what is left is JSON is
 * for jansson to say, once, at its end. */
#include "engine/triton/http_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "engine/triton/http_internal.h"

static rd_err malformed(struct rd_triton_scan *scan, struct rd_why *why, const char *text)
{
    scan->answer->malformed = true;
    return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the engine's answer: %s", text);
}

void rd_triton_scan_begin(struct rd_triton_scan *scan, struct rd_answer *answer, bool binary,
                          uint64_t json_len)
{
    struct rd_buf text = scan->text;
    rd_buf_done(&scan->string);
    memset(scan, 0, sizeof *scan);
    scan->text = text;
    if (scan->text.max == 0) {
        rd_buf_init(&scan->text, RD_TRITON_HEAD_MAX);
    }
    rd_buf_reset(&scan->text);
    rd_buf_init(&scan->string, RD_TRITON_STRING_MAX);
    scan->answer = answer;
    scan->json_left = binary ? json_len : UINT64_MAX;
}

void rd_triton_scan_done(struct rd_triton_scan *scan)
{
    rd_buf_done(&scan->text);
    rd_buf_done(&scan->string);
}

/* ---- a tensor as JSON describes it ---- */

struct tensor {
    struct rd_tensor_info info;
    int64_t shape[RD_MAPPING_RANK_MAX];
};

/* Points into `json`. */
static bool read_tensor(const json_t *json, struct tensor *ret)
{
    const char *name = json_string_value(json_object_get(json, "name"));
    const char *datatype = json_string_value(json_object_get(json, "datatype"));
    const json_t *shape = json_object_get(json, "shape");
    size_t rank = json_array_size(shape);
    if (name == NULL || datatype == NULL || !json_is_array(shape) || rank > RD_MAPPING_RANK_MAX) {
        return false;
    }
    for (size_t i = 0; i < rank; i++) {
        const json_t *dimension = json_array_get(shape, i);
        if (!json_is_integer(dimension)) {
            return false;
        }
        ret->shape[i] = json_integer_value(dimension);
    }
    ret->info = (struct rd_tensor_info){
        .name = name, .datatype = datatype, .shape = ret->shape, .rank = rank};
    return true;
}

/* ---- elements in JSON ---- */

static const struct rd_mapping_tensor *row_of(const struct rd_triton_scan *scan, const char *name)
{
    const struct rd_mapping *mapping = scan->answer->mapping;
    for (size_t i = 0; i < mapping->outputs_count; i++) {
        if (strcmp(mapping->outputs[i].name, name) == 0) {
            return &mapping->outputs[i];
        }
    }
    return NULL;
}

/* "data": of a tensor: what stands of it so far says what its elements are. */
static rd_err begin_elements(struct rd_triton_scan *scan, struct rd_why *why)
{
    RD_AUTO_BUF struct rd_buf object;
    struct tensor tensor;
    rd_buf_init(&object, RD_TRITON_HEAD_MAX + 8);
    rd_buf_append(&object, scan->text.data + scan->tensor_at, scan->text.len - scan->tensor_at);
    rd_buf_str(&object, "null}");
    RD_TRY(rd_buf_err(&object));
    json_t *json = rd_triton_http_json(object.data, object.len);
    rd_err err = RD_OK;
    if (json == NULL || !read_tensor(json, &tensor) ||
        !rd_datatype_parse(tensor.info.datatype, &scan->datatype)) {
        err = malformed(scan, why, "a tensor's data stands before its name, datatype and shape");
    } else {
        const struct rd_mapping_tensor *row = row_of(scan, tensor.info.name);
        scan->known = row != NULL;
        scan->is_picture =
            row != NULL && (row->gives == RD_OUTPUT_IMAGE || row->gives == RD_OUTPUT_VIDEO ||
                            row->gives == RD_OUTPUT_PREVIEW);
        scan->elements = true;
        scan->nested = 0;
        scan->number_len = 0;
        scan->chunk_len = 0;
        err = rd_answer_head(scan->answer, &tensor.info, 1, why);
    }
    json_decref(json);
    return err;
}

static rd_err flush(struct rd_triton_scan *scan, struct rd_why *why)
{
    size_t len = scan->chunk_len;
    scan->chunk_len = 0;
    return len == 0 ? RD_OK : rd_answer_data(scan->answer, 0, scan->chunk, len, why);
}

/* The element's bytes; false when the datatype has no such value. */
static bool convert(const struct rd_triton_scan *scan, uint8_t out[8])
{
    const char *number = scan->number;
    bool negative = number[0] == '-';
    uint64_t magnitude;
    if (strcmp(number, "true") == 0 || strcmp(number, "false") == 0) {
        return rd_datatype_put_integer(scan->datatype, false, number[0] == 't', out);
    }
    if (!rd_datatype_is_float(scan->datatype) &&
        rd_text_u64(number + negative, strlen(number) - negative, &magnitude)) {
        return rd_datatype_put_integer(scan->datatype, negative, magnitude, out);
    }
    char *end = NULL;
    double value = strtod(number, &end);
    if (end == number || *end != '\0' || !isfinite(value)) {
        return false;
    }
    if (rd_datatype_is_float(scan->datatype)) {
        return rd_datatype_put_number(scan->datatype, value, out);
    }
    return value >= -9e15 && value <= 9e15 && floor(value) == value &&
           rd_datatype_put_integer(scan->datatype, value < 0, (uint64_t)fabs(value), out);
}

static rd_err end_number(struct rd_triton_scan *scan, struct rd_why *why)
{
    uint8_t bytes[8];
    size_t size = rd_datatype_size(scan->datatype);
    if (scan->number_len == 0) {
        return RD_OK;
    }
    scan->number[scan->number_len] = '\0';
    scan->number_len = 0;
    if (!scan->known) {
        return RD_OK;
    }
    if (size == 0 || !convert(scan, bytes)) {
        return malformed(scan, why, "an element of a tensor is no value of its datatype");
    }
    if (scan->chunk_len + size > RD_TRITON_CHUNK) {
        RD_TRY(flush(scan, why));
    }
    memcpy(scan->chunk + scan->chunk_len, bytes, size);
    scan->chunk_len += size;
    return RD_OK;
}

static rd_err give_bytes(struct rd_triton_scan *scan, const void *data, size_t len,
                         struct rd_why *why)
{
    const uint8_t length[4] = {(uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16),
                               (uint8_t)(len >> 24)};
    RD_TRY(rd_answer_data(scan->answer, 0, length, sizeof length, why));
    return len == 0 ? RD_OK : rd_answer_data(scan->answer, 0, data, len, why);
}

static rd_err give_base64(struct rd_triton_scan *scan, const char *text, size_t len,
                          struct rd_why *why)
{
    RD_AUTO_FREE uint8_t *bytes = rd_mem_alloc(len / 4 * 3 + 3);
    size_t bytes_len = 0;
    if (bytes == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    if (rd_text_unbase64(text, len, bytes, &bytes_len) != RD_OK) {
        return malformed(scan, why, "a picture in JSON must be base64");
    }
    return give_bytes(scan, bytes, bytes_len, why);
}

static rd_err end_string(struct rd_triton_scan *scan, struct rd_why *why)
{
    if (!scan->known) {
        return RD_OK;
    }
    if (scan->string.err == RD_ERR_TOO_LARGE) {
        return malformed(scan, why, "a picture in JSON is larger than 8 MiB");
    }
    RD_TRY(rd_buf_err(&scan->string));
    json_t *json =
        json_loadb(scan->string.data, scan->string.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    rd_err err = RD_OK;
    if (!json_is_string(json) || scan->datatype != RD_DATATYPE_BYTES) {
        err = malformed(scan, why, "an element of a tensor is no value of its datatype");
    } else if (scan->is_picture) {
        err = give_base64(scan, json_string_value(json), json_string_length(json), why);
    } else {
        err = give_bytes(scan, json_string_value(json), json_string_length(json), why);
    }
    json_decref(json);
    rd_buf_reset(&scan->string);
    return err;
}

static void string_char(struct rd_triton_scan *scan, char c)
{
    if (scan->known) {
        rd_buf_char(&scan->string, c);
    }
    if (scan->escaped) {
        scan->escaped = false;
    } else if (c == '\\') {
        scan->escaped = true;
    } else if (c == '"') {
        scan->in_string = false;
    }
}

static rd_err element_char(struct rd_triton_scan *scan, char c, struct rd_why *why)
{
    if (scan->in_string) {
        string_char(scan, c);
        return scan->in_string ? RD_OK : end_string(scan, why);
    }
    switch (c) {
    case '[':
        scan->nested++;
        return scan->nested <= RD_TRITON_DEPTH_MAX ? RD_OK
                                                   : malformed(scan, why, "it is nested too deep");
    case ']':
        RD_TRY(end_number(scan, why));
        if (scan->nested == 0) {
            return malformed(scan, why, "a tensor's data is no list");
        }
        if (--scan->nested == 0) {
            scan->elements = false;
            rd_buf_str(&scan->text, "null");
            return flush(scan, why);
        }
        return RD_OK;
    case ',':
    case ' ':
    case '\t':
    case '\r':
    case '\n':
        return end_number(scan, why);
    case '"':
        scan->in_string = true;
        rd_buf_reset(&scan->string);
        rd_buf_char(&scan->string, '"');
        return scan->nested > 0 ? RD_OK : malformed(scan, why, "a tensor's data is no list");
    default:
        if (scan->nested == 0) {
            return malformed(scan, why, "a tensor's data is no list");
        }
        if (scan->number_len + 1 >= RD_TRITON_NUMBER_MAX ||
            strchr("+-.0123456789eEtrufals", c) == NULL) {
            return malformed(scan, why, "an element of a tensor is no value of its datatype");
        }
        scan->number[scan->number_len++] = c;
        return RD_OK;
    }
}

/* ---- the JSON without elements ---- */

static bool last_string_is(const struct rd_triton_scan *scan, const char *text)
{
    return rd_text_eq(scan->text.data + scan->string_at, scan->string_len, text);
}

static rd_err open_bracket(struct rd_triton_scan *scan, char c, struct rd_why *why)
{
    if (scan->depth == RD_TRITON_DEPTH_MAX) {
        return malformed(scan, why, "it is nested too deep");
    }
    scan->arrays = (scan->arrays & ~(1u << scan->depth)) | (c == '[' ? 1u << scan->depth : 0);
    scan->depth++;
    if (scan->depth == 3 && c == '{') {
        scan->tensor_at = scan->text.len - 1;
    }
    return RD_OK;
}

static rd_err json_char(struct rd_triton_scan *scan, char c, struct rd_why *why)
{
    rd_buf_char(&scan->text, c);
    if (scan->in_string) {
        if (scan->escaped) {
            scan->escaped = false;
        } else if (c == '\\') {
            scan->escaped = true;
        } else if (c == '"') {
            scan->in_string = false;
            scan->string_len = scan->text.len - 1 - scan->string_at;
        }
        return RD_OK;
    }
    switch (c) {
    case '"':
        scan->in_string = true;
        scan->string_at = scan->text.len;
        break;
    case '{':
    case '[':
        return open_bracket(scan, c, why);
    case '}':
    case ']':
        if (scan->depth == 0) {
            return malformed(scan, why, "it is not JSON");
        }
        scan->depth--;
        break;
    case ':':
        if (scan->depth == 1) {
            scan->outputs = last_string_is(scan, "outputs");
        } else if (scan->depth == 3 && scan->outputs && (scan->arrays & 7u) == 2u &&
                   last_string_is(scan, "data")) {
            return rd_buf_err(&scan->text) == RD_OK ? begin_elements(scan, why) : RD_OK;
        }
        break;
    default:
        break;
    }
    return RD_OK;
}

/* The JSON is complete: which tensors follow as bytes? */
static rd_err read_outputs(struct rd_triton_scan *scan, const json_t *outputs, struct rd_why *why)
{
    struct tensor tensors[RD_ANSWER_TENSORS_MAX];
    struct rd_tensor_info infos[RD_ANSWER_TENSORS_MAX];
    size_t count = json_array_size(outputs);
    if (!json_is_array(outputs) || count > RD_ANSWER_TENSORS_MAX) {
        return malformed(scan, why, "it has no list of outputs, or too many");
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *output = json_array_get(outputs, i);
        const json_t *size =
            json_object_get(json_object_get(output, "parameters"), "binary_data_size");
        if (size == NULL) {
            continue; /* its elements came in the JSON */
        }
        if (!json_is_integer(size) || json_integer_value(size) < 0 ||
            !read_tensor(output, &tensors[scan->blobs])) {
            return malformed(scan, why, "an output has no name, datatype, shape or size");
        }
        infos[scan->blobs] = tensors[scan->blobs].info;
        scan->sizes[scan->blobs] = (uint64_t)json_integer_value(size);
        if (scan->sizes[scan->blobs] > UINT32_MAX) {
            return malformed(scan, why, "an output is larger than 4 GiB");
        }
        scan->blobs++;
    }
    if (scan->blobs == 0) {
        return RD_OK;
    }
    scan->blob_left = scan->sizes[0];
    return rd_answer_head(scan->answer, infos, scan->blobs, why);
}

static rd_err end_json(struct rd_triton_scan *scan, struct rd_why *why)
{
    scan->json_over = true;
    RD_TRY(rd_buf_err(&scan->text));
    json_t *json = scan->elements ? NULL : rd_triton_http_json(scan->text.data, scan->text.len);
    if (!json_is_object(json)) {
        json_decref(json);
        return malformed(scan, why, "it is not JSON, or ends early");
    }
    rd_err err = read_outputs(scan, json_object_get(json, "outputs"), why);
    json_decref(json);
    return err;
}

/* ---- all of it ---- */

static rd_err feed_json(struct rd_triton_scan *scan, const char *data, size_t len,
                        struct rd_why *why)
{
    for (size_t i = 0; i < len; i++) {
        RD_TRY(scan->elements ? element_char(scan, data[i], why) : json_char(scan, data[i], why));
        if (scan->text.err == RD_ERR_TOO_LARGE) {
            return malformed(scan, why, "its JSON is larger than 64 KiB");
        }
    }
    return rd_buf_err(&scan->text);
}

static rd_err feed_blobs(struct rd_triton_scan *scan, const char *data, size_t len,
                         struct rd_why *why)
{
    while (len > 0) {
        while (scan->blob < scan->blobs && scan->blob_left == 0) {
            scan->blob++;
            scan->blob_left = scan->blob < scan->blobs ? scan->sizes[scan->blob] : 0;
        }
        if (scan->blob == scan->blobs) {
            return malformed(scan, why, "it has more bytes than its tensors");
        }
        size_t step = len < scan->blob_left ? len : (size_t)scan->blob_left;
        RD_TRY(rd_answer_data(scan->answer, scan->blob, data, step, why));
        scan->blob_left -= step;
        data += step;
        len -= step;
    }
    return RD_OK;
}

rd_err rd_triton_scan_feed(struct rd_triton_scan *scan, const char *data, size_t len,
                           struct rd_why *why)
{
    if (!scan->json_over) {
        size_t step = len < scan->json_left ? len : (size_t)scan->json_left;
        RD_TRY(feed_json(scan, data, step, why));
        if (scan->json_left != UINT64_MAX) {
            scan->json_left -= step;
        }
        if (scan->json_left > 0) {
            return RD_OK;
        }
        RD_TRY(end_json(scan, why));
        data += step;
        len -= step;
    }
    return feed_blobs(scan, data, len, why);
}

rd_err rd_triton_scan_end(struct rd_triton_scan *scan, struct rd_why *why)
{
    if (!scan->json_over) {
        if (scan->json_left != UINT64_MAX) {
            return malformed(scan, why, "it ends inside its JSON");
        }
        RD_TRY(end_json(scan, why));
    }
    uint64_t left = scan->blob < scan->blobs ? scan->blob_left : 0;
    for (size_t i = scan->blob + 1; i < scan->blobs; i++) {
        left += scan->sizes[i];
    }
    return left == 0 ? RD_OK : malformed(scan, why, "it ends before its tensors do");
}
