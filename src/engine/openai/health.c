/* SPDX-License-Identifier: Apache-2.0
 *
 * Is the server ready, and which one is it? Both are asked by GETs that cost no device time.
 *
 *     /health      200: ready. 404 and the like: it has none. Anything else: not ready (503 is
 *                  what servers say while they load)
 *     /v1/models   200: ready, where there is no /health. The list also names stable-diffusion.cpp,
 *                  vLLM-Omni and SGLang
 *     /system      LocalAI's list of loaded models: asked once, of a server that nothing named
 *
 * What was learned is remembered: one GET a round is the rule. A server of which another kind is
 * started at the same address is known wrongly until a reload; that costs extra fields. */
#include <stdio.h>
#include <string.h>

#include "engine/openai/openai.h"

bool rd_openai_probe(void *shared, unsigned step, char path[RD_HTTP_PATH_MAX])
{
    static const char *const paths[] = {[RD_OPENAI_HEALTH] = "/health",
                                        [RD_OPENAI_MODELS] = "/v1/models",
                                        [RD_OPENAI_SYSTEM] = "/system"};
    struct rd_openai_prober *probe = &((struct rd_openai_engine *)shared)->probe;
    if (step == 0) {
        probe->healthy = false;
        probe->next = probe->no_health ? RD_OPENAI_MODELS : RD_OPENAI_HEALTH;
    }
    if (probe->next == RD_OPENAI_ROUND_OVER) {
        return false;
    }
    probe->asked = probe->next;
    (void)snprintf(path, RD_HTTP_PATH_MAX, "%s", paths[probe->asked]);
    return true;
}

static bool health_answered(struct rd_openai_prober *probe, long status)
{
    if (status == 200) {
        probe->has_health = true;
        probe->healthy = true;
        probe->next = probe->identified ? RD_OPENAI_ROUND_OVER : RD_OPENAI_MODELS;
        return true;
    }
    probe->next = RD_OPENAI_MODELS;
    return !probe->has_health && status >= 400 && status < 500 && status != 429;
}

/* What a probe's body says; a list that was cut still has its beginning. */
static void read_answer(struct rd_openai_prober *probe, const char *body, size_t len)
{
    struct rd_why ignored;
    rd_openai_answer_begin(&probe->answer, NULL, 0, false);
    if (rd_openai_answer_feed(&probe->answer, body, len, &ignored) != RD_OK) {
        return; /* what came before the fault counts */
    }
}

static bool models_answered(struct rd_openai_engine *engine, long status, const char *body,
                            size_t len, char *why)
{
    struct rd_openai_prober *probe = &engine->probe;
    probe->next = RD_OPENAI_ROUND_OVER;
    if (status != 200 && !probe->healthy) {
        (void)snprintf(why, RD_ENGINE_WHY_MAX, "GET /v1/models: answered %ld, not 200%s", status,
                       status == 401 || status == 403 ? "; is the key in key_file right?" : "");
        return false;
    }
    probe->no_health = !probe->healthy;
    if (probe->identified) {
        return true;
    }
    if (status == 200) {
        read_answer(probe, body, len);
        enum rd_openai_server server =
            rd_openai_server_of(probe->answer.model, probe->answer.owner);
        atomic_store(&engine->server, (int)server);
        if (server != RD_OPENAI_ANY) {
            probe->identified = true;
            return true;
        }
    }
    probe->next = RD_OPENAI_SYSTEM;
    return true;
}

static bool system_answered(struct rd_openai_engine *engine, long status, const char *body,
                            size_t len)
{
    struct rd_openai_prober *probe = &engine->probe;
    if (status == 200) {
        read_answer(probe, body, len);
        if (probe->answer.loaded) {
            atomic_store(&engine->server, (int)RD_OPENAI_LOCALAI);
        }
    }
    probe->identified = true;
    probe->next = RD_OPENAI_ROUND_OVER;
    return true;
}

bool rd_openai_probed(void *shared, unsigned step, long status, const char *body, size_t len,
                      char *why)
{
    (void)step;
    struct rd_openai_engine *engine = shared;
    if (engine->probe.asked == RD_OPENAI_HEALTH) {
        return health_answered(&engine->probe, status);
    }
    return engine->probe.asked == RD_OPENAI_MODELS ? models_answered(engine, status, body, len, why)
                                                   : system_answered(engine, status, body, len);
}
