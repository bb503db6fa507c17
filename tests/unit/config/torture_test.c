/* SPDX-License-Identifier: Apache-2.0
 *
 * Every allocation of ours fails once, for both files that operators write: the answer is NO_MEMORY
 * (a refusal may keep its own error), outputs stay untouched, and nothing leaks, which the address
 * sanitizer watches. The linker sends our calls of the allocator here (--wrap); those inside
 * libyaml stay as they are. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "catalogue/catalogue.h"
#include "catalogue/catalogue_table.h"
#include "config/config.h"

static size_t calls;
static size_t fail_at; /* the call that fails, counted from 1; 0: none */

static bool fails(void)
{
    calls++;
    return calls == fail_at;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return fails() ? NULL : __real_realloc(block, size);
}

typedef rd_err attempt_fn(void);

static const char good_config[] = "engines:\n"
                                  "  - {name: a, type: http, url: http://x/, models: [a/b, c/d]}\n"
                                  "  - {name: b, type: http, url: http://y/, models: [a/b, e/f]}\n"
                                  "  - {name: c, type: builtin, slots: 3}\n"
                                  "  - {name: d, type: builtin, timeout: 5s}\n"
                                  "  - {name: e, type: triton, url: \"grpc://z\", models: [a/b],\n"
                                  "     mapping: [m, prompt-to-picture]}\n"
                                  "mappings:\n"
                                  "  - name: m\n"
                                  "    inputs: [{name: P, field: prompt, datatype: BYTES}]\n"
                                  "    outputs: [{name: I, gives: image, datatype: UINT8,\n"
                                  "               shape: [1, -1, -1, 3]}]\n"
                                  "cors: {origins: [https://a]}\n";
static const char bad_config[] = "engines:\n  - {name: a, type: builtin, slots: many}\n";

static rd_err load_config(const char *yaml)
{
    struct rd_config *config = NULL;
    struct rd_why why = {""};
    rd_err err = rd_config_load(yaml, strlen(yaml), "t.yaml", &config, &why);
    assert_int_equal(config != NULL, err == RD_OK);
    assert_int_equal(why.text[0] == '\0', err == RD_OK);
    rd_config_unref(config);
    return err;
}

static rd_err try_good_config(void)
{
    return load_config(good_config);
}

static rd_err try_bad_config(void)
{
    return load_config(bad_config);
}

static bool always(void *ctx, const struct rd_model *model, enum rd_backend_kind kind)
{
    (void)ctx;
    (void)model;
    (void)kind;
    return true;
}

static rd_err try_catalogue(void)
{
    struct rd_catalogue *catalogue = NULL;
    rd_err err = rd_catalogue_load_default(&catalogue, NULL);
    assert_int_equal(catalogue != NULL, err == RD_OK);
    if (err == RD_OK) {
        RD_AUTO_BUF struct rd_buf body;
        rd_buf_init(&body, 1 << 20);
        err = rd_catalogue_models_json(catalogue, always, NULL, &body);
        if (err == RD_OK) {
            err = rd_catalogue_aliases_json(catalogue, &body);
        }
        if (err == RD_OK) {
            err = rd_catalogue_loras_json(catalogue, &body);
        }
    }
    rd_catalogue_unref(catalogue);
    return err;
}

/* Fails the first allocation, the second, and so on, until one run makes fewer than that. */
static void torture(attempt_fn *attempt, rd_err usual, bool may_be_usual)
{
    size_t n = 0;
    do {
        n++;
        calls = 0;
        fail_at = n;
        rd_err err = attempt();
        fail_at = 0;
        if (calls < n) {
            assert_int_equal(err, usual);
        } else if (err != usual || !may_be_usual) {
            assert_int_equal(err, RD_ERR_NO_MEMORY);
        }
    } while (calls >= n && n < 10000);
    assert_in_range(n, 4, 9999);
}

static void config(void **state)
{
    (void)state;
    torture(try_good_config, RD_OK, false);
    torture(try_bad_config, RD_ERR_CONFIG, true);
}

static void catalogue(void **state)
{
    (void)state;
    torture(try_catalogue, RD_OK, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(config), cmocka_unit_test(catalogue)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
