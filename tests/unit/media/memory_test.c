/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens when memory ends. This program brings its own malloc family in front of the C
 * library's, for all libraries in the process too, and makes allocation number 1, 2, 3 ... of each
 * operation fail: every time the answer must be NO_MEMORY, nothing may leak, and `ret` must be
 * untouched. The same counters show that a picture over the limits is refused before any memory is
 * taken, and how much a decoder takes at most.
 *
 * The sanitizers bring a malloc of their own, which this would hide; there nothing is failed or
 * counted, it says so, and only the plain runs are left. */
#include "pictures.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>

#include <libavcodec/avcodec.h>
#include <webp/decode.h>

#include "media/check.h"

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    HAS_FEATURE(address_sanitizer) || HAS_FEATURE(thread_sanitizer) ||                             \
    HAS_FEATURE(memory_sanitizer)
#define OWN_MALLOC 0
#else
#define OWN_MALLOC 1
#endif

static long live;    /* blocks allocated and not freed */
static long count;   /* allocations since armed */
static long fail_at; /* the one to fail; 0: none */
/* The numbers of allocations that are not failed because a library, not this project, does not
 * survive it; the reason stands where they are set. */
static long spare_from, spare_to;
/* Spares malloc and memalign, which x264 uses; FFmpeg and this project use the other functions. */
static bool spare_x264;
/* What the last operation that succeeded made, hashed. */
static uint64_t made;
static size_t largest; /* since armed */
static size_t failed;  /* the size of the one that failed */

#if OWN_MALLOC
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t number, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static bool must_fail(size_t size, bool x264_too)
{
    count++;
    largest = size > largest ? size : largest;
    bool spared = (count >= spare_from && count < spare_to) || (spare_x264 && x264_too);
    if (fail_at != 0 && count == fail_at && !spared) {
        failed = size;
        errno = ENOMEM;
        return true;
    }
    return false;
}

static void *counted(void *block)
{
    live += block != NULL;
    return block;
}

void *malloc(size_t size)
{
    return must_fail(size, true) ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t number, size_t size)
{
    return must_fail(number * size, false) ? NULL : counted(__libc_calloc(number, size));
}

void *realloc(void *block, size_t size)
{
    if (must_fail(size, false)) {
        return NULL;
    }
    void *got = __libc_realloc(block, size);
    live += block == NULL && got != NULL;
    return got;
}

void *memalign(size_t alignment, size_t size)
{
    return must_fail(size, true) ? NULL : counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
    void *got = must_fail(size, false) ? NULL : counted(__libc_memalign(alignment, size));
    if (got != NULL) {
        *ret = got;
    }
    return got == NULL ? ENOMEM : 0;
}

void free(void *block)
{
    live -= block != NULL;
    __libc_free(block);
}
#endif

static void arm(long nth)
{
    count = 0;
    largest = 0;
    fail_at = nth;
}

static void disarm(void)
{
    fail_at = 0;
}

/* Allocations that FFmpeg makes inside avcodec_alloc_context3: it sets options there and asserts
 * that this succeeds, so one that fails ends the process in FFmpeg. Nothing here can prevent that,
 * and the blocks are tiny. They come second, behind rd_mp4's own. */
static void spare_ffmpeg_assertion(const char *encoder)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(encoder);
    arm(0);
    AVCodecContext *context = avcodec_alloc_context3(codec);
    spare_from = 2;
    spare_to = 2 + count;
    avcodec_free_context(&context);
    disarm();
}

/* One operation on the group's pictures; frees what it made. */
typedef rd_err operation(const void *context);

/* Runs it with each of its allocations failed in turn, until it gets by without meeting the
 * failure. */
static void sweep(const char *name, operation *run, const void *context, long at_least)
{
    assert_int_equal(run(context), RD_OK); /* what libraries allocate once and keep */
    if (!OWN_MALLOC) {
        print_message("# a sanitizer's malloc is in use: nothing of %s was failed\n", name);
        return;
    }
    /* A library may do without: libjpeg then asks for less. But what it makes must be the same. */
    uint64_t expected = made;
    long nth = 1;
    for (;; nth++) {
        long before = live;
        arm(nth);
        rd_err err = run(context);
        bool met = count >= nth;
        disarm();
        if (live != before) {
            fail_msg("%s: %ld blocks leak when allocation %ld (%zu bytes) fails", name,
                     live - before, nth, failed);
        }
        if (!met) {
            assert_int_equal(err, RD_OK);
            break;
        }
        if (err == RD_OK && made != expected) {
            fail_msg("%s: another result when allocation %ld (%zu bytes) fails", name, nth, failed);
        } else if (err != RD_ERR_NO_MEMORY && err != RD_OK) {
            fail_msg("%s: error %d when allocation %ld (%zu bytes) fails", name, (int)err, nth,
                     failed);
        }
    }
    assert_true(nth > at_least);
}

/* FNV-1a */
static void remember(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    made = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) {
        made = (made ^ p[i]) * 0x100000001b3u;
    }
}

struct file {
    struct rd_buf bytes;
    unsigned channels;
};

static rd_err decode(const void *context)
{
    const struct file *file = context;
    struct rd_image image;
    memset(&image, 0x5a, sizeof image);
    struct rd_image before = image;
    rd_err err = rd_image_decode(file->bytes.data, file->bytes.len, file->channels, &image, NULL);
    if (err == RD_OK) {
        remember(image.pixels, (size_t)image.width * image.height * image.channels);
        rd_image_done(&image);
    } else if (memcmp(&image, &before, sizeof image) != 0) {
        return RD_ERR_INTERNAL;
    }
    return err;
}

static void sweep_decode(const char *name, struct file *file, long at_least)
{
    for (file->channels = 3; file->channels <= 4; file->channels++) {
        sweep(name, decode, file, at_least);
    }
    rd_buf_done(&file->bytes);
}

static void decoders(void **state)
{
    (void)state;
    static const uint8_t palette[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    static const uint8_t alpha[2] = {0, 9};
    struct png_spec png = {21, 13, 3, 2, 1, NULL, palette, alpha, 4, 2};
    struct file file;
    rd_buf_init(&file.bytes, PICTURES_BUF_MAX);
    sample_png(&png, &file.bytes);
    sweep_decode("png", &file, 5);

    struct rd_image four = picture_painted(40, 24, 4, 1);
    uint8_t block[64];
    for (int components = 1; components <= 4; components += components == 1 ? 2 : 1) {
        struct jpeg_spec jpeg = {&four, components, 80, 1, 1, 0, block, exif_block(block, 1, 6)};
        sample_jpeg(&jpeg, &file.bytes);
        sweep_decode("jpeg", &file, 5);
    }
    rd_image_done(&four);
}

static rd_err check(const void *context)
{
    const struct file *file = context;
    struct rd_image_info info;
    struct rd_media_check *check = NULL;
    struct rd_why why = {.text = ""};
    RD_TRY(rd_image_probe(file->bytes.data, file->bytes.len, &info, NULL));
    const struct rd_media_expected expected = {info.media, info.width, info.height};
    RD_TRY(rd_media_check_new(&expected, &check));
    rd_err err = RD_OK;
    for (size_t at = 0; at < file->bytes.len && err == RD_OK; at += 50) {
        size_t part = file->bytes.len - at < 50 ? file->bytes.len - at : 50;
        err = rd_media_check_feed(check, file->bytes.data + at, part, &why);
    }
    err = err == RD_OK ? rd_media_check_finish(check, &why) : err;
    rd_media_check_free(check);
    made = 0;
    return err;
}

static void checks(void **state)
{
    (void)state;
    static const uint8_t palette[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9}; /* not all that two bits reach */
    struct png_spec png = {21, 13, 3, 2, 1, NULL, palette, NULL, 3, 0};
    struct rd_image three = picture_painted(40, 24, 3, 1);
    struct file file = {.channels = 3};
    rd_buf_init(&file.bytes, PICTURES_BUF_MAX);
    sample_png(&png, &file.bytes);
    sweep("check png", check, &file, 4);
    for (int progressive = 0; progressive < 2; progressive++) {
        struct jpeg_spec jpeg = {&three, 3, 80, progressive, 1, 0, NULL, 0};
        rd_buf_reset(&file.bytes);
        sample_jpeg(&jpeg, &file.bytes);
        sweep("check jpeg", check, &file, 4);
    }
    rd_buf_reset(&file.bytes);
    assert_int_equal(rd_image_encode(&three, RD_MEDIA_WEBP, 80, &file.bytes), RD_OK);
    sweep("check webp", check, &file, 3);
    rd_buf_done(&file.bytes);
    rd_image_done(&three);
}

/* libwebp before 1.4.0 (Debian 12) frees what it has not initialised when an allocation of its VP8L
 * decoder fails, and so crashes; see webmproject/libwebp pull request 12. There is nothing to do
 * about that from here, so there only the allocation of our pixels is failed. */
static void webp_decoder(void **state)
{
    (void)state;
    bool sound = WebPGetDecoderVersion() >= 0x010400;
    struct rd_image four = picture_painted(40, 24, 4, 1);
    for (int quality = 90; quality <= 100; quality += 10) {
        struct file file;
        rd_buf_init(&file.bytes, PICTURES_BUF_MAX);
        assert_int_equal(rd_image_encode(&four, RD_MEDIA_WEBP, quality, &file.bytes), RD_OK);
        spare_from = sound ? 0 : 2;
        spare_to = sound ? 0 : LONG_MAX;
        sweep_decode("webp", &file, 3);
        spare_from = spare_to = 0;
    }
    rd_image_done(&four);
}

struct to_encode {
    struct rd_image image;
    enum rd_media media;
    int quality;
};

static rd_err encode(const void *context)
{
    const struct to_encode *it = context;
    struct rd_buf out;
    rd_buf_init(&out, PICTURES_BUF_MAX);
    rd_err err = rd_image_encode(&it->image, it->media, it->quality, &out);
    if (err != RD_OK && out.len != 0) {
        err = RD_ERR_INTERNAL;
    }
    remember(out.data, out.len);
    rd_buf_done(&out);
    return err;
}

static void encoders(void **state)
{
    (void)state;
    for (unsigned channels = 3; channels <= 4; channels++) {
        struct to_encode it = {picture_painted(70, 50, channels, 1), RD_MEDIA_PNG, 100};
        sweep("png", encode, &it, 4);
        it.media = RD_MEDIA_WEBP;
        sweep("webp lossless", encode, &it, 4);
        it.quality = 60;
        sweep("webp", encode, &it, 4);
        it.media = RD_MEDIA_JPEG;
        if (channels == 3) {
            sweep("jpeg", encode, &it, 4);
        }
        rd_image_done(&it.image);
    }
}

static rd_err resize(const void *context)
{
    struct rd_image got = {0};
    rd_err err = rd_image_resize(context, 30, 90, &got);
    if (err != RD_OK && got.pixels != NULL) {
        return RD_ERR_INTERNAL;
    }
    if (err == RD_OK) {
        remember(got.pixels, 30 * 90 * 4);
    }
    rd_image_done(&got);
    return err;
}

static void resizing(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(40, 24, 4, 1);
    sweep("resize", resize, &image, 7);
    rd_image_done(&image);
}

struct video {
    const char *encoder;
    struct rd_image frame;
};

static rd_err video(const void *context)
{
    const struct video *video = context;
    struct rd_mp4 *mp4 = NULL;
    struct rd_buf out;
    rd_buf_init(&out, PICTURES_BUF_MAX);
    const unsigned size_fps[3] = {video->frame.width, video->frame.height, 10};
    rd_err err = rd_mp4_new_with(video->encoder, size_fps, &mp4, NULL);
    for (int i = 0; i < 3 && err == RD_OK; i++) {
        err = rd_mp4_frame(mp4, &video->frame);
    }
    if (err == RD_OK) {
        err = rd_mp4_finish(mp4, &out);
    }
    rd_mp4_free(mp4);
    remember(out.data, out.len);
    rd_buf_done(&out);
    return err;
}

static void videos(void **state)
{
    (void)state;
    static const char *const names[] = {"libx264", "libopenh264", "mpeg4"};
    struct video it = {NULL, picture_painted(64, 48, 3, 0)};
    for (int i = 0; i < 3; i++) {
        it.encoder = names[i];
        if (video(&it) == RD_OK) {
            spare_ffmpeg_assertion(names[i]);
            spare_x264 = i == 0; /* it leaks then, and frees what it has not initialised */
            sweep(names[i], video, &it, 20);
            spare_from = spare_to = 0;
            spare_x264 = false;
        }
    }
    rd_image_done(&it.frame);
}

/* Pictures over the limits: refused without one allocation. */
static void bombs(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        const char *bytes;
    } rows[] = {
        {33,
         "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\xff\xff\0\0\xff\xff\x10\x06\0\0\x01\x91\x92\x35\x85"},
        {21, "\xff\xd8\xff\xc2\0\x11\x08\xff\xff\xff\xff\x03\1\x44\0\2\x44\0\3\x44\0"},
        {30, "RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f"},
        {26, "RIFF\x12\0\0\0WEBPVP8L\x05\0\0\0\x2f\xff\xff\xff\x0f"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_image image;
        struct rd_why why;
        arm(0);
        rd_err err = rd_image_decode(rows[i].bytes, rows[i].len, 4, &image, &why);
        long taken = count;
        disarm();
        if (err != RD_ERR_TOO_LARGE) {
            fail_msg("row %zu: %s", i, why.text);
        }
        assert_int_equal(taken, 0);
    }
}

/* At the pixel limit a progressive CMYK JPEG is what takes most; its data is missing, so it is
 * refused, but the library sets its memory up first. No single block beyond 8 bytes a pixel. */
static void most_memory(void **state)
{
    (void)state;
    static const char bytes[] =
        "\xff\xd8\xff\xc2\0\x14\x08\x1f\x40\x1f\x40\x04\1\x11\0\2\x11\0\3\x11\0\4\x11\0"
        "\xff\xda\0\x0e\4\1\0\2\0\3\0\4\0\0\0\0\xff\xd9";
    struct rd_image image;
    struct rd_why why = {""};
    arm(0);
    rd_err err = rd_image_decode(bytes, sizeof bytes - 1, 4, &image, &why);
    size_t most = largest;
    disarm();
    assert_int_equal(err, RD_ERR_INVALID_REQUEST);
    assert_in_range(most, OWN_MALLOC, (size_t)8 * 8000 * 8000); /* else not counted: 0 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoders),    cmocka_unit_test(webp_decoder), cmocka_unit_test(encoders),
        cmocka_unit_test(resizing),    cmocka_unit_test(videos),       cmocka_unit_test(bombs),
        cmocka_unit_test(most_memory), cmocka_unit_test(checks),
    };
    return cmocka_run_group_tests_name("media/memory", tests, NULL, NULL);
}
