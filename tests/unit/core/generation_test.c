/* SPDX-License-Identifier: Apache-2.0
 *
 * The vocabulary against the contract's tables, written out here a second time on purpose. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/generation.h"

static void formats(void **state)
{
    (void)state;
    static const struct {
        enum rd_modality modality;
        const char *name;
        unsigned width, height;
    } contract[] = {
        {RD_MODALITY_VIDEO, "720p", 1280, 720},
        {RD_MODALITY_VIDEO, "720p-portrait", 720, 1280},
        {RD_MODALITY_VIDEO, "480p", 832, 480},
        {RD_MODALITY_VIDEO, "480p-portrait", 480, 832},
        {RD_MODALITY_VIDEO, "square", 640, 640},
        {RD_MODALITY_IMAGE, "1024", 1024, 1024},
        {RD_MODALITY_IMAGE, "512", 512, 512},
        {RD_MODALITY_IMAGE, "portrait", 768, 1024},
        {RD_MODALITY_IMAGE, "portrait-wide", 576, 1024},
        {RD_MODALITY_IMAGE, "landscape", 1024, 768},
        {RD_MODALITY_IMAGE, "landscape-wide", 1024, 576},
    };
    assert_int_equal(rd_formats_count, sizeof contract / sizeof contract[0]);
    for (size_t i = 0; i < rd_formats_count; i++) {
        const struct rd_format *format = rd_format_find(contract[i].modality, contract[i].name);
        assert_non_null(format);
        assert_int_equal(format->width, contract[i].width);
        assert_int_equal(format->height, contract[i].height);
    }
    assert_null(rd_format_find(RD_MODALITY_IMAGE, "720p"));
    assert_null(rd_format_find(RD_MODALITY_IMAGE, ""));
    assert_string_equal(rd_format_default(RD_MODALITY_IMAGE)->name, "1024");
    assert_string_equal(rd_format_default(RD_MODALITY_VIDEO)->name, "720p");
}

static void tasks(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum rd_modality modality;
        bool image, mask;
    } contract[] = {
        {"t2v", RD_MODALITY_VIDEO, false, false}, {"i2v", RD_MODALITY_VIDEO, true, false},
        {"t2i", RD_MODALITY_IMAGE, false, false}, {"i2i", RD_MODALITY_IMAGE, true, false},
        {"edit", RD_MODALITY_IMAGE, true, true},
    };
    for (size_t i = 0; i < sizeof contract / sizeof contract[0]; i++) {
        enum rd_task task;
        assert_true(rd_task_parse(contract[i].name, &task));
        assert_string_equal(rd_task_name(task), contract[i].name);
        assert_int_equal(rd_task_modality(task), contract[i].modality);
        assert_int_equal(rd_task_needs_image(task), contract[i].image);
        assert_int_equal(rd_task_needs_mask(task), contract[i].mask);
    }
}

static void names_go_both_ways(void **state)
{
    (void)state;
    for (int i = 0; i < RD_BACKEND_COUNT_; i++) {
        enum rd_backend_kind kind = RD_BACKEND_COUNT_;
        assert_true(rd_backend_kind_parse(rd_backend_kind_name((enum rd_backend_kind)i), &kind));
        assert_int_equal(kind, i);
    }
    for (int i = 0; i < RD_MEDIA_COUNT_; i++) {
        enum rd_media media = RD_MEDIA_COUNT_;
        assert_true(rd_media_parse(rd_media_type((enum rd_media)i), &media));
        assert_int_equal(media, i);
    }
    enum rd_modality modality = RD_MODALITY_COUNT_;
    assert_false(rd_modality_parse("audio", &modality));
    assert_int_equal(modality, RD_MODALITY_COUNT_);
    assert_null(rd_task_name(RD_TASK_COUNT_));
    assert_null(rd_media_type(RD_MEDIA_COUNT_));
}

static void seeds_wrap(void **state)
{
    (void)state;
    struct rd_generation generation = {.seed = 4294967295u};
    assert_int_equal(rd_generation_seed(&generation, 0), 4294967295u);
    assert_int_equal(rd_generation_seed(&generation, 1), 0);
    assert_int_equal(rd_generation_seed(&generation, 3), 2);
}

int main(void)
{
    const struct CMUnitTest tests_[] = {
        cmocka_unit_test(formats),
        cmocka_unit_test(tasks),
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(seeds_wrap),
    };
    return cmocka_run_group_tests(tests_, NULL, NULL);
}
