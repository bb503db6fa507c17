/* SPDX-License-Identifier: Apache-2.0
 *
 * What counts as damage in a JPEG, for jpeg.c, which decodes, and check_jpeg.c, which only looks.
 * libjpeg goes on after damage and says so in warnings; here a warning is an error, with two
 * exceptions that lose nothing: an unknown JFIF version, and up to PADDING_MAX bytes of padding in
 * front of the end marker, which some cameras leave. So is a multi-scan file that ends although a
 * component was never sent, or was left half refined, and one of more than SCANS_MAX scans: each
 * nearly empty one costs a walk over the picture.
 *
 * libjpeg's default handler prints and exits the process; this one keeps the text and longjmps to
 * `env`, which its user has set. */
#ifndef RD_MEDIA_JPEG_DAMAGE_H
#define RD_MEDIA_JPEG_DAMAGE_H

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

#include "base/err.h"

struct rd_jpeg_damage {
    struct jpeg_error_mgr base; /* first: the library knows only this one */
    struct jpeg_progress_mgr progress;
    jmp_buf env;
    unsigned seen; /* bit i: component i was in a scan */
    rd_err err;
    char message[JMSG_LENGTH_MAX];
};

/* For codec->err; before jpeg_create_... */
struct jpeg_error_mgr *rd_jpeg_damage_init(struct rd_jpeg_damage *damage);
/* Looks at each scan; after jpeg_create_decompress, which clears the codec. */
void rd_jpeg_damage_watch(struct rd_jpeg_damage *damage, j_decompress_ptr codec);
/* Leaves by longjmp. `message` NULL: the one that is there. */
_Noreturn void rd_jpeg_damage_give_up(struct rd_jpeg_damage *damage, rd_err err,
                                      const char *message);
/* All rows are there: leaves like the above when scans are missing. */
void rd_jpeg_damage_complete(struct rd_jpeg_damage *damage, j_decompress_ptr codec);

#endif
