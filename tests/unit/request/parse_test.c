/* SPDX-License-Identifier: Apache-2.0
 *
 * parse.c and readers.c: defaults and presets, the query, all problems at once, and everything
 * that is no JSON object. Single fields at their limits are in fields_table_test.c. */
#include "fixture.h"

static struct fixture f;

static int start(void **state)
{
    (void)state;
    fixture_start(&f, &plasma, RD_TASK_T2I);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&f);
    return 0;
}

static void use(const struct rd_model *model, enum rd_task task)
{
    fixture_end(&f);
    fixture_start(&f, model, task);
}

static void defaults_of_images(void **state)
{
    (void)state;
    assert_accepted(&f, "{\"prompt\":\"p\"}");
    const struct rd_generation *g = f.generation;
    assert_int_equal(g->modality, RD_MODALITY_IMAGE);
    assert_int_equal(g->task, RD_TASK_T2I);
    assert_string_equal(g->family, "builtin");
    assert_string_equal(g->model, "plasma");
    assert_int_equal(g->backend, RD_BACKEND_BUILTIN);
    assert_false(g->backend_asked);
    assert_string_equal(g->format->name, "1024");
    assert_int_equal(g->media, RD_MEDIA_PNG);
    assert_string_equal(g->prompt, "p");
    assert_string_equal(g->negative_prompt, "");
    assert_int_equal(g->image.kind, RD_SOURCE_NONE);
    assert_int_equal(g->mask.kind, RD_SOURCE_NONE);
    assert_int_equal(g->seed, FIXTURE_SEED);
    assert_true(g->strength == 0.8 && g->guidance == 3.5 && g->cfg == 1.0 && g->eta == 0.5);
    assert_int_equal(g->steps, 20);
    assert_int_equal(g->count, 1);
    assert_int_equal(g->clip_skip, 0);
    assert_string_equal(g->sampler, "euler");
    assert_string_equal(g->scheduler, "simple");
    assert_string_equal(g->noise_type, "gaussian");
    assert_int_equal(g->loras_count, 0);
    assert_true(g->detail_amount == 0 && g->detail_start == 0 && g->detail_end == 1);
}

static void defaults_of_videos(void **state)
{
    (void)state;
    use(&plasma, RD_TASK_T2V);
    assert_accepted(&f, "{\"prompt\":\"p\"}");
    const struct rd_generation *g = f.generation;
    assert_string_equal(g->format->name, "720p");
    assert_int_equal(g->media, RD_MEDIA_MP4);
    assert_int_equal(g->steps, 8);
    assert_int_equal(g->count, 1);
    assert_true(g->duration == 2 && g->motion_strength == 0.5 && g->shift == -1 && g->cfg == 1);
    assert_false(g->lightning);
}

static void assert_recipe(const char *body, const char *sampler, const char *scheduler,
                          unsigned steps)
{
    assert_accepted(&f, body);
    assert_string_equal(f.generation->sampler, sampler);
    assert_string_equal(f.generation->scheduler, scheduler);
    assert_int_equal(f.generation->steps, steps);
}

static void presets(void **state)
{
    (void)state;
    use(&flux, RD_TASK_T2I);
    assert_recipe("{\"prompt\":\"p\"}", "euler", "beta", 25);
    assert_recipe("{\"prompt\":\"p\",\"preset\":\"fast\"}", "euler", "simple", 20);
    assert_true(f.generation->guidance == 2.5);
    assert_recipe("{\"prompt\":\"p\",\"preset\":\"quality\",\"steps\":7,\"sampler\":\"lcm\"}",
                  "lcm", "exponential", 7);
    assert_refused(&f, "{\"prompt\":\"p\",\"preset\":\"best\"}", "preset", "enum");
    assert_string_equal(f.problems.list[0].message,
                        "expected one of fast, standard, quality; got \"best\"");
    use(&qwen, RD_TASK_T2I); /* a preset that says little: the rest are the table's defaults */
    assert_recipe("{\"prompt\":\"p\"}", "euler", "simple", 20);
    assert_true(f.generation->cfg == 1 && f.generation->guidance == 3.5);
    use(&plasma, RD_TASK_T2I);
    assert_refused(&f, "{\"prompt\":\"p\",\"preset\":\"fast\"}", "preset", "enum");
}

static void lightning(void **state)
{
    (void)state;
    use(&wan, RD_TASK_T2V);
    assert_recipe("{\"prompt\":\"p\"}", "uni_pc", "beta", 28);
    assert_true(f.generation->cfg == 7 && f.generation->shift == -1);
    assert_accepted(&f, "{\"prompt\":\"p\",\"lightning\":true}");
    assert_true(f.generation->lightning && f.generation->cfg == 1 && f.generation->shift == 5);
    assert_int_equal(f.generation->steps, 28);
    assert_accepted(&f, "{\"prompt\":\"p\",\"lightning\":true,\"cfg\":2,\"shift\":0.25}");
    assert_true(f.generation->cfg == 2 && f.generation->shift == 0.25);
    use(&plasma, RD_TASK_T2V);
    assert_refused(&f, "{\"prompt\":\"p\",\"lightning\":true}", "lightning", "not_applicable");
    assert_accepted(&f, "{\"prompt\":\"p\",\"lightning\":false}");
}

static void format_and_backend(void **state)
{
    (void)state;
    use(&flux, RD_TASK_T2I);
    f.context.format = "portrait";
    f.context.backend = "torch";
    assert_accepted(&f, "{\"prompt\":\"p\"}");
    assert_string_equal(f.generation->format->name, "portrait");
    assert_int_equal(f.generation->backend, RD_BACKEND_TORCH);
    assert_true(f.generation->backend_asked);
    assert_non_null(strstr(f.generation->json, "\"backend\":\"torch\""));
    assert_non_null(strstr(f.generation->json, "\"format\":\"portrait\""));
    assert_accepted(&f, "{\"prompt\":\"p\",\"format\":\"portrait\",\"backend\":\"torch\"}");
    assert_refused(&f, "{\"prompt\":\"p\",\"format\":\"512\"}", "format", "conflict");
    assert_refused(&f, "{\"prompt\":\"p\",\"backend\":\"nunchaku\"}", "backend", "conflict");
    assert_refused(&f, "{\"prompt\":\"p\",\"backend\":1}", "backend", "type");
    f.context.format = "720p";
    assert_refused(&f, "{\"prompt\":\"p\"}", "format", "enum");
    f.context.format = "";
    assert_refused(&f, "{\"prompt\":\"p\"}", "format", "enum");
    f.context.format = NULL;
    f.context.backend = "tensorrt";
    assert_refused(&f, "{\"prompt\":\"p\"}", "backend", "enum");
    assert_string_equal(f.problems.list[0].message,
                        "expected one of nunchaku, torch; got \"tensorrt\"");
    f.context.backend = NULL;
    assert_accepted(&f, "{\"prompt\":\"p\",\"format\":\"512\",\"backend\":\"nunchaku\"}");
    assert_int_equal(f.generation->format->width, 512);
    assert_true(f.generation->backend_asked);
    use(&qwen, RD_TASK_T2I);
    assert_refused(&f, "{\"prompt\":\"p\",\"format\":\"portrait-wide\"}", "format", "enum");
    assert_null(strstr(f.problems.list[0].message, "portrait-wide,"));
}

static void route(void **state)
{
    (void)state;
    assert_accepted(
        &f, "{\"prompt\":\"p\",\"modality\":\"image\",\"family\":\"builtin\",\"model\":\"plasma\","
            "\"task\":\"t2i\"}");
    assert_refused(&f, "{\"prompt\":\"p\",\"task\":\"t2v\"}", "task", "conflict");
    f.context.modality = RD_MODALITY_VIDEO;
    assert_refused(&f, "{\"prompt\":\"p\"}", "task", "enum");
    use(&flux, RD_TASK_EDIT);
    assert_int_equal(fixture_parse(&f, "{}"), RD_ERR_INVALID_REQUEST);
    assert_int_equal(f.problems.count, 4); /* task, image, mask, prompt */
}

static void loras(void **state)
{
    (void)state;
    static const struct rd_catalogue_lora known[] = {
        {"anti_blur", "flux"}, {"hands_v2", "flux"}, {"wan_high", "wan"}};
    use(&flux, RD_TASK_T2I);
    f.context.loras = known;
    f.context.loras_count = 3;
    assert_accepted(&f, "{\"prompt\":\"p\",\"lora\":[{\"id\":\"hands_v2\",\"weight\":0.5},{\"id\":"
                        "\"anti_blur\"}]}");
    assert_int_equal(f.generation->loras_count, 2);
    assert_string_equal(f.generation->loras[0].id, "hands_v2");
    assert_true(f.generation->loras[0].weight == 0.5 && f.generation->loras[1].weight == 1);
    assert_refused(&f, "{\"prompt\":\"p\",\"lora\":[{\"id\":\"anti_blur\"},{\"id\":\"wan_high\"}]}",
                   "lora[1].id", "enum");
    assert_refused(&f, "{\"prompt\":\"p\",\"lora\":[{}]}", "lora[0].id", "required");
    assert_refused(&f, "{\"prompt\":\"p\",\"lora\":[{\"id\":\"\"}]}", "lora[0].id", "minLength");
    assert_refused(&f, "{\"prompt\":\"p\",\"lora\":[{\"id\":7}]}", "lora[0].id", "type");
    assert_refused(&f, "{\"prompt\":\"p\",\"lora\":[[]]}", "lora[0]", "type");
    assert_refused(&f, "{\"prompt\":\"p\",\"lora\":[{\"id\":\"hands_v2\",\"weight\":true}]}",
                   "lora[0].weight", "type");
    assert_accepted(&f, "{\"prompt\":\"p\",\"lora\":[{\"id\":\"hands_v2\",\"weight\":100}]}");
    assert_refused(&f, "{\"prompt\":\"p\",\"lora\":[{\"id\":\"hands_v2\",\"weight\":100.5}]}",
                   "lora[0].weight", "maximum");
    assert_refused(&f, "{\"prompt\":\"p\",\"lora\":[{\"id\":\"hands_v2\",\"weight\":-100.5}]}",
                   "lora[0].weight", "minimum");
    f.context.model = &plasma; /* no LoRAs listed for its family: any id */
    assert_accepted(&f, "{\"prompt\":\"p\",\"lora\":[{\"id\":\"mine\"}]}");
}

static void detail_order(void **state)
{
    (void)state;
    assert_accepted(&f, "{\"prompt\":\"p\",\"detail_start\":0.5,\"detail_end\":0.5}");
    assert_refused(&f, "{\"prompt\":\"p\",\"detail_start\":0.6,\"detail_end\":0.5}", "detail_start",
                   "maximum");
}

static bool has_problem(const char *field, const char *constraint)
{
    for (size_t i = 0; i < f.problems.count; i++) {
        if (strcmp(f.problems.list[i].field, field) == 0 &&
            strcmp(f.problems.list[i].constraint, constraint) == 0) {
            return true;
        }
    }
    return false;
}

static void all_problems_at_once(void **state)
{
    (void)state;
    assert_int_equal(
        fixture_parse(
            &f, "{\"steps\":151,\"seed\":-1,\"sampler\":\"nope\",\"count\":2.5,\"guidance\":\"x\","
                "\"mask\":\"m\",\"lora\":[{\"weight\":1e9},5],\"cfg\":true,\"unknown\":{}}"),
        RD_ERR_INVALID_REQUEST);
    assert_int_equal(f.problems.count, 11);
    static const char *const want[][2] = {
        {"prompt", "required"},
        {"steps", "maximum"},
        {"seed", "minimum"},
        {"sampler", "enum"},
        {"count", "type"},
        {"guidance", "type"},
        {"mask", "not_applicable"},
        {"lora[0].id", "required"},
        {"lora[0].weight", "maximum"},
        {"lora[1]", "type"},
        {"cfg", "type"},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        if (!has_problem(want[i][0], want[i][1])) {
            fail_msg("missing: %s %s", want[i][0], want[i][1]);
        }
    }
    /* the list is bounded, and what it leaves out still refuses */
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, RD_KIB(8));
    rd_buf_str(&body, "{\"lora\":[");
    for (int i = 0; i < RD_LIMIT_LORAS; i++) {
        rd_buf_str(&body, i == 0 ? "{\"id\":1,\"weight\":\"\"}" : ",{\"id\":1,\"weight\":\"\"}");
    }
    rd_buf_str(&body, "]}");
    assert_int_equal(fixture_parse(&f, rd_buf_cstr(&body)), RD_ERR_INVALID_REQUEST);
    assert_int_equal(f.problems.count, RD_LIMIT_PROBLEMS);
    assert_int_equal(f.problems.dropped, 1);
}

static void messages(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{\"prompt\":7}", "expected a string, got a number"},
        {"{\"prompt\":\"\"}", "expected 1 to 4000 characters, got 0"},
        {"{\"prompt\":\"p\",\"steps\":151}", "expected a number from 1 to 150, got 151"},
        {"{\"prompt\":\"p\",\"seed\":4294967296}",
         "expected a number from 0 to 4294967295, got 4294967296"},
        {"{\"prompt\":\"p\",\"count\":1.5}", "expected a whole number, got 1.5"},
        {"{\"prompt\":\"p\",\"noise_type\":\"pink\"}",
         "expected one of brownian, fractal, gaussian, perlin; got \"pink\""},
        {"{\"prompt\":\"p\",\"image\":\"x\"}",
         "t2i does not take it, only i2i, edit, i2v: leave it out"},
        {"{}", "t2i needs it"},
        {"{\"prompt\":\"p\",\"seed\":null}", "expected a whole number, got null"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(fixture_parse(&f, rows[i][0]), RD_ERR_INVALID_REQUEST);
        assert_string_equal(f.problems.list[0].message, rows[i][1]);
    }
}

/* One problem about the body itself, with the place; `len` SIZE_MAX: up to the NUL. */
static void assert_no_json(const char *body, size_t len, const char *constraint, const char *place)
{
    rd_err err = fixture_parse_len(&f, body, len == SIZE_MAX ? strlen(body) : len);
    if (err != RD_ERR_INVALID_JSON || f.problems.count != 1 ||
        strcmp(f.problems.list[0].constraint, constraint) != 0 ||
        strcmp(f.problems.list[0].field, "") != 0 ||
        strncmp(f.problems.list[0].message, place, strlen(place)) != 0) {
        fail_msg("%s: error %d, %zu problems, %s: %s", body, (int)err, f.problems.count,
                 f.problems.count > 0 ? f.problems.list[0].constraint : "-",
                 f.problems.count > 0 ? f.problems.list[0].message : "-");
    }
    assert_null(f.generation);
}

static void no_json(void **state)
{
    (void)state;
    assert_no_json("", SIZE_MAX, "json", "line 1, column 1: expected a JSON object, got nothing");
    assert_no_json(" \n ", SIZE_MAX, "json", "line 2");
    static const char *const bodies[] = {
        "{",
        "}",
        "{\"prompt\":\"p\"",
        "{\"prompt\":\"p\",}",
        "{prompt:\"p\"}",
        "{'prompt':'p'}",
        "{\"prompt\":\"p\"}x",
        "{\"prompt\":\"p\"}{}",
        "{\"prompt\" \"p\"}",
        "{\"prompt\":p}",
        "{\"prompt\":\"p\" \"seed\":1}",
        "{\"prompt\":\"\\x\"}",
        "{\"prompt\":\"\\ud800\"}",
        "{\"prompt\":\"\\udc00\\ud800\"}",
        "{\"prompt\":\"\\u12\"}",
        "{\"prompt\":\"a\nb\"}",
        "{\"prompt\":\"a\tb\"}",
        "{\"prompt\":\"p",
        "{\"seed\":01}",
        "{\"seed\":+1}",
        "{\"seed\":.5}",
        "{\"seed\":1.}",
        "{\"seed\":1e}",
        "{\"seed\":0x10}",
        "{\"cfg\":NaN}",
        "{\"cfg\":Infinity}",
        "{\"cfg\":-Infinity}",
        "{\"cfg\":-}",
        "{/**/}",
        "{\"a\":tru}",
        "{\"a\":True}",
        "\xef\xbb\xbf{}",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\":]}",
        "{]",
        "undefined",
        "{\"a\":\"\\\"}",
        "{\"image\":\"data:x\"",
        "{\"image\":\"data:x\",}",
        "prompt=p&seed=1",
        "<xml/>",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        assert_no_json(bodies[i], SIZE_MAX, "json", "line ");
    }
    static const char *const others[] = {"[]", "null", "true", "7", "1.5", "\"{}\""};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_no_json(others[i], SIZE_MAX, "type", "expected an object, got ");
    }
}

static void no_utf8(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xff",
                                      "\xc3",
                                      "\xc0\x80",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80\x80\x80",
                                      "\xc3\x28"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char body[64];
        (void)snprintf(body, sizeof body, "{\"prompt\":\"%s\"}", bad[i]);
        assert_no_json(body, SIZE_MAX, "utf8", "line 1, column 12");
        (void)snprintf(body, sizeof body, "{\"%s\":1}", bad[i]);
        assert_no_json(body, SIZE_MAX, "utf8", "line 1, column 3");
    }
}

static void nul(void **state)
{
    (void)state;
    assert_no_json("{\"prompt\":\"a\\u0000b\"}", SIZE_MAX, "nul", "line 1");
    assert_no_json("{\"x\":{\"y\":\"\\u0000\"}}", SIZE_MAX, "nul", "line 1");
    assert_no_json("{\"a\\u0000\":1}", SIZE_MAX, "nul", "line 1");
    assert_no_json("{\"prompt\":\"a\0b\"}", 16, "json", "line 1");
    assert_no_json("{\"prompt\":\"p\"}\0", 15, "json", "line 1");
    assert_no_json("\0", 1, "json", "line 1");
}

static void duplicates(void **state)
{
    (void)state;
    assert_no_json("{\"prompt\":\"p\",\"prompt\":\"q\"}", SIZE_MAX, "unique", "line 1");
    assert_no_json("{\"prompt\":\"p\",\"pr\\u006fmpt\":\"q\"}", SIZE_MAX, "unique", "line 1");
    assert_no_json("{\"prompt\":\"p\",\"x\":[{\"y\":1,\"y\":1}]}", SIZE_MAX, "unique", "line 1");
    assert_no_json("{\"image\":\"data:1\",\"image\":\"data:2\"}", SIZE_MAX, "unique", "line 1");
    assert_no_json("{\"image\":\"data:1\",\"imag\\u0065\":\"x\"}", SIZE_MAX, "unique", "line 1");
}

static void places(void **state)
{
    (void)state;
    assert_no_json("{\n  \"prompt\": \"p\",\n  \"seed\": x\n}", SIZE_MAX, "json",
                   "line 3, column 12: ");
    assert_no_json("{\"prompt\":\"\xc3\xa9\xe2\x82\xac\",\"s\":x}", SIZE_MAX, "json",
                   "line 1, column 21: ");
    assert_no_json("{\"image\":\"data:image/png;base64,AAAAAAAAAA\",\"s\":x}", SIZE_MAX, "json",
                   "line 1, column 50: "); /* what was lifted out still counts */
}

static void depth(void **state)
{
    (void)state;
    for (int levels = RD_LIMIT_JSON_DEPTH; levels <= RD_LIMIT_JSON_DEPTH + 1; levels++) {
        char body[512] = "{\"prompt\":\"p\",\"x\":";
        size_t len = strlen(body);
        memset(body + len, '[', (size_t)levels - 1);
        memset(body + len + levels - 1, ']', (size_t)levels - 1);
        body[len + 2 * ((size_t)levels - 1)] = '}';
        if (levels <= RD_LIMIT_JSON_DEPTH) {
            assert_accepted(&f, body);
        } else {
            assert_no_json(body, SIZE_MAX, "depth", "line 1, column 82: nested deeper than 64");
        }
    }
    RD_AUTO_FREE char *bomb = rd_mem_alloc(RD_MIB(1));
    assert_non_null(bomb);
    memset(bomb, '{', RD_MIB(1));
    assert_int_equal(fixture_parse_len(&f, bomb, RD_MIB(1)), RD_ERR_INVALID_JSON);
    memset(bomb, '[', RD_MIB(1));
    assert_int_equal(fixture_parse_len(&f, bomb, RD_MIB(1)), RD_ERR_INVALID_JSON);
}

static void big_numbers(void **state)
{
    (void)state;
    assert_refused(&f, "{\"prompt\":\"p\",\"seed\":18446744073709551615}", "seed", "maximum");
    assert_refused(&f, "{\"prompt\":\"p\",\"seed\":-18446744073709551616}", "seed", "minimum");
    assert_no_json("{\"prompt\":\"p\",\"x\":18446744073709551615}", SIZE_MAX, "number",
                   "line 1, column 3");
    assert_no_json("{\"prompt\":\"p\",\"x\":1e999}", SIZE_MAX, "number", "line 1");
    assert_no_json("{\"prompt\":\"p\",\"cfg\":-1e999}", SIZE_MAX, "number", "line 1");
    assert_accepted(&f, "{\"prompt\":\"p\",\"x\":9223372036854775807,\"y\":1e308,\"cfg\":1e-400}");
    assert_non_null(strstr(f.generation->json, "\"x\":9223372036854775807,\"y\":1e+308}"));
    RD_AUTO_FREE char *body = rd_mem_alloc(100000);
    assert_non_null(body);
    memset(body, '9', 100000);
    memcpy(body, "{\"prompt\":\"p\",\"seed\":", 21);
    body[99999] = '}';
    assert_no_json(body, 100000, "number", "line 1");
}

static void sizes(void **state)
{
    (void)state;
    static const char head[] = "{\"prompt\":\"p\",\"x\":\"";
    size_t max = RD_LIMIT_JSON_BODY;
    RD_AUTO_FREE char *body = rd_mem_alloc(max + 1);
    assert_non_null(body);
    memset(body, 'x', max + 1);
    memcpy(body, head, strlen(head));
    memcpy(body + max - 2, "\"}", 2);
    assert_int_equal(fixture_parse_len(&f, body, max), RD_OK);
    assert_in_range(f.generation->json_len, max, max + 1000);
    body[max - 2] = 'x';
    memcpy(body + max - 1, "\"}", 2);
    assert_int_equal(fixture_parse_len(&f, body, max + 1), RD_ERR_TOO_LARGE);
    assert_one_problem(&f, "", "maxLength");
}

/* Fields that no task knows, thousands of them, in any order: kept, and sorted in good time. */
static void many_unknown_fields(void **state)
{
    (void)state;
    enum { FIELDS = 50000 };
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, RD_LIMIT_JSON_BODY);
    rd_buf_str(&body, "{\"prompt\":\"p\"");
    for (unsigned i = 0; i < FIELDS; i++) {
        rd_buf_printf(&body, ",\"k%u\":%u", (i * 7919u) % FIELDS, i);
    }
    rd_buf_str(&body, "}");
    assert_int_equal(rd_buf_err(&body), RD_OK);
    assert_int_equal(fixture_parse_len(&f, body.data, body.len), RD_OK);
    assert_non_null(strstr(f.generation->json, "\"k0\":0,\"k1\":"));
}

/* With every amount of memory in the arena the answer is NO_MEMORY or the right one. */
static void little_memory(void **state)
{
    (void)state;
    static const char body[] =
        "{\"prompt\":\"p\",\"image\":\"" PNG_URI "\",\"lora\":[{\"id\":\"x\"}],\"u\":{\"v\":1}}";
    use(&plasma, RD_TASK_I2I);
    unsigned refused = 0;
    for (size_t max = 0; max < 4096; max += 7) {
        rd_arena_done(&f.arena);
        rd_arena_init(&f.arena, max);
        f.generation = NULL;
        rd_err err =
            rd_request_parse(body, strlen(body), &f.context, &f.arena, &f.generation, &f.problems);
        assert_true(err == RD_OK || err == RD_ERR_NO_MEMORY);
        assert_int_equal(err == RD_OK, f.generation != NULL);
        refused += err != RD_OK;
    }
    assert_in_range(refused, 50, 400);
}

static void does_not_touch_the_body(void **state)
{
    (void)state;
    use(&plasma, RD_TASK_I2I);
    static const char body[] =
        "{\"prompt\":\"p\",\"image\":\"" PNG_URI "\"}"; /* in read-only memory */
    size_t len = strlen(body);
    RD_AUTO_FREE char *copy = rd_mem_alloc(len); /* and with nothing behind it */
    assert_non_null(copy);
    memcpy(copy, body, len);
    assert_int_equal(fixture_parse_len(&f, copy, len), RD_OK);
    for (size_t cut = 0; cut < len; cut++) { /* no prefix of it is taken */
        RD_AUTO_FREE char *prefix = rd_mem_alloc(cut);
        assert_non_null(prefix);
        memcpy(prefix, body, cut);
        assert_int_equal(fixture_parse_len(&f, prefix, cut), RD_ERR_INVALID_JSON);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_of_images, start, end),
        cmocka_unit_test_setup_teardown(defaults_of_videos, start, end),
        cmocka_unit_test_setup_teardown(presets, start, end),
        cmocka_unit_test_setup_teardown(lightning, start, end),
        cmocka_unit_test_setup_teardown(format_and_backend, start, end),
        cmocka_unit_test_setup_teardown(route, start, end),
        cmocka_unit_test_setup_teardown(loras, start, end),
        cmocka_unit_test_setup_teardown(detail_order, start, end),
        cmocka_unit_test_setup_teardown(all_problems_at_once, start, end),
        cmocka_unit_test_setup_teardown(messages, start, end),
        cmocka_unit_test_setup_teardown(no_json, start, end),
        cmocka_unit_test_setup_teardown(no_utf8, start, end),
        cmocka_unit_test_setup_teardown(nul, start, end),
        cmocka_unit_test_setup_teardown(duplicates, start, end),
        cmocka_unit_test_setup_teardown(places, start, end),
        cmocka_unit_test_setup_teardown(depth, start, end),
        cmocka_unit_test_setup_teardown(big_numbers, start, end),
        cmocka_unit_test_setup_teardown(sizes, start, end),
        cmocka_unit_test_setup_teardown(many_unknown_fields, start, end),
        cmocka_unit_test_setup_teardown(little_memory, start, end),
        cmocka_unit_test_setup_teardown(does_not_touch_the_body, start, end),
    };
    return cmocka_run_group_tests_name("request/parse", tests, NULL, NULL);
}
