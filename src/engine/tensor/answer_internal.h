/* SPDX-License-Identifier: Apache-2.0
 *
 * What answer.c (messages, bytes) and answer_file.c (the picture as a file) share. */
#ifndef RD_ENGINE_TENSOR_ANSWER_INTERNAL_H
#define RD_ENGINE_TENSOR_ANSWER_INTERNAL_H

#include "engine/tensor/answer.h"

enum { RD_ANSWER_LENGTH_LEN = 4 }; /* in front of an element of BYTES */

/* What came is not what was asked for: BACKEND_FAILED, with the tensor's name and the words. */
rd_err rd_answer_malformed(struct rd_answer *answer, struct rd_why *why,
                           const struct rd_mapping_tensor *row, const char *fmt, ...)
    RD_PRINTF(4, 5);

/* The length of the file is known, and it is not empty. */
rd_err rd_answer_file_begin(struct rd_answer *answer, size_t row, struct rd_why *why) RD_MUST;
/* Its next bytes, no more than it has. */
rd_err rd_answer_file_take(struct rd_answer *answer, size_t row, const uint8_t *bytes, size_t len,
                           struct rd_why *why) RD_MUST;
/* The end of one that was held: it becomes what was asked for. */
rd_err rd_answer_file_encode(struct rd_answer *answer, struct rd_why *why) RD_MUST;
/* Gives a picture to the sink: begin, data, end. */
rd_err rd_answer_encode(struct rd_answer *answer, const struct rd_image *image,
                        struct rd_why *why) RD_MUST;

#endif
