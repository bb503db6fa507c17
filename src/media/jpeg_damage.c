/* SPDX-License-Identifier: Apache-2.0
 *
 * See jpeg_damage.h. */
#include "media/jpeg_damage.h"

#include <stdbool.h>

#include <jerror.h>

enum {
    SCANS_MAX = 64,   /* libjpeg's own progressive files have 10 to 14 */
    PADDING_MAX = 64, /* bytes between the last scan and the end marker */
    MARKER_EOI = 0xd9
};

_Noreturn void rd_jpeg_damage_give_up(struct rd_jpeg_damage *damage, rd_err err,
                                      const char *message)
{
    damage->err = err;
    if (message != NULL && snprintf(damage->message, sizeof damage->message, "%s", message) < 0) {
        damage->message[0] = '\0';
    }
    longjmp(damage->env, 1);
}

static void on_error(j_common_ptr codec)
{
    struct rd_jpeg_damage *damage = (struct rd_jpeg_damage *)(void *)codec->err;
    bool no_memory = damage->base.msg_code == JERR_OUT_OF_MEMORY;
    damage->base.format_message(codec, damage->message);
    rd_jpeg_damage_give_up(damage, no_memory ? RD_ERR_NO_MEMORY : RD_ERR_INVALID_REQUEST, NULL);
}

static void on_message(j_common_ptr codec, int level)
{
    const struct jpeg_error_mgr *base = codec->err;
    bool padding = base->msg_code == JWRN_EXTRANEOUS_DATA && base->msg_parm.i[0] <= PADDING_MAX &&
                   base->msg_parm.i[1] == MARKER_EOI;
    if (level >= 0 || padding || base->msg_code == JWRN_JFIF_MAJOR) {
        return; /* level >= 0 is a trace */
    }
    on_error(codec);
}

static void on_output(j_common_ptr codec)
{
    (void)codec; /* never print */
}

static void on_progress(j_common_ptr common)
{
    const struct jpeg_decompress_struct *codec = (const struct jpeg_decompress_struct *)common;
    struct rd_jpeg_damage *damage = (struct rd_jpeg_damage *)(void *)common->err;
    if (codec->input_scan_number > SCANS_MAX) {
        rd_jpeg_damage_give_up(damage, RD_ERR_INVALID_REQUEST, "too many scans");
    }
    for (int i = 0; i < codec->comps_in_scan; i++) {
        if (codec->cur_comp_info[i] != NULL) { /* a scan's header of which a part is there */
            damage->seen |= 1u << codec->cur_comp_info[i]->component_index;
        }
    }
}

struct jpeg_error_mgr *rd_jpeg_damage_init(struct rd_jpeg_damage *damage)
{
    jpeg_std_error(&damage->base);
    damage->base.error_exit = on_error;
    damage->base.emit_message = on_message;
    damage->base.output_message = on_output;
    return &damage->base;
}

void rd_jpeg_damage_watch(struct rd_jpeg_damage *damage, j_decompress_ptr codec)
{
    damage->progress.progress_monitor = on_progress;
    codec->progress = &damage->progress;
}

void rd_jpeg_damage_complete(struct rd_jpeg_damage *damage, j_decompress_ptr codec)
{
    if (!jpeg_has_multiple_scans(codec)) {
        return;
    }
    bool complete = damage->seen == (1u << codec->num_components) - 1;
    for (int c = 0; codec->coef_bits != NULL && c < codec->num_components; c++) {
        /* bits still to come; -1: never mentioned, which is zero, and for the DC term a lie */
        complete = complete && codec->coef_bits[c][0] == 0;
        for (int k = 1; k < DCTSIZE2; k++) {
            complete = complete && codec->coef_bits[c][k] <= 0;
        }
    }
    if (!complete) {
        rd_jpeg_damage_give_up(damage, RD_ERR_INVALID_REQUEST, "scans are missing");
    }
}
