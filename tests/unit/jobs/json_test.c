/* SPDX-License-Identifier: Apache-2.0
 *
 * A device time that is not known is null, wherever a job is told of, and never zero; one that is
 * zero is zero. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "jobs/jobs.h"

static void known_times(void **state)
{
    (void)state;
    static const struct {
        int source;
        uint64_t ns;
        const char *json;
    } cases[] = {
        {RD_DEVICE_TIME_UNKNOWN, 0, ",\"gpu_seconds\":null,\"gpu_source\":null"},
        {RD_DEVICE_TIME_UNKNOWN, 5, ",\"gpu_seconds\":null,\"gpu_source\":null"},
        {RD_DEVICE_TIME_CPU, 1, ",\"gpu_seconds\":0.000000001,\"gpu_source\":\"cpu\""},
        {RD_DEVICE_TIME_ENGINE, 0, ",\"gpu_seconds\":0.000000000,\"gpu_source\":\"engine\""},
        {RD_DEVICE_TIME_MEASURED, 61250000000,
         ",\"gpu_seconds\":61.250000000,\"gpu_source\":\"measured\""},
        {RD_DEVICE_TIME_MEASURED + 1, 1, ",\"gpu_seconds\":null,\"gpu_source\":null"},
        {-1, 1, ",\"gpu_seconds\":null,\"gpu_source\":null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        RD_AUTO_BUF struct rd_buf json;
        rd_buf_init(&json, 1024);
        rd_jobs_write_device_time(&json, cases[i].source, cases[i].ns);
        assert_string_equal(rd_buf_cstr(&json), cases[i].json);
    }
}

static void a_job_of_an_engine_that_tells_nothing(void **state)
{
    (void)state;
    const struct rd_job_row row = {
        .id = "j_0123456789ab",
        .model = "flux/dev",
        .backend = "box",
        .result = "[\"a_0000000000000000000000000000000000000000000000000000000000000000\"]",
        .status = RD_STATUS_COMPLETE,
        .attempt = 1,
    };
    RD_AUTO_BUF struct rd_buf json;
    RD_AUTO_BUF struct rd_buf message;
    rd_buf_init(&json, RD_JOBS_EVENT_MAX);
    rd_buf_init(&message, RD_JOBS_EVENT_MAX);
    rd_job_json(&row, "http://x", &json);
    rd_job_message(&row, "http://x", &message);
    assert_non_null(strstr(rd_buf_cstr(&json), "\"gpu_seconds\":null,\"gpu_source\":null"));
    assert_non_null(strstr(rd_buf_cstr(&message), "\"gpu_seconds\":null,\"gpu_source\":null"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_times),
        cmocka_unit_test(a_job_of_an_engine_that_tells_nothing),
    };
    return cmocka_run_group_tests_name("jobs/json", tests, NULL, NULL);
}
