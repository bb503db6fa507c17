/* SPDX-License-Identifier: Apache-2.0
 *
 * The answer to an inference request over HTTP, as its bytes come: JSON, and behind it, with the
 * binary tensor extension, the tensors' bytes in turn.
 *
 *     {"model_name":"m","outputs":[{"name":"IMAGE","datatype":"BYTES","shape":[1],
 *      "parameters":{"binary_data_size":1234}}]}<1234 bytes>
 *
 * A server without the extension writes the elements into the JSON: "data":[12,255,...]. They are
 * not gathered: the scanner keeps the JSON without them (RD_TRITON_HEAD_MAX), and turns each number
 * into the bytes that it would have been. That needs the tensor's name, datatype and shape to stand
 * before its data, as they do in every known server. A string is an element of BYTES, and is
 * gathered (RD_TRITON_STRING_MAX): JSON cannot carry a picture's bytes, so a picture is base64. */
#ifndef RD_ENGINE_TRITON_HTTP_SCAN_H
#define RD_ENGINE_TRITON_HTTP_SCAN_H

#include "base/buf.h"
#include "engine/tensor/answer.h"

enum {
    RD_TRITON_HEAD_MAX = 64 << 10,  /* the JSON without the elements of tensors */
    RD_TRITON_STRING_MAX = 8 << 20, /* an element of BYTES in JSON: a picture as base64 */
    RD_TRITON_DEPTH_MAX = 32,       /* of the JSON */
    RD_TRITON_NUMBER_MAX = 64,      /* a number */
    RD_TRITON_CHUNK = 4096,
};

struct rd_triton_scan {
    struct rd_answer *answer;
    uint64_t json_left; /* bytes of JSON that are to come; UINT64_MAX: all are */
    bool json_over;

    /* the JSON */
    struct rd_buf text;
    unsigned depth;
    uint32_t arrays; /* bit n: what is open at depth n + 1 is an array */
    bool in_string, escaped, outputs;
    size_t string_at, string_len; /* the last string in the text */
    size_t tensor_at;             /* the last object at depth 3 */

    /* elements, while `elements` */
    bool elements, known; /* known: the mapping has the tensor */
    bool is_picture;
    enum rd_datatype datatype;
    unsigned nested;
    struct rd_buf string; /* with its quotes */
    char number[RD_TRITON_NUMBER_MAX];
    size_t number_len;
    uint8_t chunk[RD_TRITON_CHUNK];
    size_t chunk_len;

    /* the bytes behind the JSON */
    uint64_t sizes[RD_ANSWER_TENSORS_MAX];
    size_t blobs, blob;
    uint64_t blob_left;
};

/* Its memory is kept from one answer to the next; a zeroed one is empty. */
void rd_triton_scan_begin(struct rd_triton_scan *scan, struct rd_answer *answer, bool binary,
                          uint64_t json_len);
void rd_triton_scan_done(struct rd_triton_scan *scan);
/* The next bytes. BACKEND_FAILED: they are not that (`why` is set); or the sink's error. */
rd_err rd_triton_scan_feed(struct rd_triton_scan *scan, const char *data, size_t len,
                           struct rd_why *why) RD_MUST;
/* All has come: the answer was whole. */
rd_err rd_triton_scan_end(struct rd_triton_scan *scan, struct rd_why *why) RD_MUST;

#endif
