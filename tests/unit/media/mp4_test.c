/* SPDX-License-Identifier: Apache-2.0
 *
 * MP4: the file's boxes read here by hand, its content by ffprobe and ffmpeg where they are
 * installed, and both encoders that Debian's FFmpeg has. */
#include "pictures.h"

#include <stdlib.h>

#include <libavcodec/avcodec.h>

static const char *const encoders[] = {"libx264", "libopenh264", "mpeg4"};
static const char *const codecs[] = {"h264", "h264", "mpeg4"};
enum { ENCODERS = 3 };

struct clip {
    unsigned size_fps[3];
    unsigned frames;
};

/* False when this FFmpeg does not have the encoder. */
static bool make(const char *encoder, const struct clip *clip, struct rd_buf *out)
{
    struct rd_mp4 *mp4 = NULL;
    struct rd_why why;
    rd_err err = rd_mp4_new_with(encoder, clip->size_fps, &mp4, &why);
    if (err != RD_OK) {
        assert_int_equal(err, RD_ERR_BACKEND_FAILED);
        assert_null(avcodec_find_encoder_by_name(encoder));
        return false;
    }
    assert_string_equal(rd_mp4_encoder(mp4), encoder);
    for (unsigned i = 0; i < clip->frames; i++) {
        struct rd_image frame = picture_painted(clip->size_fps[0], clip->size_fps[1], 3, i);
        assert_int_equal(rd_mp4_frame(mp4, &frame), RD_OK);
        rd_image_done(&frame);
    }
    assert_int_equal(rd_mp4_finish(mp4, out), RD_OK);
    rd_mp4_free(mp4);
    return true;
}

static size_t box(const struct rd_buf *file, size_t at, const char **ret_type)
{
    const uint8_t *p = (const uint8_t *)file->data + at;
    assert_true(file->len - at >= 8);
    size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    assert_in_range(len, 8, file->len - at);
    *ret_type = file->data + at + 4;
    return len;
}

static void boxes_in_order(void **state)
{
    (void)state;
    const struct clip clip = {{64, 48, 10}, 12};
    unsigned made = 0;
    for (int e = 0; e < ENCODERS; e++) {
        struct rd_buf RD_AUTO_BUF file;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        if (!make(encoders[e], &clip, &file)) {
            continue;
        }
        made++;
        char seen[64] = "";
        size_t at = 0;
        while (at < file.len) {
            const char *type;
            size_t len = box(&file, at, &type);
            size_t used = strlen(seen);
            assert_true(used + 5 < sizeof seen);
            memcpy(seen + used, type, 4);
            at += len;
        }
        assert_int_equal(at, file.len);
        assert_true(strcmp(seen, "ftypmoovfreemdat") == 0 || strcmp(seen, "ftypmoovmdat") == 0);
        /* no date: creation and modification times of mvhd are 0 */
        const uint8_t *mvhd = memmem(file.data, file.len, "mvhd", 4);
        assert_non_null(mvhd);
        assert_memory_equal(mvhd + 4, "\0\0\0\0\0\0\0\0\0\0\0", 12);
        assert_null(memmem(file.data, file.len, "Lavf", 4));
        assert_null(memmem(file.data, file.len, "Lavc", 4));
    }
    assert_true(made >= 1);
}

static void same_frames_same_bytes(void **state)
{
    (void)state;
    const struct clip clip = {{320, 192, 24}, 50}; /* beyond one group of pictures */
    for (int e = 0; e < ENCODERS; e++) {
        struct rd_buf RD_AUTO_BUF one;
        struct rd_buf RD_AUTO_BUF two;
        rd_buf_init(&one, PICTURES_BUF_MAX);
        rd_buf_init(&two, PICTURES_BUF_MAX);
        rd_buf_str(&two, "before");
        if (make(encoders[e], &clip, &one) && make(encoders[e], &clip, &two)) {
            assert_int_equal(one.len + 6, two.len);
            assert_memory_equal(one.data, two.data + 6, one.len);
        }
    }
}

static void has_line(const struct rd_buf *text, const char *key, const char *value)
{
    char line[128];
    assert_in_range(snprintf(line, sizeof line, "\n%s=%s\n", key, value), 1, sizeof line - 1);
    if (strstr(rd_buf_cstr(text), line) == NULL) {
        fail_msg("no %s=%s in:\n%s", key, value, rd_buf_cstr(text));
    }
}

static void check_probed(const struct rd_buf *said, const struct clip *clip, const char *codec)
{
    char text[64];
    has_line(said, "codec_name", codec);
    has_line(said, "pix_fmt", "yuv420p");
    has_line(said, "color_space", "bt709");
    has_line(said, "color_range", "tv");
    has_line(said, "start_time", "0.000000");
    snprintf(text, sizeof text, "%u", clip->size_fps[0]);
    has_line(said, "width", text);
    snprintf(text, sizeof text, "%u", clip->size_fps[1]);
    has_line(said, "height", text);
    snprintf(text, sizeof text, "%u/1", clip->size_fps[2]);
    has_line(said, "r_frame_rate", text);
    has_line(said, "avg_frame_rate", text);
    snprintf(text, sizeof text, "%u", clip->frames);
    has_line(said, "nb_frames", text);
    has_line(said, "nb_read_frames", text);
    snprintf(text, sizeof text, "%.6f", (double)clip->frames / clip->size_fps[2]);
    has_line(said, "duration", text);
}

static void ffprobe_agrees(void **state)
{
    (void)state;
    static const struct clip clips[] = {{{64, 48, 10}, 1},
                                        {{832, 480, 24}, 12},
                                        {{720, 1280, 30}, 3},
                                        {{2, 2, 1}, 2},
                                        {{130, 66, 25}, 60}};
    for (size_t c = 0; c < sizeof clips / sizeof clips[0]; c++) {
        for (int e = 0; e < ENCODERS; e++) {
            struct rd_buf RD_AUTO_BUF file;
            struct rd_buf RD_AUTO_BUF said;
            rd_buf_init(&file, PICTURES_BUF_MAX);
            rd_buf_init(&said, 65536);
            if (!make(encoders[e], &clips[c], &file)) {
                continue;
            }
            char *path = tool_file(file.data, file.len);
            int status = tool_run((const char *const[]){"ffprobe", "-v", "error", "-count_frames",
                                                        "-show_streams", path, NULL},
                                  &said);
            tool_file_done(path);
            if (status == -1) {
                print_message("# ffprobe is not installed\n");
                skip();
            }
            assert_int_equal(status, 0);
            check_probed(&said, &clips[c], codecs[e]);
        }
    }
}

/* Decoded again by ffmpeg, the colours are the ones that went in. */
static void colours_survive(void **state)
{
    (void)state;
    static const uint8_t colours[][3] = {{0, 0, 0},   {255, 255, 255}, {128, 128, 128}, {255, 0, 0},
                                         {0, 255, 0}, {0, 0, 255},     {200, 100, 30}};
    enum { W = 64, H = 48, FRAMES = sizeof colours / sizeof colours[0] };
    for (int e = 0; e < ENCODERS; e++) {
        struct rd_mp4 *mp4 = NULL;
        if (rd_mp4_new_with(encoders[e], (const unsigned[3]){W, H, 5}, &mp4, NULL) != RD_OK) {
            continue;
        }
        struct rd_image frame = picture_painted(W, H, 3, 0);
        for (size_t f = 0; f < FRAMES; f++) {
            for (size_t i = 0; i < W * H; i++) {
                memcpy(frame.pixels + 3 * i, colours[f], 3);
            }
            assert_int_equal(rd_mp4_frame(mp4, &frame), RD_OK);
        }
        rd_image_done(&frame);
        struct rd_buf RD_AUTO_BUF file;
        struct rd_buf RD_AUTO_BUF raw;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        rd_buf_init(&raw, PICTURES_BUF_MAX);
        assert_int_equal(rd_mp4_finish(mp4, &file), RD_OK);
        rd_mp4_free(mp4);
        char *path = tool_file(file.data, file.len);
        int status = tool_run((const char *const[]){"ffmpeg", "-nostdin", "-v", "error", "-i", path,
                                                    "-vf", "scale=in_color_matrix=bt709", "-f",
                                                    "rawvideo", "-pix_fmt", "rgb24", "-", NULL},
                              &raw);
        tool_file_done(path);
        if (status == -1) {
            print_message("# ffmpeg is not installed\n");
            skip();
        }
        assert_int_equal(status, 0);
        assert_int_equal(raw.len, W * H * 3 * FRAMES);
        for (size_t i = 0; i < raw.len; i++) {
            int want = colours[i / ((size_t)W * H * 3)][i % 3];
            assert_in_range(abs((uint8_t)raw.data[i] - want), 0, 6);
        }
    }
}

static void wrong_arguments(void **state)
{
    (void)state;
    static const struct {
        unsigned size_fps[3];
        rd_err err;
    } rows[] = {
        {{0, 48, 10}, RD_ERR_INVALID_REQUEST},  {{64, 0, 10}, RD_ERR_INVALID_REQUEST},
        {{63, 48, 10}, RD_ERR_INVALID_REQUEST}, {{64, 47, 10}, RD_ERR_INVALID_REQUEST},
        {{64, 48, 0}, RD_ERR_INVALID_REQUEST},  {{64, 48, 121}, RD_ERR_INVALID_REQUEST},
        {{16386, 48, 10}, RD_ERR_TOO_LARGE},    {{8002, 8000, 10}, RD_ERR_TOO_LARGE},
    };
    struct rd_mp4 *mp4 = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_why why = {""};
        const unsigned *s = rows[i].size_fps;
        assert_int_equal(rd_mp4_new(s[0], s[1], s[2], &mp4, &why), rows[i].err);
        assert_string_not_equal(why.text, "");
        assert_null(mp4);
    }
    assert_int_equal(rd_mp4_new_with("nonesuch", rows[0].size_fps, &mp4, NULL),
                     RD_ERR_INVALID_REQUEST);
    const unsigned good[3] = {64, 48, 10};
    assert_int_equal(rd_mp4_new_with("nonesuch", good, &mp4, NULL), RD_ERR_BACKEND_FAILED);
    assert_null(mp4);
    rd_mp4_free(NULL);
}

static void wrong_use(void **state)
{
    (void)state;
    struct rd_mp4 *mp4 = NULL;
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    assert_int_equal(rd_mp4_new(64, 48, 120, &mp4, NULL), RD_OK);
    assert_int_equal(rd_mp4_finish(mp4, &file), RD_ERR_INVALID_REQUEST); /* no frame yet */
    struct rd_image frames[4] = {picture_painted(64, 48, 3, 0), picture_painted(64, 48, 4, 0),
                                 picture_painted(48, 64, 3, 0), picture_painted(64, 46, 3, 0)};
    for (int i = 1; i < 4; i++) {
        assert_int_equal(rd_mp4_frame(mp4, &frames[i]), RD_ERR_INVALID_REQUEST);
    }
    assert_int_equal(rd_mp4_frame(mp4, &frames[0]), RD_OK);
    assert_int_equal(rd_mp4_finish(mp4, &file), RD_OK);
    size_t len = file.len;
    assert_int_equal(rd_mp4_finish(mp4, &file), RD_ERR_INVALID_REQUEST);
    assert_int_equal(rd_mp4_frame(mp4, &frames[0]), RD_ERR_INVALID_REQUEST);
    assert_int_equal(file.len, len);
    rd_mp4_free(mp4);

    assert_int_equal(rd_mp4_new(64, 48, 10, &mp4, NULL), RD_OK); /* given up half way */
    assert_int_equal(rd_mp4_frame(mp4, &frames[0]), RD_OK);
    rd_mp4_free(mp4);

    struct rd_buf RD_AUTO_BUF small;
    rd_buf_init(&small, 100);
    assert_int_equal(rd_mp4_new(64, 48, 10, &mp4, NULL), RD_OK);
    assert_int_equal(rd_mp4_frame(mp4, &frames[0]), RD_OK);
    assert_int_equal(rd_mp4_finish(mp4, &small), RD_ERR_TOO_LARGE);
    assert_int_equal(small.len, 0);
    rd_mp4_free(mp4);
    for (int i = 0; i < 4; i++) {
        rd_image_done(&frames[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boxes_in_order),  cmocka_unit_test(same_frames_same_bytes),
        cmocka_unit_test(ffprobe_agrees),  cmocka_unit_test(colours_survive),
        cmocka_unit_test(wrong_arguments), cmocka_unit_test(wrong_use),
    };
    return cmocka_run_group_tests_name("media/mp4", tests, NULL, NULL);
}
