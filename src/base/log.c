/* SPDX-License-Identifier: Apache-2.0
 *
 * The structured log. See log.h. */
#include "base/log.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

enum { LOG_LINE_MAX = 8192 };

static _Atomic int current_level = RD_LOG_INFO;
static _Atomic int current_format = RD_LOG_TEXT;

void rd_log_configure(enum rd_log_level level, enum rd_log_format format)
{
    atomic_store(&current_level, (int)level);
    atomic_store(&current_format, (int)format);
}

bool rd_log_enabled(enum rd_log_level level)
{
    return (int)level >= atomic_load(&current_level);
}

static void write_value(struct rd_buf *line, const struct rd_log_field *field)
{
    switch (field->kind) {
    case RD_LOG_KIND_STR:
        /* Text values are quoted too, so that no value can forge a field or a line. */
        rd_buf_json_str(line, field->str);
        break;
    case RD_LOG_KIND_INT:
        rd_buf_printf(line, "%lld", (long long)field->integer);
        break;
    case RD_LOG_KIND_NUM:
        rd_buf_json_number(line, field->number);
        break;
    }
}

void rd_log(enum rd_log_level level, const char *event, const struct rd_log_field *fields)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (!rd_log_enabled(level) || (unsigned)level >= sizeof names / sizeof names[0]) {
        return;
    }
    bool json = atomic_load(&current_format) == RD_LOG_JSON;
    char when[RD_CLOCK_RFC3339_LEN + 1];
    rd_clock_rfc3339_ms(rd_clock_wall_ms(), when);
    RD_AUTO_BUF struct rd_buf line;
    rd_buf_init(&line, LOG_LINE_MAX);
    if (json) {
        rd_buf_printf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":", when, names[level]);
        rd_buf_json_str(&line, event);
    } else {
        rd_buf_printf(&line, "%s %-5s %s", when, names[level], event);
    }
    for (const struct rd_log_field *field = fields; field != NULL && field->name != NULL; field++) {
        if (field->kind == RD_LOG_KIND_STR && field->str == NULL) {
            continue;
        }
        if (json) {
            rd_buf_char(&line, ',');
            rd_buf_json_str(&line, field->name);
            rd_buf_char(&line, ':');
        } else {
            rd_buf_printf(&line, " %s=", field->name);
        }
        write_value(&line, field);
    }
    rd_buf_str(&line, json ? "}\n" : "\n");
    const char *text = line.data;
    size_t len = line.len;
    if (line.err != RD_OK || text == NULL) {
        text = "{\"level\":\"error\",\"event\":\"a log line was too long\"}\n";
        len = strlen(text);
    }
    ssize_t ignored = write(STDERR_FILENO, text, len); /* nothing can be done about a dead stderr */
    (void)ignored;
}
