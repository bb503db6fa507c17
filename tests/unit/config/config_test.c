/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading: the defaults, a whole file, each row of the schema wrong in each way with the exact
 * message, the rules between fields, and hostile bytes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"

static const char whole[] =
    "# everything\n"
    "public_url: https://media.example.org/render\n"
    "threads: 2\n"
    "durability: relaxed\n"
    "catalogue: /etc/render/catalogue.yaml\n"
    "log: {format: text, level: warn}\n"
    "cors: {origins: [\"https://app.example.org\", 'http://localhost:3000']}\n"
    "store: {pack_size: 64MiB, own_file_over: 8MiB, min_free: 0, retention_days: 30}\n"
    "fetch: {allow_hosts: [images.internal, 10.0.0.5, 'fd00::1'], ca_file: /etc/own.pem}\n"
    "webhooks: {allow_hosts: [hooks.internal], ca_file: /etc/hooks.pem}\n"
    "limits: {rate: 10, burst: 20, concurrency: 3, queue_depth: 40, priority: high}\n"
    "tenants: [{name: acme, rate: 0, priority: normal}, {name: b, queue_depth: 0}]\n"
    "sync: {wait: 5s, on_disconnect: finish}\n"
    "jobs: {keep_days: 0, idempotency_hours: 1}\n"
    "engines:\n"
    "  - {name: painter, type: builtin, slots: 2, models: [builtin/plasma]}\n"
    "  - {name: box1, type: http, url: \"http://10.0.0.5:9000/generate\", slots: 4,\n"
    "     models: [flux/schnell, flux/dev], backend: nunchaku, timeout: 120s}\n"
    "  - name: box2\n"
    "    type: http\n"
    "    url: https://box2/\n"
    "    models: [wan/default]\n";

static struct rd_config *load(const char *yaml)
{
    struct rd_config *config = NULL;
    struct rd_why why = {""};
    if (rd_config_load(yaml, strlen(yaml), "render.yaml", &config, &why) != RD_OK) {
        fail_msg("%s", why.text);
    }
    return config;
}

static void refused(const char *yaml, const char *message)
{
    struct rd_config *config = NULL;
    struct rd_why why = {""};
    assert_int_equal(rd_config_load(yaml, strlen(yaml), "render.yaml", &config, &why),
                     RD_ERR_CONFIG);
    assert_string_equal(why.text, message);
    assert_null(config);
    assert_int_equal(rd_config_load(yaml, strlen(yaml), "render.yaml", &config, NULL),
                     RD_ERR_CONFIG);
}

static void check_defaults(const struct rd_config *config)
{
    assert_null(config->public_url);
    assert_int_equal(config->threads, 0);
    assert_int_equal(config->durability, RD_CAS_STRICT);
    assert_null(config->catalogue);
    assert_int_equal(config->log_format, RD_LOG_JSON);
    assert_int_equal(config->log_level, RD_LOG_INFO);
    assert_int_equal(config->cors_origins_count, 0);
    assert_true(config->pack_bytes == 256ull << 20);
    assert_true(config->own_file_bytes == 16ull << 20);
    assert_true(config->min_free_bytes == 1ull << 30);
    assert_int_equal(config->retention_days, 0);
    assert_int_equal(config->fetch_allow_hosts_count, 0);
    assert_null(config->fetch_ca_file);
    assert_int_equal(config->webhooks_allow_hosts_count, 0);
    assert_null(config->webhooks_ca_file);
    assert_int_equal(config->engines_count, 1);
    const struct rd_config_engine *engine = &config->engines[0];
    assert_string_equal(engine->engine.name, "builtin");
    assert_string_equal(engine->engine.type, "builtin");
    assert_null(engine->engine.url);
    assert_int_equal(engine->engine.slots, sysconf(_SC_NPROCESSORS_ONLN));
    assert_int_equal(engine->engine.timeout_ms, 0);
    assert_int_equal(engine->backend, RD_BACKEND_BUILTIN);
    assert_int_equal(engine->models_count, 1);
    assert_string_equal(engine->models[0], "builtin/plasma");
}

static void empty_files_give_the_defaults(void **state)
{
    (void)state;
    static const char *const files[] = {"", "# nothing\n", "---\n", "{}", "log: {}\nstore: {}\n"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct rd_config *config = load(files[i]);
        check_defaults(config);
        rd_config_unref(config);
    }
    struct rd_config *config = NULL;
    assert_int_equal(rd_config_load(NULL, 0, "render.yaml", &config, NULL), RD_OK);
    check_defaults(config);
    rd_config_unref(config);
    rd_config_unref(NULL);
}

static void an_empty_list_means_no_engines(void **state)
{
    (void)state;
    struct rd_config *config = load("engines: []");
    assert_int_equal(config->engines_count, 0);
    rd_config_unref(config);
}

static void check_box1(const struct rd_config_engine *box1)
{
    assert_string_equal(box1->engine.name, "box1");
    assert_string_equal(box1->engine.type, "http");
    assert_string_equal(box1->engine.url, "http://10.0.0.5:9000/generate");
    assert_int_equal(box1->engine.slots, 4);
    assert_int_equal(box1->engine.timeout_ms, 120000);
    assert_int_equal(box1->backend, RD_BACKEND_NUNCHAKU);
    assert_int_equal(box1->models_count, 2);
    assert_string_equal(box1->models[0], "flux/schnell");
    assert_string_equal(box1->models[1], "flux/dev");
}

static void check_limits(const struct rd_config *config)
{
    const struct rd_config_limits *acme = rd_config_limits_of(config, "acme");
    assert_int_equal(acme->rate, 0);
    assert_int_equal(acme->burst, 20);
    assert_int_equal(acme->concurrency, 3);
    assert_false(acme->high);
    assert_int_equal(rd_config_limits_of(config, "b")->queue_depth, 0);
    assert_true(rd_config_limits_of(config, "b")->high);
    assert_ptr_equal(rd_config_limits_of(config, "others"), &config->limits);
    assert_int_equal(config->limits.rate, 10);
    assert_int_equal(config->sync_wait_ms, 5000);
    assert_int_equal(config->on_disconnect, RD_CONFIG_FINISH);
    assert_int_equal(config->keep_days, 0);
    assert_int_equal(config->idempotency_hours, 1);
}

static void a_whole_file(void **state)
{
    (void)state;
    struct rd_config *config = load(whole);
    assert_string_equal(config->public_url, "https://media.example.org/render");
    assert_int_equal(config->threads, 2);
    assert_int_equal(config->durability, RD_CAS_RELAXED);
    assert_string_equal(config->catalogue, "/etc/render/catalogue.yaml");
    assert_int_equal(config->log_format, RD_LOG_TEXT);
    assert_int_equal(config->log_level, RD_LOG_WARN);
    assert_int_equal(config->cors_origins_count, 2);
    assert_string_equal(config->cors_origins[1], "http://localhost:3000");
    assert_true(config->pack_bytes == 64 << 20);
    assert_true(config->own_file_bytes == 8 << 20);
    assert_true(config->min_free_bytes == 0);
    assert_int_equal(config->retention_days, 30);
    assert_int_equal(config->fetch_allow_hosts_count, 3);
    assert_string_equal(config->fetch_ca_file, "/etc/own.pem");
    assert_string_equal(config->fetch_allow_hosts[2], "fd00::1");
    check_limits(config);
    assert_int_equal(config->webhooks_allow_hosts_count, 1);
    assert_string_equal(config->webhooks_allow_hosts[0], "hooks.internal");
    assert_string_equal(config->webhooks_ca_file, "/etc/hooks.pem");
    assert_int_equal(config->engines_count, 3);
    assert_int_equal(config->engines[0].engine.slots, 2);
    assert_int_equal(config->engines[0].backend, RD_BACKEND_BUILTIN);
    check_box1(&config->engines[1]);
    assert_int_equal(config->engines[2].engine.slots, 1);
    assert_int_equal(config->engines[2].engine.timeout_ms, 0);
    assert_int_equal(config->engines[2].backend, RD_BACKEND_TORCH);
    rd_config_unref(config);
}

static void own_file_over_follows_a_small_pack(void **state)
{
    (void)state;
    struct rd_config *config = load("store: {pack_size: 8MiB}");
    assert_true(config->own_file_bytes == 4 << 20);
    rd_config_unref(config);
    config = load("store: {pack_size: 8MiB, own_file_over: 4MiB}");
    assert_true(config->own_file_bytes == 4 << 20);
    rd_config_unref(config);
    refused("store:\n  own_file_over: 5MiB\n  pack_size: 8MiB\n",
            "render.yaml:2: store.own_file_over: expected at most half of pack_size, 4MiB, got "
            "\"5MiB\"");
}

#define NUMBER(min, max) "expected a whole number from " min " to " max ", got "
#define SIZE(min, max) "expected a size (such as 64KiB) from " min " to " max ", got "
#define PUBLIC "expected an http:// or https:// URL with a host and no slash at its end, got "
#define ORIGIN "expected an origin such as https://app.example.org, or *, got "
#define HOST "expected a host name or address without scheme and port, got "

/* tidy: a table, one line a rule */
static void each_row_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *message;
    } rows[] = {
        {"public_url: ftp://x", "public_url: " PUBLIC "\"ftp://x\""},
        {"public_url: https://x/", "public_url: " PUBLIC "\"https://x/\""},
        {"public_url: [a]", "public_url: " PUBLIC "a list"},
        {"threads: many", "threads: " NUMBER("0", "256") "\"many\""},
        {"threads: -1", "threads: " NUMBER("0", "256") "\"-1\""},
        {"threads: 257", "threads: " NUMBER("0", "256") "\"257\""},
        {"durability: on", "durability: expected one of strict, relaxed, got \"on\""},
        {"durability:", "durability: expected one of strict, relaxed, got nothing"},
        {"catalogue:", "catalogue: expected a path of 1 to 4095 bytes, got nothing"},
        {"catalogue: {}", "catalogue: expected a path of 1 to 4095 bytes, got a map"},
        {"log: json", "log: expected a map, got \"json\""},
        {"log: {format: xml}", "log.format: expected one of json, text, got \"xml\""},
        {"log: {level: loud}", "log.level: expected one of debug, info, warn, error, got \"loud\""},
        {"log: {levle: info}", "log.levle: unknown key; did you mean \"level\"?"},
        {"log: {colour: no}", "log.colour: unknown key; expected one of format, level"},
        {"cors: []", "cors: expected a map, got a list"},
        {"cors: {origins: '*'}", "cors.origins: expected a list of 0 to 64 entries, each an origin "
                                 "such as https://app.example.org, or *, got \"*\""},
        {"cors: {origins: [https://a/]}", "cors.origins[0]: " ORIGIN "\"https://a/\""},
        {"cors: {origins: [{}]}", "cors.origins[0]: " ORIGIN "a map"},
        {"cors: {origins: [https://a, '*']}",
         "cors.origins[1]: expected \"*\" to stand alone, got 1 other origins"},
        {"cors: {origins: [https://a, https://a]}",
         "cors.origins[1]: \"https://a\" stands twice in the list"},
        {"store: 1GiB", "store: expected a map, got \"1GiB\""},
        {"store: {pack_size: 256}", "store.pack_size: " SIZE("1MiB", "1GiB") "\"256\""},
        {"store: {pack_size: 1048575B}", "store.pack_size: " SIZE("1MiB", "1GiB") "\"1048575B\""},
        {"store: {pack_size: 1025MiB}", "store.pack_size: " SIZE("1MiB", "1GiB") "\"1025MiB\""},
        {"store: {packsize: 1MiB}", "store.packsize: unknown key; did you mean \"pack_size\"?"},
        {"store: {own_file_over: 63KiB}",
         "store.own_file_over: " SIZE("64KiB", "512MiB") "\"63KiB\""},
        {"store: {own_file_over: 513MiB}",
         "store.own_file_over: " SIZE("64KiB", "512MiB") "\"513MiB\""},
        {"store: {min_free: 10%}", "store.min_free: " SIZE("0", "1TiB") "\"10%\""},
        {"store: {min_free: 2TiB}", "store.min_free: " SIZE("0", "1TiB") "\"2TiB\""},
        {"store: {retention_days: 36501}",
         "store.retention_days: " NUMBER("0", "36500") "\"36501\""},
        {"store: {retention_days: 1d}", "store.retention_days: " NUMBER("0", "36500") "\"1d\""},
        {"fetch: x", "fetch: expected a map, got \"x\""},
        {"fetch: {allow_hosts: [http://a]}", "fetch.allow_hosts[0]: " HOST "\"http://a\""},
        {"fetch: {allow_hosts: ['a:80']}", "fetch.allow_hosts[0]: " HOST "\"a:80\""},
        {"webhooks: {allow_hosts: [https://a/]}",
         "webhooks.allow_hosts[0]: " HOST "\"https://a/\""},
        {"webhooks: {allow: []}",
         "webhooks.allow: unknown key; expected one of allow_hosts, ca_file"},
        {"tenants: [{name: a}, {name: a}]",
         "tenants[1].name: expected a name that tenants[0] does not have, got \"a\""},
        {"sync: {on_disconnect: detach}",
         "sync.on_disconnect: expected one of cancel, finish, got \"detach\""},
        {"engines:", "engines: expected a list of 0 to 128 maps, got nothing"},
        {"engines: {}", "engines: expected a list of 0 to 128 maps, got a map"},
        {"engines: [box1]", "engines[0]: expected a map, got \"box1\""},
        {"treads: 2", "treads: unknown key; did you mean \"threads\"?"},
        {"listen: x", "listen: unknown key; expected one of public_url, threads, durability, "
                      "catalogue, log, cors, store, fetch, webhooks, limits, tenants, "
                      "sync, jobs, mappings, engines"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        RD_AUTO_BUF struct rd_buf yaml, message;
        rd_buf_init(&yaml, 4096);
        rd_buf_init(&message, 4096);
        rd_buf_printf(&yaml, "# first line\n\n%s\n", rows[i].yaml);
        rd_buf_printf(&message, "render.yaml:3: %s", rows[i].message);
        refused(yaml.data, message.data);
    }
}

#define B "name: b, type: builtin"
#define H "name: h, type: http"
#define NAME "expected a name of 1 to 64 of a-z 0-9 - _ . that starts with a letter or digit"
#define URL "expected an http://, https://, grpc:// or grpcs:// URL with a host"
#define MODEL "a model as family/model, such as flux/dev, in lower case"

static void each_row_of_engines_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *engine, *message;
    } rows[] = {
        {"type: builtin", ": \"name\" is missing; " NAME},
        {"name: b",
         ": \"type\" is missing; expected one of builtin, http, triton, openai, process"},
        {"name: Box 1, type: builtin", ".name: " NAME ", got \"Box 1\""},
        {"name: [], type: builtin", ".name: " NAME ", got a list"},
        {"name: b, type: grpc",
         ".type: expected one of builtin, http, triton, openai, process, got \"grpc\""},
        {B ", slots: many", ".slots: " NUMBER("1", "1024") "\"many\""},
        {B ", slots: 0", ".slots: " NUMBER("1", "1024") "\"0\""},
        {B ", slots: 1025", ".slots: " NUMBER("1", "1024") "\"1025\""},
        {B ", slots: '4'",
         ".slots: expected a whole number from 1 to 1024 without quotes, got \"4\""},
        {B ", slot: 4", ".slot: unknown key; did you mean \"slots\"?"},
        {B ", models: builtin/plasma",
         ".models: expected a list of 1 to 64 entries, each " MODEL ", got \"builtin/plasma\""},
        {B ", models: []", ".models: expected a list of 1 to 64 entries, each " MODEL ", got 0"},
        {B ", models: [plasma]", ".models[0]: expected " MODEL ", got \"plasma\""},
        {B ", models: [a/b, c/d, a/b]", ".models[2]: \"a/b\" stands twice in the list"},
        {B ", backend: cuda",
         ".backend: expected one of nunchaku, torch, tensorrt, builtin, got \"cuda\""},
        {B ", backend: torch",
         ".backend: expected builtin in an engine of type builtin, got \"torch\""},
        {B ", url: http://x/",
         ".url: expected no url in an engine of type builtin, got \"http://x/\""},
        {B ", timeout: 30",
         ".timeout: expected a duration (such as 30s) from 100ms to 24h, got \"30\""},
        {B ", timeout: 99ms",
         ".timeout: expected a duration (such as 30s) from 100ms to 24h, got \"99ms\""},
        {B ", timeout: 25h",
         ".timeout: expected a duration (such as 30s) from 100ms to 24h, got \"25h\""},
        {H ", models: [a/b]", ": \"url\" is missing; expected one in an engine of type http"},
        {H ", url: http://x/",
         ": \"models\" is missing; expected a list of what this engine serves in an engine of "
         "type http"},
        {H ", models: [a/b], url: x:80", ".url: " URL ", got \"x:80\""},
        {H ", models: [a/b], url: ''", ".url: " URL ", got \"\""},
        {"name: one, type: builtin", ".name: expected a name that engines[0] does not have, got "
                                     "\"one\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        RD_AUTO_BUF struct rd_buf yaml, message;
        rd_buf_init(&yaml, 4096);
        rd_buf_init(&message, 4096);
        rd_buf_printf(&yaml, "engines:\n  - {name: one, type: builtin}\n  - {%s}\n",
                      rows[i].engine);
        rd_buf_printf(&message, "render.yaml:3: engines[1]%s", rows[i].message);
        refused(yaml.data, message.data);
    }
}

static void limits_hold(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf yaml;
    rd_buf_init(&yaml, 1 << 20);
    rd_buf_str(&yaml, "engines:\n");
    for (int i = 0; i < RD_CONFIG_ENGINES_MAX; i++) {
        rd_buf_printf(&yaml, "  - {name: e%d, type: builtin, slots: 1024}\n", i);
    }
    struct rd_config *config = load(yaml.data);
    assert_int_equal(config->engines_count, RD_CONFIG_ENGINES_MAX);
    assert_string_equal(config->engines[127].engine.name, "e127");
    rd_config_unref(config);
    rd_buf_str(&yaml, "  - {name: last, type: builtin}\n");
    refused(yaml.data, "render.yaml:1: engines: expected a list of 0 to 128 maps, got 129");

    rd_buf_reset(&yaml);
    rd_buf_str(&yaml, "cors:\n  origins:\n");
    for (int i = 0; i < RD_CONFIG_LIST_MAX; i++) {
        rd_buf_printf(&yaml, "    - https://h%d\n", i);
    }
    config = load(yaml.data);
    assert_int_equal(config->cors_origins_count, RD_CONFIG_LIST_MAX);
    assert_string_equal(config->cors_origins[63], "https://h63");
    rd_config_unref(config);
    rd_buf_str(&yaml, "    - https://last\n");
    refused(yaml.data, "render.yaml:2: cors.origins: expected a list of 0 to 64 entries, each an "
                       "origin such as https://app.example.org, or *, got 65");
}

/* Takes or refuses; in both cases leaves things as promised. */
static void either_way(const char *yaml, size_t len)
{
    struct rd_config *config = NULL;
    struct rd_why why = {""};
    rd_err err = rd_config_load(yaml, len, "render.yaml", &config, &why);
    if (err == RD_OK) {
        assert_non_null(config);
        rd_config_unref(config);
    } else {
        assert_int_equal(err, RD_ERR_CONFIG);
        assert_null(config);
        assert_memory_equal(why.text, "render.yaml:", 12);
    }
}

static void every_prefix_and_bit_flip_is_answered(void **state)
{
    (void)state;
    RD_AUTO_FREE char *copy = rd_mem_memdupz(whole, sizeof whole - 1);
    for (size_t len = 0; len < sizeof whole; len++) {
        RD_AUTO_FREE char *prefix = rd_mem_memdupz(whole, len); /* an over-read meets its end */
        either_way(prefix, len);
    }
    for (size_t i = 0; i < sizeof whole - 1; i++) {
        for (int bit = 0; bit < 8; bit++) {
            copy[i] = (char)(copy[i] ^ (1 << bit));
            either_way(copy, sizeof whole - 1);
            copy[i] = (char)(copy[i] ^ (1 << bit));
        }
    }
    assert_string_equal(copy, whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_files_give_the_defaults),
        cmocka_unit_test(an_empty_list_means_no_engines),
        cmocka_unit_test(a_whole_file),
        cmocka_unit_test(own_file_over_follows_a_small_pack),
        cmocka_unit_test(each_row_refuses),
        cmocka_unit_test(each_row_of_engines_refuses),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(every_prefix_and_bit_flip_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
