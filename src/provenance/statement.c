/* SPDX-License-Identifier: Apache-2.0
 *
 * The in-toto Statement v1 with SLSA provenance v1, one for each output. Compact JSON, always the
 * same members in the same order:
 *
 *     _type, subject [{name: asset id, digest {sha256, blake3}}], predicateType, predicate {
 *       buildDefinition {
 *         buildType             urn:render:generation:v1
 *         externalParameters    what the client asked for (parameters.c: prompts as commitments)
 *         internalParameters    what the gateway decided: index of this output, its seed, its size,
 * media type, engine resolvedDependencies  the model, LoRAs, source images by sha256 } runDetails {
 *         builder    {id: the gateway's public URL, version {render}}
 *         metadata   {invocationId: the request id, startedOn, finishedOn: whole seconds, UTC}
 *         byproducts the device time of the run, its source and device }}
 *
 * What is not known is null, never zero and never left out. The device time belongs to the whole
 * run, whose number of outputs stands beside it.
 *
 * blake3 is not in in-toto's list of digest names, so sha256 always stands beside it: stock
 * verifiers match by that. Model weights have no digest here, because the gateway does not see
 * them; a dependency is then named by a URN only.
 *
 * Written straight into the buffer, without a tree: this runs once for each output. */
#include "provenance/statement.h"

#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"

#define BUILD_TYPE "urn:render:generation:v1"
#define NS_PER_S 1000000000u

enum { URI_MAX = 8192 }; /* as long as a request line may be; every part was bounded before */

static void write_hex(struct rd_buf *out, const uint8_t digest[RD_HASH_LEN])
{
    char hex[RD_HASH_HEX_LEN + 1];
    rd_text_hex(digest, RD_HASH_LEN, hex);
    rd_buf_append(out, hex, RD_HASH_HEX_LEN);
}

static void write_subject(struct rd_buf *out, const struct rd_hash *hash)
{
    char asset[RD_ID_ASSET_LEN + 1];
    rd_id_asset(hash->blake3, asset);
    rd_buf_str(out, RD_STATEMENT_PREFIX "\"subject\":[{\"name\":\"");
    rd_buf_append(out, asset, RD_ID_ASSET_LEN);
    rd_buf_str(out, "\",\"digest\":{\"sha256\":\"");
    write_hex(out, hash->sha256);
    rd_buf_str(out, "\",\"blake3\":\"");
    write_hex(out, hash->blake3);
    rd_buf_str(out, "\"}}],\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{");
}

static void write_optional(struct rd_buf *out, const char *text)
{
    if (text == NULL || text[0] == '\0') {
        rd_buf_str(out, "null");
    } else {
        rd_buf_json_str(out, text);
    }
}

static void write_internal(struct rd_buf *out, const struct rd_statement_facts *facts)
{
    const struct rd_generation *generation = facts->generation;
    rd_buf_printf(out,
                  ",\"internalParameters\":{\"index\":%u,\"count\":%u,\"seed\":%lu,\"size\":%llu",
                  facts->index, generation->count,
                  (unsigned long)rd_generation_seed(generation, facts->index),
                  (unsigned long long)facts->size);
    rd_buf_str(out, ",\"media\":");
    write_optional(out, rd_media_type(generation->media));
    rd_buf_str(out, ",\"backend\":");
    write_optional(out, rd_backend_kind_name(generation->backend));
    rd_buf_str(out, ",\"engine\":");
    write_optional(out, facts->engine);
    rd_buf_char(out, '}');
}

/* The JSON string a b c d. A failure of the scratch buffer becomes the output's own. */
static void write_joined(struct rd_buf *out, const char *a, const char *b, const char *c,
                         const char *d)
{
    RD_AUTO_BUF struct rd_buf joined;
    rd_buf_init(&joined, URI_MAX);
    rd_buf_str(&joined, a);
    rd_buf_str(&joined, b);
    rd_buf_str(&joined, c);
    rd_buf_str(&joined, d);
    if (rd_buf_err(&joined) != RD_OK) {
        out->err = out->err == RD_OK ? joined.err : out->err;
        return;
    }
    rd_buf_json_string(out, joined.data, joined.len);
}

/* A source image. An asset is named by its URL here, a data URI by its digest only; a URL's query
 * is left out, because it may carry an access token. */
static void write_source(struct rd_buf *out, const struct rd_statement_facts *facts,
                         const char *name, const struct rd_source *source)
{
    if (source->kind == RD_SOURCE_NONE) {
        return;
    }
    rd_buf_str(out, ",{\"name\":\"");
    rd_buf_str(out, name);
    rd_buf_char(out, '"');
    if (source->kind == RD_SOURCE_URL && source->url != NULL) {
        rd_buf_str(out, ",\"uri\":");
        rd_buf_json_string(out, source->url, strcspn(source->url, "?#"));
    } else if (source->kind == RD_SOURCE_ASSET && source->url != NULL) {
        rd_buf_str(out, ",\"uri\":");
        write_joined(out, facts->builder_id, "/a/", source->url, "");
    }
    rd_buf_str(out, ",\"digest\":{\"sha256\":\"");
    write_hex(out, source->sha256);
    rd_buf_str(out, "\"}}");
}

static void write_dependencies(struct rd_buf *out, const struct rd_statement_facts *facts)
{
    const struct rd_generation *generation = facts->generation;
    rd_buf_str(out, ",\"resolvedDependencies\":[{\"name\":\"model\",\"uri\":");
    write_joined(out, "urn:render:model:", generation->family, "/", generation->model);
    rd_buf_char(out, '}');
    for (size_t i = 0; i < generation->loras_count; i++) {
        rd_buf_str(out, ",{\"name\":\"lora\",\"uri\":");
        write_joined(out, "urn:render:lora:", generation->loras[i].id, "", "");
        rd_buf_char(out, '}');
    }
    write_source(out, facts, "image", &generation->image);
    write_source(out, facts, "mask", &generation->mask);
    rd_buf_char(out, ']');
}

/* Seconds with all nine digits, as text, so that no rounding stands between the engine's figure and
 * the statement. */
static void write_device_time(struct rd_buf *out, const struct rd_engine_report *report)
{
    static const char *const sources[] = {
        [RD_DEVICE_TIME_UNKNOWN] = NULL,
        [RD_DEVICE_TIME_CPU] = "cpu",
        [RD_DEVICE_TIME_ENGINE] = "engine",
        [RD_DEVICE_TIME_MEASURED] = "measured",
    };
    enum rd_device_time_source source = RD_DEVICE_TIME_UNKNOWN;
    if (report != NULL && (unsigned)report->source < sizeof sources / sizeof sources[0]) {
        source = report->source;
    }
    rd_buf_str(out, "{\"name\":\"device-time\",\"uri\":\"urn:render:device-time:v1\","
                    "\"annotations\":{\"seconds\":");
    if (source == RD_DEVICE_TIME_UNKNOWN) {
        rd_buf_str(out, "null");
    } else {
        rd_buf_printf(out, "%llu.%09llu", (unsigned long long)(report->device_ns / NS_PER_S),
                      (unsigned long long)(report->device_ns % NS_PER_S));
    }
    rd_buf_str(out, ",\"source\":");
    write_optional(out, sources[source]);
    rd_buf_str(out, ",\"device\":");
    write_optional(out, report == NULL ? NULL : report->device);
}

static void write_run(struct rd_buf *out, const struct rd_statement_facts *facts)
{
    char started[21];
    char finished[21];
    rd_clock_rfc3339_s(facts->started_ms, started);
    rd_clock_rfc3339_s(facts->finished_ms, finished);
    rd_buf_str(out, "},\"runDetails\":{\"builder\":{\"id\":");
    write_optional(out, facts->builder_id);
    rd_buf_str(out,
               ",\"version\":{\"render\":\"" RD_VERSION "\"}},\"metadata\":{\"invocationId\":");
    write_optional(out, facts->request_id);
    rd_buf_str(out, ",\"startedOn\":\"");
    rd_buf_str(out, started);
    rd_buf_str(out, "\",\"finishedOn\":\"");
    rd_buf_str(out, finished);
    rd_buf_str(out, "\"},\"byproducts\":[");
    write_device_time(out, facts->report);
    rd_buf_printf(out, ",\"outputs\":%u}}]}}}", facts->generation->count);
}

rd_err rd_statement_write(struct rd_buf *out, const struct rd_statement_facts *facts)
{
    uint8_t random[RD_SALT_LEN];
    const uint8_t *salt = facts->prompt_salt;
    if (salt == NULL) {
        rd_id_random(random, sizeof random);
        salt = random;
    }
    write_subject(out, facts->hash);
    rd_buf_str(out,
               "\"buildDefinition\":{\"buildType\":\"" BUILD_TYPE "\",\"externalParameters\":");
    RD_TRY(rd_statement_parameters(out, facts->generation, salt));
    write_internal(out, facts);
    write_dependencies(out, facts);
    write_run(out, facts);
    return rd_buf_err(out);
}
