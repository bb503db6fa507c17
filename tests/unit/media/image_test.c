/* SPDX-License-Identifier: Apache-2.0
 *
 * What is common to all codecs: the limits at their edges, arguments, flattening, turning. */
#include "pictures.h"

#include <pthread.h>

#include "base/limits.h"

static void new_at_the_limits(void **state)
{
    (void)state;
    struct rd_image image;
    assert_int_equal(rd_image_new(RD_LIMIT_IMAGE_SIDE, 1, 3, &image), RD_OK);
    assert_int_equal(image.width, RD_LIMIT_IMAGE_SIDE);
    rd_image_done(&image);
    assert_null(image.pixels);
    rd_image_done(&image); /* twice is fine */
    assert_int_equal(rd_image_new(8000, 8000, 3, &image), RD_OK);
    rd_image_done(&image);

    memset(&image, 0x5a, sizeof image);
    struct rd_image before = image;
    assert_int_equal(rd_image_new(8000, 8001, 3, &image), RD_ERR_TOO_LARGE);
    assert_int_equal(rd_image_new(RD_LIMIT_IMAGE_SIDE + 1, 1, 3, &image), RD_ERR_TOO_LARGE);
    assert_int_equal(rd_image_new(1, RD_LIMIT_IMAGE_SIDE + 1, 3, &image), RD_ERR_TOO_LARGE);
    assert_int_equal(rd_image_new(UINT32_MAX, UINT32_MAX, 4, &image), RD_ERR_TOO_LARGE);
    assert_int_equal(rd_image_new(0, 1, 3, &image), RD_ERR_INVALID_REQUEST);
    assert_int_equal(rd_image_new(1, 0, 3, &image), RD_ERR_INVALID_REQUEST);
    for (unsigned channels = 0; channels < 10; channels++) {
        if (channels != 3 && channels != 4) {
            assert_int_equal(rd_image_new(1, 1, channels, &image), RD_ERR_INVALID_REQUEST);
        }
    }
    assert_memory_equal(&image, &before, sizeof image);
}

static void new_is_black(void **state)
{
    (void)state;
    struct rd_image image;
    assert_int_equal(rd_image_new(5, 3, 4, &image), RD_OK);
    for (size_t i = 0; i < 5 * 3 * 4; i++) {
        assert_int_equal(image.pixels[i], i % 4 == 3 ? 255 : 0);
    }
    rd_image_done(&image);
}

static void flatten(void **state)
{
    (void)state;
    static const uint8_t rows[][7] = {
        /* red, green, blue, alpha: over white */
        {0, 0, 0, 0, 255, 255, 255},       {9, 99, 199, 255, 9, 99, 199},
        {0, 100, 255, 128, 127, 177, 255}, {200, 0, 0, 51, 244, 204, 204},
        {255, 255, 255, 1, 255, 255, 255}, {0, 0, 0, 254, 1, 1, 1},
    };
    enum { COUNT = sizeof rows / sizeof rows[0] };
    struct rd_image image;
    assert_int_equal(rd_image_new(COUNT, 1, 4, &image), RD_OK);
    for (size_t i = 0; i < COUNT; i++) {
        memcpy(image.pixels + 4 * i, rows[i], 4);
    }
    rd_image_flatten(&image);
    assert_int_equal(image.channels, 3);
    for (size_t i = 0; i < COUNT; i++) {
        assert_memory_equal(image.pixels + 3 * i, rows[i] + 4, 3);
    }
    rd_image_flatten(&image); /* RGB stays */
    assert_memory_equal(image.pixels, rows[0] + 4, 3);
    rd_image_done(&image);
}

static void orient(void **state)
{
    (void)state;
    /* stored: 1 2 3 / 4 5 6; as it must be shown for orientations 1 to 8 */
    static const char *const shown[9] = {NULL,     "123456", "321654", "654321", "456123",
                                         "142536", "415263", "635241", "362514"};
    for (unsigned value = 1; value <= 8; value++) {
        for (unsigned channels = 3; channels <= 4; channels++) {
            struct rd_image image;
            assert_int_equal(rd_image_new(3, 2, channels, &image), RD_OK);
            for (unsigned i = 0; i < 6; i++) {
                memset(image.pixels + (size_t)i * channels, (int)('1' + i), channels);
            }
            assert_int_equal(rd_image_orient(&image, value), RD_OK);
            assert_int_equal(image.width, value >= 5 ? 2 : 3);
            assert_int_equal(image.height, value >= 5 ? 3 : 2);
            for (unsigned i = 0; i < 6; i++) {
                assert_int_equal(image.pixels[i * channels], shown[value][i]);
                assert_int_equal(image.pixels[i * channels + channels - 1], shown[value][i]);
            }
            rd_image_done(&image);
        }
    }
}

static void encode_arguments(void **state)
{
    (void)state;
    struct rd_image three = picture_painted(8, 8, 3, 0);
    struct rd_image four = picture_painted(8, 8, 4, 0);
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    static const int wrong[] = {-1, 0, 101};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rd_image_encode(&three, RD_MEDIA_JPEG, wrong[i], &file),
                         RD_ERR_INVALID_REQUEST);
        assert_int_equal(rd_image_encode(&three, RD_MEDIA_WEBP, wrong[i], &file),
                         RD_ERR_INVALID_REQUEST);
    }
    assert_int_equal(rd_image_encode(&four, RD_MEDIA_JPEG, 90, &file), RD_ERR_INVALID_REQUEST);
    assert_int_equal(rd_image_encode(&three, RD_MEDIA_MP4, 90, &file), RD_ERR_INVALID_REQUEST);
    assert_int_equal(rd_image_encode(&three, RD_MEDIA_COUNT_, 90, &file), RD_ERR_INVALID_REQUEST);
    struct rd_image none = {0};
    assert_int_equal(rd_image_encode(&none, RD_MEDIA_PNG, 90, &file), RD_ERR_INVALID_REQUEST);
    assert_int_equal(file.len, 0);
    rd_image_done(&three);
    rd_image_done(&four);
}

/* Appending to what is there; and a full buffer is TOO_LARGE, whose earlier content stays. */
static void encode_into_a_buffer(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(200, 200, 3, 0);
    for (int media = RD_MEDIA_PNG; media <= RD_MEDIA_JPEG; media++) {
        struct rd_buf RD_AUTO_BUF file;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        rd_buf_str(&file, "before");
        assert_int_equal(rd_image_encode(&image, (enum rd_media)media, 100, &file), RD_OK);
        assert_memory_equal(file.data, "before", 6);
        struct rd_image got;
        assert_int_equal(decode_exact(file.data + 6, file.len - 6, 3, &got, NULL), RD_OK);
        rd_image_done(&got);

        struct rd_buf RD_AUTO_BUF exact;
        rd_buf_init(&exact, file.len);
        rd_buf_str(&exact, "before");
        assert_int_equal(rd_image_encode(&image, (enum rd_media)media, 100, &exact), RD_OK);
        assert_memory_equal(exact.data, file.data, file.len);

        const size_t rooms[] = {6, 7, 100, file.len - 1};
        for (int i = 0; i < 4; i++) {
            struct rd_buf RD_AUTO_BUF small;
            rd_buf_init(&small, rooms[i]);
            rd_buf_str(&small, "before");
            assert_int_equal(rd_image_encode(&image, (enum rd_media)media, 100, &small),
                             RD_ERR_TOO_LARGE);
            assert_string_equal(small.data, "before");
            assert_int_equal(small.len, 6);
            /* a buffer that has failed stays failed */
            assert_int_equal(rd_image_encode(&image, (enum rd_media)media, 100, &small),
                             RD_ERR_TOO_LARGE);
        }
    }
    rd_image_done(&image);
}

static void decode_arguments(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(8, 8, 3, 0);
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    assert_int_equal(rd_image_encode(&image, RD_MEDIA_PNG, 100, &file), RD_OK);
    rd_image_done(&image);
    struct rd_why why;
    for (unsigned channels = 0; channels < 8; channels++) {
        rd_err err = rd_image_decode(file.data, file.len, channels, &image, &why);
        bool right = channels == 3 || channels == 4;
        assert_int_equal(err, right ? RD_OK : RD_ERR_INVALID_REQUEST);
        if (right) {
            rd_image_done(&image);
        }
    }
    assert_int_equal(rd_image_decode("GIF89a", 6, 3, &image, &why), RD_ERR_INVALID_REQUEST);
    assert_int_equal(rd_image_decode("", 0, 3, &image, NULL), RD_ERR_INVALID_REQUEST);
}

/* Nothing is shared: several threads at once make the same bytes as one. */
struct work {
    struct rd_image image;
    struct rd_buf made[4];
};

static rd_err work_once(const struct rd_image *image, struct rd_buf made[4])
{
    for (int media = RD_MEDIA_PNG; media <= RD_MEDIA_JPEG; media++) {
        RD_TRY(rd_image_encode(image, (enum rd_media)media, 90, &made[media]));
        struct rd_image got;
        RD_TRY(rd_image_decode(made[media].data, made[media].len, 3, &got, NULL));
        struct rd_image small;
        rd_err err = rd_image_resize(&got, 40, 30, &small);
        if (err == RD_OK) {
            rd_buf_append(&made[media], small.pixels, 40 * 30 * 3);
            rd_image_done(&small);
        }
        rd_image_done(&got);
        RD_TRY(err);
    }
    struct rd_mp4 *mp4;
    RD_TRY(rd_mp4_new(image->width, image->height, 10, &mp4, NULL));
    rd_err err = rd_mp4_frame(mp4, image);
    if (err == RD_OK) {
        err = rd_mp4_finish(mp4, &made[RD_MEDIA_MP4]);
    }
    rd_mp4_free(mp4);
    return err;
}

static void *work_thread(void *context)
{
    struct work *work = context;
    for (int i = 0; i < 4; i++) {
        rd_buf_init(&work->made[i], PICTURES_BUF_MAX);
    }
    return work_once(&work->image, work->made) == RD_OK ? context : NULL;
}

static void several_threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    struct work work[THREADS];
    pthread_t threads[THREADS];
    for (int t = 0; t < THREADS; t++) {
        work[t].image = picture_painted(96, 80, 3, 0);
        assert_int_equal(pthread_create(&threads[t], NULL, work_thread, &work[t]), 0);
    }
    for (int t = 0; t < THREADS; t++) {
        void *result;
        assert_int_equal(pthread_join(threads[t], &result), 0);
        assert_ptr_equal(result, &work[t]);
    }
    for (int t = 0; t < THREADS; t++) {
        for (int i = 0; i < 4; i++) {
            assert_int_equal(work[t].made[i].len, work[0].made[i].len);
            assert_memory_equal(work[t].made[i].data, work[0].made[i].data, work[0].made[i].len);
        }
    }
    for (int t = 0; t < THREADS; t++) {
        for (int i = 0; i < 4; i++) {
            rd_buf_done(&work[t].made[i]);
        }
        rd_image_done(&work[t].image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_at_the_limits), cmocka_unit_test(new_is_black),
        cmocka_unit_test(flatten),           cmocka_unit_test(orient),
        cmocka_unit_test(encode_arguments),  cmocka_unit_test(encode_into_a_buffer),
        cmocka_unit_test(decode_arguments),  cmocka_unit_test(several_threads),
    };
    return cmocka_run_group_tests_name("media/image", tests, NULL, NULL);
}
