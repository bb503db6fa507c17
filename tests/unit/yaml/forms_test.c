/* SPDX-License-Identifier: Apache-2.0
 *
 * Names and models. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "yaml/forms.h"

static bool matches(const struct rd_yaml_form *form, const char *text)
{
    return form->matches(text, strlen(text));
}

static void names(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "0", "box1", "anti_blur", "a-b.c_d", "1a"};
    static const char *const bad[] = {"",   "A",   "bOx", "-a",  "_a",          ".a",
                                      "..", "a b", "a/b", "a\n", "caf\xc3\xa9", "a*"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(matches(&rd_yaml_form_name, good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(matches(&rd_yaml_form_name, bad[i]));
    }
    char text[RD_YAML_NAME_LEN_MAX + 2] = {0};
    memset(text, 'a', RD_YAML_NAME_LEN_MAX);
    assert_true(matches(&rd_yaml_form_name, text));
    text[RD_YAML_NAME_LEN_MAX] = 'a';
    assert_false(matches(&rd_yaml_form_name, text));
}

static void models(void **state)
{
    (void)state;
    static const char *const good[] = {"flux/dev", "a/b", "sd3.5/large-turbo"};
    static const char *const bad[] = {"",       "flux",  "flux/",    "/dev",
                                      "/",      "a/b/c", "Flux/dev", "flux/DEV",
                                      "flux/*", "../x",  "a/..",     "flux /dev"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(matches(&rd_yaml_form_model, good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(matches(&rd_yaml_form_model, bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
