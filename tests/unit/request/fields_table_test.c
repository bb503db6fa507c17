/* SPDX-License-Identifier: Apache-2.0
 *
 * The table against itself, and every field of it, for every task, at its limits and just
 * beyond. The values that must be read are asked back from the generation. A new row is covered
 * without a new test. */
#include "fixture.h"

#include "request/fields.h"

static const char *const plain_values[] = {"null",     "true", "7",  "1.5",
                                           "\"text\"", "[]",   "{}", "[7]"};

static void rows_make_sense(void **state)
{
    (void)state;
    assert_in_range(rd_fields_count, 1, 64);
    for (size_t i = 0; i < rd_fields_count; i++) {
        const struct rd_field *field = &rd_fields[i];
        assert_true(field->tasks != 0);
        assert_int_equal(field->required & ~field->tasks, 0);
        if (i > 0) {
            int order = strcmp(rd_fields[i - 1].name, field->name);
            assert_true(order < 0 || (order == 0 && (rd_fields[i - 1].tasks & field->tasks) == 0));
        }
        if (field->type == RD_FIELD_NUMBER || field->type == RD_FIELD_INTEGER) {
            assert_true(field->min < field->max);
            assert_true(field->fallback != RD_DEFAULT_NONE);
            assert_true(field->fallback == RD_DEFAULT_DRAWN ||
                        (field->number >= field->min && field->number <= field->max));
        }
        for (size_t n = 1; field->type == RD_FIELD_NAME && field->names[n] != NULL; n++) {
            assert_true(strcmp(field->names[n - 1], field->names[n]) < 0);
        }
    }
}

static void finds_rows(void **state)
{
    (void)state;
    assert_null(rd_field_find("nothing"));
    assert_null(rd_field_find(""));
    assert_null(rd_field_find("zzz"));
    for (size_t i = 0; i < rd_fields_count; i++) {
        assert_string_equal(rd_field_find(rd_fields[i].name)->name, rd_fields[i].name);
        for (unsigned task = 0; task < RD_TASK_COUNT_; task++) {
            const struct rd_field *found = rd_field_find_for(rd_fields[i].name, (enum rd_task)task);
            if ((rd_fields[i].tasks & RD_FIELD_TASK(task)) != 0) {
                assert_ptr_equal(found, &rd_fields[i]);
            }
        }
    }
    assert_int_equal((int)rd_field_find_for("steps", RD_TASK_T2I)->max, 150);
    assert_int_equal((int)rd_field_find_for("steps", RD_TASK_I2V)->max, 50);
    assert_null(rd_field_find_for("mask", RD_TASK_I2I));
}

static void put_body(struct rd_buf *out, enum rd_task task, const char *name, const char *value)
{
    rd_buf_reset(out);
    rd_buf_str(out, "{");
    const char *comma = "";
    for (size_t i = 0; i < rd_fields_count; i++) {
        const struct rd_field *field = &rd_fields[i];
        if (strcmp(field->name, name) != 0 && (field->required & RD_FIELD_TASK(task)) != 0) {
            rd_buf_printf(out, "%s\"%s\":\"%s\"", comma, field->name,
                          field->type == RD_FIELD_SOURCE ? "https://h/i" : "x");
            comma = ",";
        }
    }
    if (value != NULL) {
        rd_buf_printf(out, "%s\"%s\":", comma, name);
        rd_buf_str(out, value);
    }
    rd_buf_str(out, "}");
    assert_int_equal(rd_buf_err(out), RD_OK);
}

static void assert_value_refused(struct fixture *f, const struct rd_field *field, const char *value,
                                 const char *constraint)
{
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, RD_MIB(1));
    put_body(&body, f->context.task, field->name, value);
    assert_refused(f, rd_buf_cstr(&body), field->name, constraint);
}

static void assert_value_taken(struct fixture *f, const struct rd_field *field, const char *value)
{
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, RD_MIB(1));
    put_body(&body, f->context.task, field->name, value);
    assert_accepted(f, rd_buf_cstr(&body));
}

static double got_number(const struct fixture *f, const struct rd_field *field)
{
    const char *at = (const char *)f->generation + field->offset;
    if (field->type == RD_FIELD_INTEGER) {
        uint32_t whole;
        memcpy(&whole, at, sizeof whole);
        return whole;
    }
    double number;
    memcpy(&number, at, sizeof number);
    return number;
}

static void check_numbers(struct fixture *f, const struct rd_field *field)
{
    double step = field->type == RD_FIELD_INTEGER ? 1 : 0.001;
    const double good[] = {field->min, field->max, field->min + step * 3};
    char text[64];
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(text, sizeof text, "%.17g", good[i]);
        assert_value_taken(f, field, text);
        assert_true(got_number(f, field) == good[i]);
    }
    (void)snprintf(text, sizeof text, "%.17g", field->min - step);
    assert_value_refused(f, field, text, "minimum");
    (void)snprintf(text, sizeof text, "%.17g", field->max + step);
    assert_value_refused(f, field, text, "maximum");
    assert_value_refused(f, field, "1e300", "maximum");
    assert_value_refused(f, field, "-1e300", "minimum");
    assert_value_refused(f, field, "99999999999999999999999", "maximum");
    assert_value_refused(f, field, "9223372036854775807", "maximum");
    if (field->type == RD_FIELD_INTEGER) {
        assert_value_taken(f, field, "2.0");
        assert_true(got_number(f, field) == 2);
        assert_value_refused(f, field, "2.5", "type");
    }
}

static void put_text(struct rd_buf *out, size_t count)
{
    rd_buf_reset(out);
    rd_buf_char(out, '"');
    for (size_t i = 0; i < count; i++) {
        rd_buf_str(out, "\xc3\xa9"); /* two bytes: limits count characters */
    }
    rd_buf_char(out, '"');
}

static void check_text(struct fixture *f, const struct rd_field *field)
{
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_MIB(1));
    put_text(&text, (size_t)field->max);
    assert_value_taken(f, field, rd_buf_cstr(&text));
    put_text(&text, (size_t)field->max + 1);
    assert_value_refused(f, field, rd_buf_cstr(&text), "maxLength");
    put_text(&text, (size_t)field->min);
    assert_value_taken(f, field, rd_buf_cstr(&text));
    if (field->min > 0) {
        put_text(&text, (size_t)field->min - 1);
        assert_value_refused(f, field, rd_buf_cstr(&text), "minLength");
    }
}

static void check_names(struct fixture *f, const struct rd_field *field)
{
    for (size_t i = 0; field->names[i] != NULL; i++) {
        char value[64];
        (void)snprintf(value, sizeof value, "\"%s\"", field->names[i]);
        assert_value_taken(f, field, value);
        const char *got;
        memcpy(&got, (const char *)f->generation + field->offset, sizeof got);
        assert_string_equal(got, field->names[i]);
    }
    assert_value_refused(f, field, "\"\"", "enum");
    assert_value_refused(f, field, "\"EULER\"", "enum");
    assert_non_null(strstr(f->problems.list[0].message, field->names[0]));
}

static void check_loras(struct fixture *f, const struct rd_field *field)
{
    RD_AUTO_BUF struct rd_buf list;
    rd_buf_init(&list, RD_MIB(1));
    for (size_t extra = 0; extra < 2; extra++) {
        size_t count = (size_t)field->max + extra;
        rd_buf_reset(&list);
        for (size_t i = 0; i < count; i++) {
            rd_buf_printf(&list, "%s{\"id\":\"l%zu\"}", i == 0 ? "[" : ",", i);
        }
        rd_buf_char(&list, ']');
        if (extra == 0) {
            assert_value_taken(f, field, rd_buf_cstr(&list));
            assert_int_equal(f->generation->loras_count, count);
            assert_string_equal(f->generation->loras[count - 1].id, "l15");
            assert_true(f->generation->loras[count - 1].weight == 1.0);
        } else {
            assert_value_refused(f, field, rd_buf_cstr(&list), "maxItems");
        }
    }
}

/* Each JSON type that is not the field's own. */
static void check_types(struct fixture *f, const struct rd_field *field)
{
    for (size_t i = 0; i < sizeof plain_values / sizeof plain_values[0]; i++) {
        char first = plain_values[i][0];
        bool number = first == '7' || first == '1';
        bool own =
            (field->type == RD_FIELD_BOOL && first == 't') ||
            (field->type == RD_FIELD_LORAS && first == '[') ||
            (field->type == RD_FIELD_NUMBER && number) ||
            (field->type == RD_FIELD_INTEGER && number) ||
            (field->type != RD_FIELD_BOOL && field->type != RD_FIELD_LORAS &&
             field->type != RD_FIELD_NUMBER && field->type != RD_FIELD_INTEGER && first == '"');
        if (!own) {
            assert_value_refused(f, field, plain_values[i], "type");
        }
    }
}

static void check_row(struct fixture *f, const struct rd_field *field)
{
    enum rd_task task = f->context.task;
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, RD_MIB(1));
    put_body(&body, task, field->name, NULL);
    if ((field->required & RD_FIELD_TASK(task)) != 0) {
        assert_refused(f, rd_buf_cstr(&body), field->name, "required");
    } else {
        assert_accepted(f, rd_buf_cstr(&body));
    }
    check_types(f, field);
    if (field->type == RD_FIELD_NUMBER || field->type == RD_FIELD_INTEGER) {
        check_numbers(f, field);
    } else if (field->type == RD_FIELD_TEXT) {
        check_text(f, field);
    } else if (field->type == RD_FIELD_NAME) {
        check_names(f, field);
    } else if (field->type == RD_FIELD_LORAS) {
        check_loras(f, field);
    } else if (field->type == RD_FIELD_ROUTE) {
        assert_value_refused(f, field, "\"other\"", "conflict");
    } else if (field->type != RD_FIELD_BOOL && field->type != RD_FIELD_SOURCE) {
        assert_value_refused(f, field, "\"other\"", "enum");
    }
}

static void every_field_at_its_limits(void **state)
{
    (void)state;
    size_t checked = 0;
    for (unsigned task = 0; task < RD_TASK_COUNT_; task++) {
        struct fixture f;
        fixture_start(&f, &plasma, (enum rd_task)task);
        for (size_t i = 0; i < rd_fields_count; i++) {
            const struct rd_field *field = &rd_fields[i];
            if ((field->tasks & RD_FIELD_TASK(task)) != 0) {
                check_row(&f, field);
                checked++;
            } else if (rd_field_find_for(field->name, (enum rd_task)task) == NULL) {
                for (size_t v = 0; v < sizeof plain_values / sizeof plain_values[0]; v++) {
                    assert_value_refused(&f, field, plain_values[v], "not_applicable");
                }
            }
        }
        fixture_end(&f);
    }
    assert_true(checked > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_make_sense),
        cmocka_unit_test(finds_rows),
        cmocka_unit_test(every_field_at_its_limits),
    };
    return cmocka_run_group_tests_name("request/fields_table", tests, NULL, NULL);
}
